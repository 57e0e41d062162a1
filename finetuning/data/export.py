"""Give a dataset back in the forms other tools read: conversations, prompt and completion, or ready text."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Event, Notice, Progress, Report, Step, Table
from assistant.core.paths import find
from assistant.core.prompts import ChatML, from_input_text
from finetuning.data import tokens
from finetuning.data.folder import publish, refuse_foreign
from finetuning.data.reader import read
from finetuning.data.validate import dataset_files

FORMATS = ("conversations", "prompt_completion", "text")
KEPT = ("id", "category", "difficulty")


def run(context: Context, target: Path, file: str | None, form: str, out: str | None) -> Iterator[Event]:
    """Write every file of the dataset that has answers in another form, into ``out`` or beside the dataset."""
    if form not in FORMATS:
        raise UsageError(f"There is no format '{form}'.", f"Use one of {', '.join(FORMATS)}.")
    folder = find(out, context.paths) if out else context.paths.datasets / "exports" / f"{target.stem}_{form}"
    refuse_foreign(folder)
    paths = [path for path in dataset_files(target) if (file is None or file in (path.name, path.stem)) and _has_answers(path)]
    if not paths:
        raise DataError(
            f"{target} has no file with answers to export{f' named {file}' if file else ''}.",
            "Name a dialogue or unified file with --file.",
        )
    chat = tokens.load(context.paths) if form == "text" else None
    yield Step(f"Writing {folder}")
    left_out: dict[str, int] = {}
    streams = {path.name: _rows(path, form, chat, left_out) for path in paths}
    manifest: dict[str, Any] = {
        "name": f"{target.stem}_{form}",
        "exported_from": target.name,
        "format": form,
        "files": {name: {} for name in streams},
    }
    for done, (name, rows) in enumerate(publish(folder, streams, manifest), 1):
        yield Progress(done, len(streams), "files", {"rows": float(rows), "file": name})
    if sum(left_out.values()):
        yield Notice(f"{sum(left_out.values()):,} rows without question or answer were left out; `validate` names them.", "warning")
    table = Table(("file", "rows"), tuple((name, f"{item['rows']:,}") for name, item in manifest["files"].items()))
    total = sum(item["rows"] for item in manifest["files"].values())
    yield Report(f"{total:,} rows as {form} in {folder}", {"folder": str(folder), **manifest}, (table,))


def convert(row: dict[str, Any], form: str, chat: ChatML | None = None) -> dict[str, Any]:
    """A row of ``input_text`` and ``target_text`` in another form."""
    messages = [{"role": message.role, "content": message.content} for message in from_input_text(row["input_text"])]
    answer = {"role": "assistant", "content": row["target_text"]}
    forms: dict[str, Callable[[], dict[str, Any]]] = {
        "conversations": lambda: {"messages": [*messages, answer]},
        "prompt_completion": lambda: {"prompt": messages, "completion": [answer]},
        "text": lambda: {"text": _text(row, chat)},
    }
    return {**forms[form](), **{key: row[key] for key in KEPT if row.get(key)}}


def _text(row: dict[str, Any], chat: ChatML | None) -> str:
    assert chat is not None
    return chat.tokenizer.decode(list(tokens.encode(row, chat).ids), skip_special_tokens=False)


def _rows(path: Path, form: str, chat: ChatML | None, left_out: dict[str, int]) -> Iterator[dict[str, Any]]:
    for line in read(path):
        row = line.row or {}
        if all(isinstance(row.get(field), str) and row[field].strip() for field in ("input_text", "target_text")):
            yield convert(row, form, chat)
        else:
            left_out[path.name] = left_out.get(path.name, 0) + 1


def _has_answers(path: Path) -> bool:
    first = next((line.row for line in read(path) if line.row is not None), None)
    return first is not None and "target_text" in first
