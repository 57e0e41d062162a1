"""Held-out rows as questions: which file judges a model, and what each of its rows asks and wants."""

import hashlib
import json
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths
from assistant.core.prompts import from_input_text, system_prompt
from assistant.core.values import CATEGORIES, Message

Split = Literal["test", "test_phrasing", "validation"]
SPLITS: tuple[Split, ...] = ("test_phrasing", "test", "validation")
SEED = 42


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a held-out row of ``model``: the conversation, the reference answer, and the facts that make an answer right."""

    id: str
    model: str
    messages: tuple[Message, ...]
    reference: str
    facts: tuple[str, ...]
    expert_facts: tuple[str, ...]
    category: str
    difficulty: str

    @property
    def question(self) -> str:
        """What was said last."""
        return self.messages[-1].content

    @property
    def entry(self) -> str:
        """The id of what its row was written from."""
        return self.id.partition("#")[0]

    def said_to(self, model: str, prompt: str = "") -> tuple[Message, ...]:
        """The conversation as another model gets it: under its own system prompt (``prompt``, else that of its name), as in the chat."""
        return self.messages if model == self.model else (Message("system", prompt or system_prompt(model)), *self.messages[1:])


def file_of(paths: Paths, model: str, split: Split, kind: str = "generation") -> Path:
    """The file that judges a model. The base is judged on the unified model's."""
    if kind == "classification":
        return paths.processed / f"classification_{split}.jsonl"
    if model in ("unified", "base"):
        return paths.processed / f"unified_{split}.jsonl"
    generated = paths.processed / f"dialogue_{model}_{split}.jsonl"
    return generated if model in ("qna", "technical", "general") else paths.datasets / model / f"{split}.jsonl"


def best_file(paths: Paths, model: str) -> tuple[Path, Split]:
    """The first of a model's held-out files that exists and holds rows: unseen wordings, unseen entries, validation."""
    for split in SPLITS:
        path = file_of(paths, model, split)
        if path.is_file() and path.stat().st_size:
            return path, split
    raise DataError(
        f"There are no held-out rows for {model} ({file_of(paths, model, 'test')} does not exist).", "`generate` or `import` writes them."
    )


def load(path: Path, model: str, limit: int | None = None, seed: int = SEED) -> list[Asked]:
    """The questions of a file; with a limit a fixed random choice of them, equally from each category."""
    rows = files.read_jsonl(path)
    asked = [_asked(path, number, row, model) for number, row in enumerate(rows, 1)]
    # Answers of one imported conversation have its id.
    seen: set[str] = set()
    for place, one in enumerate(asked):
        asked[place] = replace(one, id=f"{one.id}.{place + 1}") if one.id in seen else one
        seen.add(one.id)
    if not asked:
        raise DataError(f"{path} holds no rows.", "Write or import the dataset again.")
    return asked if limit is None else choose(asked, limit, seed)


def choose(asked: Sequence[Asked], limit: int, seed: int = SEED) -> list[Asked]:
    """At most ``limit`` questions, taken in turn from each category, always the same for a seed."""
    shuffled = list(asked)
    random.Random(f"{seed}/asked").shuffle(shuffled)
    groups: dict[str, list[Asked]] = {}
    for one in shuffled:
        groups.setdefault(one.category, []).append(one)
    turns = [(place, one) for group in groups.values() for place, one in enumerate(group)]
    chosen = sorted(turns, key=lambda turn: turn[0])[:limit]
    return [one for _, one in chosen]


def half_of(asked: Sequence[Asked], limit: int, learned: Collection[str]) -> list[Asked]:
    """At most ``limit`` questions, half of them of entries that were ``learned`` (their ids) where only some were."""
    own = choose([one for one in asked if one.entry in learned], math.ceil(limit / 2))
    return [*own, *choose([one for one in asked if one.entry not in learned], limit - len(own))]


def labelled(path: Path, limit: int | None = None, seed: int = SEED) -> list[tuple[str, str, str]]:
    """The (text, category, difficulty) of a classification file."""
    rows = files.read_jsonl(path)
    if limit is not None and limit < len(rows):
        rows = random.Random(f"{seed}/labelled").sample(rows, limit)
    try:
        return [(row["text"], CATEGORIES[row["label"]], row.get("difficulty", "")) for row in rows]
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"{path.name}: a row has no text or no label 0, 1 or 2 ({error}).", "Run `validate` to see every fault.") from error


def fingerprint(asked: Sequence[Asked]) -> str:
    """A short hash of what is asked and wanted."""
    content = [[one.id, [message.content for message in one.messages], one.reference, one.facts] for one in asked]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]


def _asked(path: Path, number: int, row: dict[str, Any], model: str) -> Asked:
    text, reference = row.get("input_text"), row.get("target_text")
    if not isinstance(text, str) or not isinstance(reference, str) or not text.strip() or not reference.strip():
        raise DataError(f"{path.name}, line {number}: 'input_text' or 'target_text' is missing.", "Run `validate` to see every fault.")
    messages = from_input_text(text)
    if messages[0].role != "system":
        messages = [Message("system", system_prompt(model)), *messages]
    name = f"{row.get('id') or number}#{row.get('phrasing', 0)}.{row.get('variation', 0)}"
    return Asked(
        name,
        model,
        tuple(messages),
        reference,
        tuple(str(fact) for fact in row.get("key_facts") or ()),
        tuple(str(fact) for fact in row.get("expert_facts") or ()),
        str(row.get("category") or "all"),
        str(row.get("difficulty") or ""),
    )
