"""The rows of a dataset as the model reads them: messages, the text of the chat template, and what of it is trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.core.events import Event, Lines, Notice, Report, Step
from assistant.core.files import read_jsonl, write_json
from assistant.core.prompts import ChatFormat
from finetuning.data import export
from finetuning.training.rows import encode_row

FILE = "processed_conversations.json"
MOST = 1000


def run(chat: ChatFormat, path: Path, model: str, max_length: int, output: Path) -> Iterator[Event]:
    """Write the rows of a training file as conversations; of a large file the first ones."""
    yield Step(f"Making conversations of {path.name}")
    rows = read_jsonl(path)
    found = [conversation(row, chat, model, max_length) for row in rows[:MOST]]
    write_json(output / FILE, found)
    if len(rows) > MOST:
        yield Notice(f"{path.name} has {len(rows):,} rows; the first {MOST:,} were written.")
    tokens, trained = sum(one["tokens"] for one in found), sum(one["trained_tokens"] for one in found)
    cut = sum(one["cut"] for one in found)
    first = Lines("The first one, as the model reads it", tuple(found[0]["text"].splitlines()) if found else ())
    title = f"{len(found):,} conversations in {output / FILE}"
    facts = Lines("", (f"{tokens:,} tokens, {trained:,} of them trained ({trained / max(1, tokens):.0%}): the answers and their ends",))
    data = {"file": str(output / FILE), "conversations": len(found), "tokens": tokens, "trained_tokens": trained, "cut": cut}
    yield Report(title, data, (facts, first))


def conversation(row: dict[str, Any], chat: ChatFormat, model: str, max_length: int) -> dict[str, Any]:
    """One row as messages, as text, and in tokens."""
    encoded, cut = encode_row(row, chat, model, max_length)
    tokenizer: Any = chat.tokenizer  # type: ignore[attr-defined]
    text = tokenizer.decode(list(encoded.ids), skip_special_tokens=False)
    return {
        **export.convert(row, "conversations"),
        "text": text,
        "tokens": len(encoded.ids),
        "trained_tokens": encoded.trained,
        "cut": cut,
    }
