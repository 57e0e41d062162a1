"""Read JSON Lines that anyone may have written: every line gives a row or the fault that keeps it from being one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A longer line is no row of a dataset, and reading it whole could fill the memory.
MOST_LINE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a dataset. ``line`` is None for a whole file, ``field`` is "" for a whole row."""

    file: str
    line: int | None
    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file: its row, or None with ``code`` and ``message``. ``bytes`` counts what was read so far."""

    number: int
    row: dict[str, Any] | None
    code: str = ""
    message: str = ""
    field: str = ""
    bytes: int = 0


def read(path: Path) -> Iterator[Line]:
    """The lines of a file; blank ones are passed over."""
    done = 0
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            yield Line(1, None, "encoding", "the file is UTF-16, not UTF-8. Save it as UTF-8, or take it in with `import`.")
            return
        file.seek(0)
        number = 0
        while raw := file.readline(MOST_LINE_BYTES):
            number += 1
            done += len(raw)
            if len(raw) == MOST_LINE_BYTES and not raw.endswith(b"\n"):
                done += _skip(file)
                yield Line(number, None, "line_length", f"the line is longer than {MOST_LINE_BYTES >> 20} MB.", bytes=done)
                continue
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield _parse(number, raw, done)


def as_row(text: str) -> dict[str, Any]:
    """The JSON object in a text. Anything else is a ValueError, another JSON value a TypeError, a key that stands twice a KeyError."""
    row = _DECODER.decode(text)
    if not isinstance(row, dict):
        raise TypeError(f"a JSON {_kind(row)} stands here, not an object.")
    return row


def _no_key_twice(items: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(items)
    if len(row) < len(items):
        names = [name for name, _ in items]
        raise KeyError(next(name for name in row if names.count(name) > 1))
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_no_key_twice)


def _parse(number: int, raw: bytes, done: int) -> Line:
    try:
        return Line(number, as_row(raw.decode("utf-8")), bytes=done)
    except UnicodeDecodeError as error:
        return Line(number, None, "encoding", f"not UTF-8 (byte {error.start + 1} of the line is 0x{raw[error.start]:02x}).", bytes=done)
    except json.JSONDecodeError as error:
        return Line(number, None, "json", f"not valid JSON ({error.msg}, column {error.colno}).", bytes=done)
    except TypeError as error:
        return Line(number, None, "not_object", str(error), bytes=done)
    except KeyError as error:
        return Line(number, None, "duplicate_key", f"the key '{error.args[0]}' stands twice.", str(error.args[0]), bytes=done)
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
        return Line(number, None, "json", f"not usable JSON ({reason}).", bytes=done)


def _skip(file: Any) -> int:
    skipped = 0
    while part := file.readline(1 << 20):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", int: "number", float: "number", bool: "true or false"}
    return names.get(type(value), "null")
