"""Files that are whole or absent: atomic writes, JSON Lines, hashes."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from assistant.core.errors import DataError

# A list of nothing but numbers in an indented document. Text holds no line break of its own there, so none is touched.
NUMBERS = re.compile(r"\[\n\s+(-?\d[^\[\]{}\"]*?)\n\s*\]")


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes its final name only when the block ends without an error.

    A link is followed, so that a linked folder or file keeps being a link.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_writer(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as one readable JSON document, atomically; a list of numbers is one line."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_text(path, NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text))


def read_json(path: Path) -> Any:
    """The JSON document in ``path``; a broken one is a DataError that names the line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}).", "Restore the file or delete it.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}).", "Restore the file or delete it.") from error


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically; returns how many."""
    count = 0
    with atomic_writer(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            count += 1
    return count


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every object of a JSON Lines file; the first broken line is a DataError that names it."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Make it first (`generate` writes the training files).")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise DataError(f"{path.name}, line {number}: not valid JSON ({error}).", "Run `validate` to see every fault.") from error
            if not isinstance(row, dict):
                raise DataError(f"{path.name}, line {number}: not a JSON object.", "Run `validate` to see every fault.")
            rows.append(row)
    return rows


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it; used for event logs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def sha256(path: Path, seen: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file as hexadecimal text; ``seen`` is told the bytes read so far."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            done += len(block)
            if seen:
                seen(done)
    return digest.hexdigest()
