"""Rows on their way into a domain: kept in a temporary file, with a few numbers a row in memory, so that any size fits."""

import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from assistant.core.facts import normalise
from finetuning.data.shapes import Record


@dataclass(slots=True)
class Counts:
    """What became of the rows of a source."""

    source: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    filtered: int = 0
    duplicates: int = 0


class Spool:
    """The records of one import in the order of the source, and what was rejected. A context manager: its file goes with it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Closed by __exit__; the system removes the nameless files even after a crash.
        self._rows: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._rejects: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.questions = array("Q")
        self.pairs = array("Q")
        self.lines = array("Q")
        self.ids = array("Q")
        self.strata = array("I")
        self.stratum_names: dict[tuple[str, str], int] = {}
        self.rejected_rows = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rows.close()
        self._rejects.close()

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, record: Record, row: Mapping[str, Any], line: int) -> None:
        """Keep a row that may become one of the domain."""
        stratum = self.stratum_names.setdefault((record.category, record.difficulty), len(self.stratum_names))
        question = normalise(record.question) or record.question
        self.questions.append(number_of(question))
        self.pairs.append(number_of(f"{record.question}\0{record.answer}"))
        self.ids.append(number_of(record.id) if record.id else 0)
        self.lines.append(line)
        self.strata.append(stratum)
        self._rows.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def reject(self, line: int, reason: str, what: Any) -> None:
        """Keep a row that cannot be used, with the reason."""
        self.rejected_rows += 1
        text = json.dumps({"line": line, "reason": reason, "row": what}, ensure_ascii=False, default=str)
        self._rejects.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def rows(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The wanted rows, in order, with their places in ``questions``, ``lines`` and the other arrays."""
        self._rows.seek(0)
        for place, line in enumerate(self._rows):
            if wanted(place):
                yield place, json.loads(line.decode())

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The rejected rows."""
        self._rejects.seek(0)
        for line in self._rejects:
            yield json.loads(line.decode())


def number_of(text: str) -> int:
    """A 64-bit number that stands for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
