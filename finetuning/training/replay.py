"""Rows against forgetting: general prompts with the base's own answers, mixed into what is trained.

Rehearsal of what a network said before it learns more: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal".
"""

import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths
from assistant.core.prompts import ChatFormat, system_prompt
from assistant.core.settings import Settings
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Row

PROMPTS, ANSWERS = "replay.txt", "replay"
# A longer answer of a small base wanders off, and what it knows shows in the beginning. Shorter ones leave time for more prompts.
ANSWER = Sampling(max_tokens=32)
CHUNK = 32
# About what a replayed row takes, prompt and answer, for estimates.
TOKENS = 70


def prompts(paths: Paths) -> list[str]:
    """The general prompts, in an order of their own that never changes."""
    lines = (paths.corpus / PROMPTS).read_text(encoding="utf-8").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    random.Random(PROMPTS).shuffle(found)
    return found


def count(recipe: Recipe, rows: int) -> int:
    """How many rows are replayed beside so many rows of a dataset. A run that ends early replays its share of what it sees."""
    seen = min(rows, recipe.max_steps * recipe.batch_size * recipe.accumulation) if recipe.max_steps else rows
    return math.ceil(seen * recipe.replay)


def rows(paths: Paths, settings: Settings, base: Base, chat: ChatFormat, system: str, wanted: int, stop: Callable[[], bool]) -> list[Row]:
    """So many prompts as the trained model will be asked them, with the base's answers; again from the first one where they are fewer."""
    asked = prompts(paths)[:wanted]
    answers = _answers(paths, settings, base, asked, stop)
    found = []
    for prompt, answer in zip(asked, answers, strict=False):
        begun = chat.encode([Message("system", system), Message("user", prompt)])
        # An answer that was cut does not end, and neither shall the model learn to end there.
        found.append(Row((*begun, *answer), len(begun)))
    return list(islice(cycle(row for row in found if row.trained), wanted))


def _answers(paths: Paths, settings: Settings, base: Base, asked: Sequence[str], stop: Callable[[], bool]) -> list[tuple[int, ...]]:
    """What the base answers, in order; kept for the next training on the same base. The embedded one's answers lie in the corpus."""
    known_at = paths.logs / "replay" / f"{_name(base)}.json"
    known = _known(paths.corpus / ANSWERS / known_at.name) | _known(known_at)
    missing = [prompt for prompt in asked if prompt not in known]
    if missing and not stop():
        engine = engines.make("hf", base, settings, paths)
        try:
            for start in range(0, len(missing), CHUNK):
                if stop():
                    break
                part = missing[start : start + CHUNK]
                begun = [engine.format.encode([Message("system", system_prompt("base")), Message("user", prompt)]) for prompt in part]
                for prompt, said in zip(part, engine.batch(begun, None, ANSWER, scored=False), strict=True):
                    ended = [engine.format.end_ids[0]] if said.stopped == "end" else []
                    known[prompt] = [*said.ids, *ended]
                files.write_json(known_at, known)
        finally:
            engine.release()
    return [tuple(known[prompt]) for prompt in asked if prompt in known]


def _known(path: Path) -> dict[str, list[int]]:
    try:
        return files.read_json(path)
    except (OSError, DataError):
        return {}


def _name(base: Base) -> str:
    """The base and the way it is asked, as the name of a file."""
    way = json.dumps([base.sha256 or base.source, system_prompt("base"), ANSWER.max_tokens])
    return hashlib.sha256(way.encode()).hexdigest()[:16]
