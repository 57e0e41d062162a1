"""Fit the scope of a new version: its trained questions against general prompts and untrained ones, by the bare base's states."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assistant.core import files
from assistant.core.events import Checked, Progress, Step
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.router import scope
from assistant.router.classifier import reading
from finetuning.training import probe, replay
from finetuning.training import rows as row_files
from finetuning.training.work import Work

# Of its own questions and of general prompts so many are read: two minutes on two cores. With a thousand of each more general questions
# were taken for its own (docs/LOG.md). That share of them is not fitted on but sets the threshold.
OWN, GENERAL, HELD = 1500, 4000, 0.2
# Of the version's own questions so many shall be within: the base answers the others, which it seldom knows.
WITHIN = 0.95
# Questions between two lines of progress.
CHUNK = 256
# Fewer questions or prompts tell nothing apart.
FEWEST = 40


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scope and, of questions it was not fitted on, the share of the version's own within and of the others outside."""

    scope: scope.Scope
    within: float
    outside: float


def make(work: Work) -> None:
    """Fit and write the scope beside the version, once a run. Where nothing is replayed the version answers everything.

    A version that was trained further on preferences keeps the scope of the one it began with.
    """
    plan, path = work.plan, work.version / scope.FILE
    if plan.begins_with:
        before = Store(work.paths).version_folder(plan.model, plan.begins_with) / scope.FILE
        if before.is_file():
            files.write_json(path, files.read_json(before))
        return
    if not plan.recipe.replay or path.is_file() or work.stop():
        return
    learned = {row.ids[row.prompt :] for row in work.rows.rows}
    own, others = row_files.questions(work.paths.datasets / plan.train.path, work.chat, plan.model, learned)
    draw = random.Random(f"{plan.seed}/scope")
    # What a part of the dataset leaves unlearned lies outside as well.
    own, others = draw.sample(own, min(OWN, len(own))), draw.sample(others, min(OWN, len(others)))
    others += draw.sample(general := replay.prompts(work.paths), min(GENERAL, len(general)))
    if min(len(own), len(others)) < FEWEST:
        return
    draw.shuffle(others)
    work.say(Step(f"Reading {len(own):,} of its questions and {len(others):,} others: what lies outside is left to the base"))
    states = _states(work, [*own, *others])
    if states is None:
        return
    found = fit(states[: len(own)], states[len(own) :], work.base.name, work.base.sha256)
    files.write_json(path, document(found))
    told = f"{found.within:.0%} of its own questions are within, {found.outside:.0%} of the others outside (none of them fitted on)"
    work.say(Checked("scope", True, told))


def fit(own: torch.Tensor, others: torch.Tensor, base: str, base_sha256: str) -> Fitted:
    """The scope of states (questions, width) of length 1, in the order they come: the last ones are held back for the threshold."""
    parts = [(states[: -int(len(states) * HELD)], states[-int(len(states) * HELD) :]) for states in (own, others)]
    (own_fit, own_held), (others_fit, others_held) = parts
    states = torch.cat([own_fit, others_fit])
    labels = torch.cat([torch.ones(len(own_fit), dtype=torch.long), torch.zeros(len(others_fit), dtype=torch.long)])
    hidden, output = probe.network(states, labels, 2)
    made = scope.Scope(base, base_sha256, hidden, tuple(one - other for one, other in zip(output[1], output[0], strict=True)), 0.0)
    shares = sorted(made.share(state) for state in own_held.tolist())
    # Cut, not rounded, so that the question that sets it is within.
    threshold = math.floor(shares[int(len(shares) * (1 - WITHIN))] * 1e6) / 1e6
    made = scope.Scope(base, base_sha256, made.hidden, made.output, threshold)
    return Fitted(made, _covered(made, own_held), 1 - _covered(made, others_held))


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


def _states(work: Work, texts: Sequence[str]) -> torch.Tensor | None:
    """The base's state at the end of each question: (questions, width). None when the run was asked to stop on the way."""
    engine: Any = engines.make("hf", work.base, work.settings, work.paths)
    parts, began = [], time.perf_counter()
    try:
        for start in range(0, len(texts), CHUNK):
            if work.stop():
                return None
            parts.append(engine.states([engine.format.encode(reading(text)) for text in texts[start : start + CHUNK]]))
            done = min(start + CHUNK, len(texts))
            work.say(Progress(done, len(texts), "questions", {}, (time.perf_counter() - began) / done * (len(texts) - done)))
    finally:
        engine.release()
    return torch.cat(parts)


def _covered(made: scope.Scope, states: torch.Tensor) -> float:
    rows: Sequence[Sequence[float]] = states.tolist()
    return sum(made.covers(state) for state in rows) / len(rows)
