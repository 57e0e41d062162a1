"""Fit the scope of a new version: its trained questions against general prompts and untrained ones, by the bare base's states."""

import hashlib
import json
import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from assistant.core import files
from assistant.core.events import Checked, Step
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.router import scope
from finetuning.training import probe, replay
from finetuning.training import rows as row_files
from finetuning.training.classifier import states_of
from finetuning.training.work import Work

# Of its own questions, of the dataset's others and of general prompts at most so many are read. With fewer of its own and of general
# ones more general questions were taken for its own (docs/LOG.md). That share of each is held back: the border is drawn on them.
OWN, OTHERS, GENERAL, HELD = 6000, 1500, 4000, 0.2
# Of the version's own questions at least so many are within: the base answers the others, which it seldom knows (docs/LOG.md).
WITHIN = 0.95
# Fewer questions or prompts tell nothing apart.
FEWEST = 40


def make(work: Work) -> None:
    """Fit and write the scope beside the version, once a run. Where nothing is replayed the version answers everything.

    A version that was trained further on preferences keeps the scope of the one it began with.
    """
    plan, target = work.plan, work.version / scope.FILE
    if plan.begins_with and plan.recipe.prefers:
        before = Store(work.paths).version_folder(plan.model, plan.begins_with) / scope.FILE
        if before.is_file():
            files.write_json(target, files.read_json(before))
        return
    if not plan.recipe.replay or target.is_file():
        return
    learned, path = {row.ids[row.prompt :] for row in work.rows.rows}, work.paths.datasets / plan.train.path
    own, others = row_files.questions(path, work.chat, plan.model, plan.recipe.max_length, learned)
    draw, marks = random.Random(f"{plan.seed}/scope"), "".join(sorted({scope.mark(question) for question in own}))
    # What a part of the dataset leaves unlearned lies outside as well.
    own, others = draw.sample(own, min(OWN, len(own))), draw.sample(others, min(OTHERS, len(others)))
    general = replay.prompts(work.paths)[:GENERAL]
    if min(len(own), len(others) + len(general)) < FEWEST:
        return
    of = f" and {len(others):,} that it did not learn" if others else ""
    work.say(Step(f"Reading {len(own):,} of its questions{of}, to tell them from general ones: what lies outside is left to the base"))
    states = _states(work, [*own, *others])
    known = None if states is None else _general(work, general) if general else states[:0]
    if states is None or known is None:
        return
    outer = torch.cat([states[len(own) :], known])
    order = torch.tensor(draw.sample(range(len(outer)), len(outer)))
    found, within, outside = fit(states[: len(own)], outer[order], work.base.name, work.base.sha256)
    files.write_json(target, {**asdict(found), "questions": marks, "within": round(within, 4), "outside": round(outside, 4)})
    told = f"its border, drawn on questions held back, leaves {within:.0%} of its own within, and {outside:.0%} of the others outside"
    work.say(Checked("scope", True, told))


def fit(own: torch.Tensor, others: torch.Tensor, base: str, base_sha256: str) -> tuple[scope.Scope, float, float]:
    """The scope of states (questions, width) of length 1, and of those held back (the last) the own within and the others outside.

    The border is where these two shares together are largest (Youden's index; Youden 1950), with ``WITHIN`` of the own or more within.
    """
    kept, held = own[: -int(len(own) * HELD)], own[-int(len(own) * HELD) :]
    others_kept, others_held = others[: -int(len(others) * HELD)], others[-int(len(others) * HELD) :]
    labels = torch.cat([torch.ones(len(kept), dtype=torch.long), torch.zeros(len(others_kept), dtype=torch.long)])
    hidden, (no, yes) = probe.network(torch.cat([kept, others_kept]), labels, 2)
    made = scope.Scope(base, base_sha256, hidden, tuple(one - other for one, other in zip(yes, no, strict=True)), 0.0)
    inner, outer = (sorted(made.share(state) for state in part.tolist()) for part in (held, others_held))
    # Cut, not rounded, so that the question that sets it is within.
    borders = [math.floor(share * 1e6) / 1e6 for share in inner[: int(len(inner) * (1 - WITHIN)) + 1]]
    shares = [(1 - bisect_left(inner, border) / len(inner), bisect_left(outer, border) / len(outer)) for border in borders]
    best = max(range(len(borders)), key=lambda place: sum(shares[place]))
    return replace(made, threshold=borders[best]), *shares[best]


def _general(work: Work, texts: Sequence[str]) -> torch.Tensor | None:
    """The states of the general prompts, read once a base and kept in half precision."""
    name = hashlib.sha256(json.dumps([work.base.sha256 or work.base.source, texts]).encode()).hexdigest()[:16]
    path = work.paths.logs / "replay" / f"{name}.safetensors"
    try:
        return load_file(path)["states"].float()
    except (OSError, SafetensorError):
        pass
    states = _states(work, texts)
    if states is None:
        return None
    with files.atomic_writer(path) as file:
        file.write(save({"states": states.half()}))
    return states.half().float()


def _states(work: Work, texts: Sequence[str]) -> torch.Tensor | None:
    """The base's states of these questions, with progress said aloud; None when the run was asked to stop on the way."""
    engine = engines.make("hf", work.base, work.settings, work.paths)
    reading = states_of(engine, texts)
    try:
        while not work.stop():
            work.say(next(reading))
    except StopIteration as end:
        return end.value
    finally:
        engine.release()
    return None
