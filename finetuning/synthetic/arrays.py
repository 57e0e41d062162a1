"""JSON arrays with one row a line: valid JSON for everybody, appended and read row by row, so that their size does not matter."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.core.errors import DataError
from assistant.core.files import atomic_writer

Row = dict[str, Any]
_END = b"\n]\n"


def read(path: Path) -> Iterator[Row]:
    """The rows, one after the other; a missing file has none, a broken line is a DataError that names it."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            bare = line.strip().removesuffix(b",")
            if bare in (b"", b"[", b"]"):
                continue
            try:
                row = json.loads(bare)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                fix = f"Restore it, or begin anew: `synthesize --stage {path.parent.name} --fresh`."
                raise DataError(f"{path}, line {number}: not a row of JSON ({error}).", fix) from error
            yield row


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows as a whole or not at all; returns how many."""
    count = 0
    with atomic_writer(path) as file:
        file.write(b"[")
        for row in rows:
            file.write((b"," if count else b"") + b"\n" + _line(row))
            count += 1
        file.write(_END)
    return count


def append(path: Path, rows: Sequence[Row]) -> None:
    """Put rows behind those of a file, on the disk when this returns. A kill on the way leaves a torn end, which ``whole`` mends."""
    if not path.is_file():
        write(path, rows)
        return
    with path.open("rb+") as file:
        length = file.seek(0, os.SEEK_END)
        empty = length <= len(b"[" + _END)
        file.seek(1 if empty else length - len(_END))
        file.write((b"\n" if empty else b",\n") + b",\n".join(map(_line, rows)) + _END)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def whole(path: Path, group: str, size: int) -> int:
    """Mend a file that is appended in groups of ``size`` rows with the same number in ``group``; returns the groups that are whole.

    What a kill has torn, and a last group with too few rows, are taken away.
    """
    if not path.is_file():
        return 0
    groups = sum(1 for _ in _sound_groups(path, group, size))
    kept = groups * size
    if kept != _lines(path) or not _ends_well(path):
        write(path, (row for place, row in enumerate(_until_torn(path)) if place < kept))
    return groups


def _sound_groups(path: Path, group: str, size: int) -> Iterator[int]:
    """The numbers 0, 1, 2 … of the groups that follow each other without a gap."""
    for place, row in enumerate(_until_torn(path)):
        if row.get(group) != place // size:
            return
        if place % size == size - 1:
            yield place // size


def _until_torn(path: Path) -> Iterator[Row]:
    try:
        yield from read(path)
    except DataError:
        return


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip() not in (b"", b"[", b"]"))


def _ends_well(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END)))
        return file.read() == _END


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
