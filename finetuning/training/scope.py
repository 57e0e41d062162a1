"""Fit the scope of a new version: its trained questions against general prompts, by the bare base's states."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assistant.core import files
from assistant.core.events import Checked, Step
from assistant.engine import base as engines
from assistant.router import scope
from assistant.router.classifier import reading
from finetuning.training import probe, replay
from finetuning.training import rows as row_files
from finetuning.training.work import Work

# Questions of each kind that are read: a minute on two cores. Of these so many are not fitted on but set the threshold.
QUESTIONS, HELD = 1000, 0.2
# Of the version's own questions so many shall be within: the base answers the others, which it seldom knows.
WITHIN = 0.96
# Fewer questions or prompts tell nothing apart.
FEWEST = 40


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scope and, of questions it was not fitted on, the share of the version's own within and of general prompts outside."""

    scope: scope.Scope
    within: float
    outside: float


def make(work: Work) -> None:
    """Fit and write the scope beside the version, once a run. Where nothing is replayed the version answers everything."""
    path = work.version / scope.FILE
    if not work.plan.recipe.replay or path.is_file() or work.stop():
        return
    learned = {row.ids[row.prompt :] for row in work.rows.rows}
    own = row_files.questions(work.paths.datasets / work.plan.train.path, work.chat, work.plan.model, learned)
    general = replay.prompts(work.paths)
    draw = random.Random(f"{work.plan.seed}/scope")
    own, general = (draw.sample(texts, min(QUESTIONS, len(texts))) for texts in (own, general))
    if min(len(own), len(general)) < FEWEST:
        return
    work.say(Step(f"Reading {len(own):,} of its questions and {len(general):,} general ones: what lies outside is left to the base"))
    engine: Any = engines.make("hf", work.base, work.settings, work.paths)
    try:
        states = [engine.states([engine.format.encode(reading(text)) for text in texts]) for texts in (own, general)]
    finally:
        engine.release()
    found = fit(*states, work.base.name, work.base.sha256)
    files.write_json(path, document(found))
    told = f"{found.within:.0%} of its own questions are within, {found.outside:.0%} of general ones outside (neither fitted on)"
    work.say(Checked("scope", True, told))


def fit(own: torch.Tensor, general: torch.Tensor, base: str, base_sha256: str) -> Fitted:
    """The scope of states (questions, width) of length 1, in the order they come: the last ones are held back for the threshold."""
    parts = [(states[: -int(len(states) * HELD)], states[-int(len(states) * HELD) :]) for states in (own, general)]
    (own_fit, own_held), (general_fit, general_held) = parts
    states = torch.cat([own_fit, general_fit])
    labels = torch.cat([torch.ones(len(own_fit), dtype=torch.long), torch.zeros(len(general_fit), dtype=torch.long)])
    hidden, output = probe.network(states, labels, 2)
    made = scope.Scope(base, base_sha256, hidden, tuple(one - other for one, other in zip(output[1], output[0], strict=True)), 0.0)
    shares = sorted(made.share(state) for state in own_held.tolist())
    # Cut, not rounded, so that the question that sets it is within.
    threshold = math.floor(shares[int(len(shares) * (1 - WITHIN))] * 1e6) / 1e6
    made = scope.Scope(base, base_sha256, made.hidden, made.output, threshold)
    return Fitted(made, _covered(made, own_held), 1 - _covered(made, general_held))


def document(found: Fitted) -> dict[str, Any]:
    """A scope as ``scope.json`` holds it."""
    made = found.scope
    return {
        "base": made.base,
        "base_sha256": made.base_sha256,
        "threshold": made.threshold,
        "within": round(found.within, 4),
        "outside": round(found.outside, 4),
        "hidden": [list(weights) for weights in made.hidden],
        "output": list(made.output),
    }


def _covered(made: scope.Scope, states: torch.Tensor) -> float:
    rows: Sequence[Sequence[float]] = states.tolist()
    return sum(made.covers(state) for state in rows) / len(rows)
