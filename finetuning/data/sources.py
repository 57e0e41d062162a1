"""Open a user's file of any known kind as a stream of raw rows, each with its place; what cannot be read is a row with a reason."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.core.errors import DataError
from finetuning.data import csv_source, encodings, tables
from finetuning.data.encodings import Encoding, open_text, printable, undecoded
from finetuning.data.reader import MOST_LINE_BYTES, as_row
from finetuning.data.shapes import is_head

MOST_JSON_BYTES = 1 << 30
HEAD_RECORDS = 50


@dataclass(frozen=True, slots=True)
class Raw:
    """One row as it stands in the source. ``reason`` says why it has no values; ``text`` is then what stands there."""

    line: int
    values: dict[str, Any] | None
    reason: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A file with everything needed to read it: the same ``Source`` may be read again and again."""

    path: Path
    kind: str
    encoding: Encoding | None
    dialect: csv_source.Dialect | None = None
    columns: tuple[str, ...] = ()
    has_head: bool = True

    def rows(self) -> Iterator[Raw]:
        """Every row of the source, in order."""
        match self.kind:
            case "csv":
                yield from _csv_rows(self)
            case "jsonl":
                yield from _jsonl_rows(self.path, _known(self))
            case "json":
                yield from _json_rows(self.path, _known(self))
            case "trivia":
                yield from _trivia_rows(self.path, _known(self))
            case _:
                yield from (Raw(number, values) for number, values in enumerate(tables.rows(self.path), 1))

    @property
    def unit(self) -> str:
        """What the numbers of its rows count."""
        return "line" if self.kind in ("csv", "jsonl", "trivia") else "row"

    def lines(self) -> int:
        """How many lines a text has, so that progress can be told; 0 when its rows are not counted in lines."""
        if self.unit != "line":
            return 0
        with self.path.open("rb") as file:
            return 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def described(self) -> str:
        """What the file is, in a few words."""
        names = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
        kind = {"json": "JSON", "jsonl": "JSON Lines", "trivia": "question blocks", "parquet": "Parquet", "folder": "a dataset folder"}.get(
            self.kind
        )
        if self.dialect:
            kind = f"columns divided by {names.get(self.dialect.delimiter, repr(self.dialect.delimiter))}"
            kind += "" if self.has_head else ", without a head line"
        return kind if self.encoding is None else f"{kind}, {self.encoding.name} ({self.encoding.reason})"


def open_source(path: Path, encoding: str | None = None, delimiter: str | None = None) -> Source:
    """What a file is and how to read it. A file that is none of the known kinds is a DataError."""
    if not path.exists():
        raise DataError(f"{path} does not exist.", "Check the path; a relative one starts at the current folder.")
    if path.is_dir():
        tables.files_of(path)
        return Source(path, "folder", None)
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.", "Give a file with rows.")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PAR1") or path.suffix.lower() == ".parquet":
        return Source(path, "parquet", None)
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"ARROW1", b"SQLite")):
        raise DataError(f"{path.name} is a packed or spreadsheet file, not text.", "Save it as CSV (UTF-8), JSON, JSON Lines or Parquet.")
    known = encodings.named(encoding) if encoding else encodings.detect(path)
    kind = _text_kind(path, known, delimiter)
    if kind != "csv":
        return Source(path, kind, known)
    dialect = csv_source.Dialect(delimiter.replace("\\t", "\t")) if delimiter else csv_source.sniff(path, known)
    first = [record.fields for record in islice(csv_source.read(path, known, dialect), HEAD_RECORDS) if record.fields]
    if not first:
        raise DataError(f"{path.name} holds no rows.", "Give a file with a head line and rows.")
    has_head = is_head(first[0], first[1:])
    return Source(path, kind, known, dialect, _columns(first[0] if has_head else ("",) * len(first[0])), has_head)


def _text_kind(path: Path, encoding: Encoding, delimiter: str | None) -> str:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".tab") or delimiter:
        return "csv"
    with open_text(path, encoding) as file:
        start = file.read(1 << 16).lstrip("\ufeff \t\r\n")
    if re.match(r"#Q .*\n\^ ", start):
        return "trivia"
    if suffix in (".jsonl", ".ndjson"):
        # A whole JSON list under the name of JSON Lines has no line that is an object by itself.
        return "json" if start[:1] == "[" and not any(_is_object(line) for line in start.split("\n")) else "jsonl"
    if start[:1] == "{":
        return "jsonl" if "\n{" in start and _is_object(start.split("\n", 1)[0].strip()) else "json"
    return "json" if start[:1] == "[" or suffix == ".json" else "csv"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _known(source: Source) -> Encoding:
    return source.encoding or Encoding("utf-8", "")


def _columns(fields: tuple[str, ...]) -> tuple[str, ...]:
    """The column names of a head line, unnamed ones numbered, none twice."""
    names: list[str] = []
    for number, field in enumerate(fields, 1):
        name = field.strip().lstrip("\ufeff") or f"column{number}"
        names.append(name if name not in names else f"{name}_{number}")
    return tuple(names)


def _csv_rows(source: Source) -> Iterator[Raw]:
    assert source.dialect is not None
    records = csv_source.read(source.path, _known(source), source.dialect)
    width, started = len(source.columns), not source.has_head
    for record in records:
        if not started and record.fields:
            started = True
            continue
        if record.fault:
            yield Raw(record.line, None, record.fault, printable(record.text))
            continue
        text = source.dialect.delimiter.join(record.fields)
        if bad := undecoded(text):
            yield Raw(record.line, None, f"bytes that are not {_known(source).name} ({bad[:40]})", printable(text)[:1000])
        elif len(record.fields) > width and any(field.strip() for field in record.fields[width:]):
            yield Raw(
                record.line,
                None,
                f"{len(record.fields)} fields where the head has {width}: a delimiter inside a text needs quotes",
                text[:1000],
            )
        else:
            yield Raw(record.line, dict(zip(source.columns, record.fields, strict=False)))


def _jsonl_rows(path: Path, encoding: Encoding) -> Iterator[Raw]:
    with open_text(path, encoding) as file:
        number = 0
        while text := file.readline(MOST_LINE_BYTES):
            number += 1
            if len(text) == MOST_LINE_BYTES and not text.endswith("\n"):
                while (more := file.readline(1 << 20)) and not more.endswith("\n"):
                    pass
                yield Raw(number, None, f"the line is longer than {MOST_LINE_BYTES >> 20} MB")
            elif text.strip():
                yield _object(number, text.strip().lstrip("\ufeff"), encoding)


def _object(number: int, text: str, encoding: Encoding) -> Raw:
    if bad := undecoded(text):
        return Raw(number, None, f"bytes that are not {encoding.name} ({bad[:40]})", printable(text)[:1000])
    try:
        return Raw(number, as_row(text))
    except json.JSONDecodeError as error:
        return Raw(number, None, f"not valid JSON ({error.msg}, column {error.colno})", text[:1000])
    except KeyError as error:
        return Raw(number, None, f"the key '{error.args[0]}' stands twice", text[:1000])
    except (TypeError, ValueError, RecursionError) as error:
        return Raw(number, None, "nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip("."), text[:1000])


def _json_rows(path: Path, encoding: Encoding) -> Iterator[Raw]:
    """The objects of a JSON file: of its list, of the first list of objects inside it, or itself."""
    if path.stat().st_size > MOST_JSON_BYTES:
        raise DataError(
            f"{path.name} is one JSON document of more than {MOST_JSON_BYTES >> 30} GB.",
            "Convert it to JSON Lines, which is read line by line.",
        )
    with open_text(path, encoding) as file:
        text = file.read()
    start = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    if text[start : start + 1] == "[":
        yield from _elements(text, start + 1, encoding)
        return
    whole = _object(1, text[start:].rstrip(), encoding)
    if whole.values is None:
        inner = re.search(r'"\s*:\s*\[\s*\{', text)
        if inner is None:
            yield whole
            return
        yield from _elements(text, text.index("[", inner.start()) + 1, encoding)
        return
    rows = _rows_inside(whole.values)
    if rows is None:
        yield whole
    else:
        yield from (
            Raw(number, row) if isinstance(row, dict) else Raw(number, None, "not an object", str(row)[:1000])
            for number, row in enumerate(rows, 1)
        )


def _elements(text: str, position: int, encoding: Encoding) -> Iterator[Raw]:
    """The objects of a JSON list; after a broken one the next that begins like an object."""
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    between = re.compile(r"[\s,]*")
    while True:
        position = between.match(text, position).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, position), position
        if position >= len(text) or text[position] == "]":
            return
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            following = re.compile(r"\}\s*,\s*(?=\{)").search(text, position)
            end = following.end() if following else len(text)
        yield _object(line, text[position:end].rstrip(", \t\r\n"), encoding)
        position = end


def _rows_inside(document: dict[str, Any]) -> list[Any] | None:
    """The longest list of objects among a document's values, or its columns as rows; None when it is one row itself."""
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists and not {"messages", "conversations"} & set(document):
        return max(lists, key=len)
    columns = len(document) > 1 and all(isinstance(value, list) and value for value in document.values())
    if not columns or len({len(value) for value in document.values()}) > 1:
        return None
    return [dict(zip(document, row, strict=True)) for row in zip(*document.values(), strict=True)]


def _trivia_rows(path: Path, encoding: Encoding) -> Iterator[Raw]:
    """Blocks of ``#Q question``, ``^ answer`` and the choices, as OpenTriviaQA writes them."""
    with open_text(path, encoding) as file:
        block: list[str] = []
        start = 0
        for number, line in enumerate(file, 1):
            if line.startswith("#Q") and block:
                yield _trivia(start, block, encoding)
                block = []
            if line.strip():
                start = start if block else number
                block.append(line.rstrip("\r\n"))
        if block:
            yield _trivia(start, block, encoding)


def _trivia(line: int, block: list[str], encoding: Encoding) -> Raw:
    text = "\n".join(block)
    if bad := undecoded(text):
        return Raw(line, None, f"bytes that are not {encoding.name} ({bad[:40]})", printable(text)[:1000])
    answer = next((number for number, part in enumerate(block) if part.startswith("^")), None)
    if not block[0].startswith("#Q") or answer is None:
        return Raw(line, None, "no block of '#Q question' and '^ answer'", text[:1000])
    question = "\n".join([block[0].removeprefix("#Q").strip(), *block[1:answer]])
    return Raw(line, {"question": question, "answer": block[answer].removeprefix("^").strip()})
