"""Look at a dataset: figures, a preview, a search, the loss mask of a row, a comparison of two, and the way out as other forms."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Block, Event, Lines, Report, Spans, Step, Table
from assistant.core.facts import normalise
from finetuning.data import compare, config, export, stats, tokens
from finetuning.data.folder import dataset_folder
from finetuning.data.reader import Line, read
from finetuning.data.validate import dataset_files

PAGE_ROWS = 5
MOST_HITS = 20
SHOWN_CHARACTERS = 600
VIEWS = ("stats", "preview", "search", "mask")
NEXT, BEFORE, DONE = "next", "before", "done"


def run(
    context: Context,
    view: str | None = None,
    words: Sequence[str] | None = None,
    name: str = "processed_english",
    file: str | None = None,
    row: int = 1,
    rows: int = PAGE_ROWS,
    format: str | None = None,
    out: str | None = None,
) -> Iterator[Event]:
    """One view of a dataset."""
    words = list(words or ())
    if row < 1 or rows < 1:
        raise UsageError("Rows are counted from 1.", "Give --row 1 or more, and at least --rows 1.")
    if view is None:
        view = context.questions.choice("What would you like to see?", VIEWS, "stats") if context.questions else "stats"
    if view == "search" and not words and context.questions:
        words = [context.questions.text("Which words are to be found?")]
    if view == "compare":
        yield from compare.run(context, words, name)
        return
    if view != "search" and words:
        name = words[0]
    target = dataset_folder(name, context.paths)
    if view == "export":
        yield from export.run(context, target, file, format or "conversations", out)
        return
    views: dict[str, Callable[[], Iterator[Event]]] = {
        "stats": lambda: _stats(context, target, file),
        "preview": lambda: _preview(context, _file(target, file), row, rows),
        "search": lambda: _search(target, file, " ".join(words)),
        "mask": lambda: _mask(context, _file(target, file, "input_text"), row),
    }
    yield from views[view]()


def _stats(context: Context, target: Path, file: str | None) -> Iterator[Event]:
    chat = tokens.load(context.paths) if tokens.tokenizer_file(context.paths) else None
    paths = [_file(target, file)] if file else dataset_files(target)
    yield Step(f"Counting {len(paths)} files in {target}")
    files = {path.name: stats.of_file(path, chat) for path in paths}
    total = sum(figures["rows"] for figures in files.values())
    yield Report(f"{total:,} rows in {len(files)} files of {target}", {"folder": str(target), "files": files}, tuple(stats.blocks(files)))


def _preview(context: Context, path: Path, start: int, count: int) -> Iterator[Event]:
    while True:
        lines = list(islice(read(path), start - 1, start - 1 + count))
        if not lines and start == 1:
            raise DataError(f"{path.name} holds no rows.", "Run `generate` or `import`.")
        if not lines:
            raise UsageError(f"{path.name} has no row {start}.", "Give a smaller --row.")
        data = [{"line": line.number, "row": line.row, "fault": line.message or None} for line in lines]
        title = f"{path.name}, rows {start} to {start + len(lines) - 1}"
        yield Report(title, {"file": path.name, "rows": data}, tuple(_shown(line) for line in lines))
        if context.questions is None:
            return
        options = [*([NEXT] if len(lines) == count else []), *([BEFORE] if start > 1 else []), DONE]
        answer = context.questions.choice("More rows?", options, options[0]) if len(options) > 1 else DONE
        if answer == DONE:
            return
        start = max(1, start + (count if answer == NEXT else -count))


def _search(target: Path, file: str | None, text: str) -> Iterator[Event]:
    wanted = normalise(text)
    if not wanted:
        raise UsageError("What is to be found?", "Give words, for example `data search push pull`.")
    hits: list[tuple[str, Line]] = []
    counts: dict[str, int] = {}
    for path in [_file(target, file)] if file else dataset_files(target):
        for line in read(path):
            if line.row is not None and wanted in normalise(" ".join(map(str, line.row.values()))):
                counts[path.name] = counts.get(path.name, 0) + 1
                if len(hits) < MOST_HITS:
                    hits.append((path.name, line))
    total = sum(counts.values())
    data = {
        "text": text,
        "found": total,
        "files": counts,
        "rows": [{"file": name, "line": line.number, "row": line.row} for name, line in hits],
    }
    blocks: list[Block] = [Table(("file", "rows found"), tuple((name, f"{count:,}") for name, count in counts.items()))] if counts else []
    blocks += [_shown(line, name) for name, line in hits[:PAGE_ROWS]]
    yield Report(f"'{text}' stands in {total:,} rows of {target.name}", data, tuple(blocks))


def _mask(context: Context, path: Path, number: int) -> Iterator[Event]:
    chat = tokens.load(context.paths)
    most = config.load(context.paths).max_tokens
    line = next(islice(read(path), number - 1, number), None)
    if line is None:
        raise UsageError(f"{path.name} has no row {number}.", "Give a smaller --row.")
    row = line.row or {}
    if not all(isinstance(row.get(field), str) and row[field].strip() for field in ("input_text", "target_text")):
        raise DataError(
            f"{path.name}, line {line.number}: no row with 'input_text' and 'target_text'.", "Give a dialogue or unified file with --file."
        )
    encoded = tokens.encode(row, chat, most)
    read_ids, trained_ids = encoded.ids[: encoded.prompt], encoded.ids[encoded.prompt :]
    pieces = ((_text(chat, read_ids), False), (_text(chat, trained_ids), True))
    data = {
        "file": path.name,
        "line": line.number,
        "tokens": len(encoded.ids),
        "trained_tokens": encoded.trained,
        "pieces": [{"text": text, "trained": trained} for text, trained in pieces],
    }
    title = f"{path.name}, line {line.number}: {encoded.trained} of {len(encoded.ids)} tokens are trained"
    yield Report(title, data, (Spans("What is marked counts in the loss; the rest is only read.", pieces),))


def _text(chat: Any, ids: Sequence[int]) -> str:
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)


def _file(target: Path, file: str | None, field: str = "") -> Path:
    """The file a view shows: the one named, else the first that fits (for a mask one with answers)."""
    paths = dataset_files(target)
    if file is None:
        return next((path for path in paths if not field or path.name.startswith(("unified", "dialogue", "train"))), paths[0])
    for path in paths:
        if file in (path.name, path.stem):
            return path
    raise UsageError(f"{target.name} has no file '{file}'.", f"It has {', '.join(path.name for path in paths)}.")


def _shown(line: Line, name: str = "") -> Block:
    head = f"{name}, line {line.number}" if name else f"line {line.number}"
    if line.row is None:
        return Lines(head, (f"fault: {line.message}",))
    return Lines(head, tuple(f"{key}: {_short(value)}" for key, value in line.row.items()))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.replace("\n", "\n      ")
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
