"""The special tokens of a base: what each one does in a conversation, and how often the rows of a dataset use it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.core.events import Event, Report, Step, Table
from assistant.core.prompts import ChatFormat
from finetuning.lessons.sheet import write_csv
from finetuning.training.rows import Row

FILE = "special_tokens_analysis.csv"


@dataclass(frozen=True, slots=True)
class Special:
    """One special token. ``typed_pieces``: into how many ordinary tokens it falls when a person types it."""

    token: str
    id: int
    role: str
    times_in_rows: int
    trained_times: int
    typed_pieces: int


def run(chat: ChatFormat, rows: Sequence[Row], output: Path) -> Iterator[Event]:
    """Write the table of a base's special tokens."""
    yield Step("Looking at the special tokens")
    found = analyse(chat, rows)
    path = write_csv(output / FILE, list(Special.__dataclass_fields__), [asdict(one) for one in found])
    used = [one for one in found if one.times_in_rows]
    table = Table(
        ("token", "id", "role", "in the rows", "trained"),
        tuple((one.token, str(one.id), one.role, f"{one.times_in_rows:,}", f"{one.trained_times:,}") for one in used),
    )
    title = f"{len(found)} special tokens, of which a conversation uses {len(used)}; all are in {path}"
    yield Report(title, {"file": str(path), "tokens": [asdict(one) for one in found]}, (table,))


def analyse(chat: ChatFormat, rows: Sequence[Row]) -> list[Special]:
    """Every special token of the base, by id."""
    tokenizer: Any = chat.tokenizer  # type: ignore[attr-defined]
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    added = {item["id"]: item["content"] for item in json.loads(backend.to_str())["added_tokens"] if item["special"]}
    times = Counter(token for row in rows for token in row.ids if token in added)
    trained = Counter(token for row in rows for token in row.ids[row.prompt :] if token in added)
    opening = rows[0].ids[0] if rows else -1
    return [
        Special(text, number, _role(number, text, chat, opening), times[number], trained[number], _pieces(chat, text))
        for number, text in sorted(added.items())
    ]


def _role(number: int, text: str, chat: ChatFormat, opening: int) -> str:
    roles = []
    if number == opening:
        roles.append("begins every message" if "start" in text else "begins every conversation")
    if number in chat.end_ids:
        roles.append("ends an answer: the model learns to say it, and generation stops there")
    if not roles:
        lowered = text.lower()
        known = {"pad": "fills up a batch; never trained", "unk": "stands for what has no token", "endoftext": "ends a document"}
        roles = [meaning for part, meaning in known.items() if part in lowered]
    return "; ".join(roles) or "not used in conversations"


def _pieces(chat: ChatFormat, text: str) -> int:
    """The tokens of a special token that a person types: more than one, so it commands nothing."""
    return len(chat.encode_answer(text)) - 1
