"""Write a cleaned copy of a dataset: what `validate` can put right or has to drop, and nothing else."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.core.files import write_jsonl
from finetuning.data.folder import MANIFEST, manifest_of, publish, refuse_foreign
from finetuning.data.reader import Fault, read

# Warnings whose row goes, too: it is there twice, or it judges what was trained.
DROPPED_WARNINGS = frozenset({"duplicate", "leak", "near_leak", "undecoded"})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


@dataclass(slots=True)
class Repair:
    """What a repair did: rows dropped by their fault, rows changed, and where the copy lies."""

    target: Path
    dropped: Counter[str] = field(default_factory=Counter)
    changed: int = 0

    def document(self) -> dict[str, Any]:
        """The repair as JSON values."""
        return {"path": str(self.target), "dropped": dict(self.dropped.most_common()), "changed": self.changed}


def cleaned_path(target: Path) -> Path:
    """Where the cleaned copy of a dataset or file lies: beside it."""
    return target.with_name(f"{target.stem}_cleaned{target.suffix}")


def write(target: Path, files: Sequence[Path], faults: Sequence[Fault], warnings: Sequence[Fault]) -> Repair:
    """Copy every file without the rows that are at fault. The dataset itself is left alone."""
    repair = Repair(cleaned_path(target))
    causes: dict[tuple[str, int], str] = {}
    for fault in (*faults, *(warning for warning in warnings if warning.code in DROPPED_WARNINGS)):
        if fault.line is not None:
            causes.setdefault((fault.file, fault.line), fault.code)
    if target.is_file():
        write_jsonl(repair.target, _rows(target, causes, repair))
        return repair
    refuse_foreign(repair.target)
    manifest = {**(manifest_of(target) or {}), "name": repair.target.name, "cleaned_from": target.name, "files": _described(target, files)}
    for _ in publish(repair.target, {path.name: _rows(path, causes, repair) for path in files}, manifest):
        pass
    return repair


def _rows(path: Path, causes: dict[tuple[str, int], str], repair: Repair) -> Iterator[dict[str, Any]]:
    for line in read(path):
        cause = causes.get((path.name, line.number))
        if cause is not None:
            repair.dropped[cause] += 1
        elif line.row is not None:
            row = {key: _CONTROL.sub("", value) if isinstance(value, str) else value for key, value in line.row.items()}
            repair.changed += row != line.row
            yield row


def _described(target: Path, files: Sequence[Path]) -> dict[str, Any]:
    known = (manifest_of(target) or {"files": {}})["files"]
    return {path.name: dict(known.get(path.name) or {}) for path in files if path.name != MANIFEST}
