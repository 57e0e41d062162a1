"""Check a dataset: every row by itself, then all rows together; name the file and line of every fault."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import DataError
from assistant.core.events import Block, Chart, Event, Finished, Lines, Notice, Progress, Report, Step, Table
from assistant.core.files import write_json
from assistant.core.paths import Paths
from finetuning.data import cases, config, repair, tokens
from finetuning.data.audit import Audit
from finetuning.data.build import NINE_FILES
from finetuning.data.checks import Kind, check_row, kind_of
from finetuning.data.config import DataLimits
from finetuning.data.folder import dataset_folder, manifest_hash, manifest_of, recover
from finetuning.data.reader import Fault, Line, read
from finetuning.data.repair import Repair

SHOWN_FAULTS = 20
SHOWN_WARNINGS = 10
ROWS_BETWEEN_PROGRESS = 5000
# Files of a dataset that hold no rows to train or judge by.
NO_ROWS = ("rejects.jsonl", cases.FILE)
LABEL_NAMES = {0: "0 qna", 1: "1 technical", 2: "2 general"}


@dataclass(slots=True)
class Findings:
    """What was found so far."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, Counter[int]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document of the command."""
        return {
            "valid": not self.faults,
            "files": {name: {"rows": rows} for name, rows in self.rows.items()},
            "faults": [asdict(fault) for fault in self.faults],
            "warnings": [asdict(warning) for warning in self.warnings],
        }


def run(context: Context, path: str | None = None, fix: bool = False, strict: bool = False) -> Iterator[Event]:
    """Check a dataset folder or one file of it. The exit status is 1 on any fault (with ``strict``: or warning).

    ``fix`` writes a cleaned copy beside it and checks that; the status then is the copy's.
    """
    target = dataset_folder(path, context.paths) if path else context.paths.processed
    files = dataset_files(target)
    limits = config.load(context.paths)
    found = Findings()
    started = time.monotonic()
    yield Step(f"Checking {_count(len(files), 'file')} in {target}")
    yield from examine(target, files, limits, found, measure(context.paths, limits))
    document = found.document()
    _remember(context.paths, target, document)
    blocks = list(_blocks(found))
    remaining = found
    if fix and (found.faults or found.warnings):
        yield Step("Writing a cleaned copy")
        done = repair.write(target, files, found.faults, found.warnings)
        remaining = Findings()
        yield from examine(done.target, dataset_files(done.target), limits, remaining, measure(context.paths, limits))
        document["fixed"] = {**done.document(), "valid": not remaining.faults, "warnings_left": len(remaining.warnings)}
        blocks.append(_repaired(done, remaining))
    yield Report(_title(found, time.monotonic() - started), document, tuple(blocks))
    if remaining.faults or (strict and remaining.warnings):
        yield Finished(1)


def dataset_files(target: Path) -> list[Path]:
    """The files to check; a path that holds none is a DataError."""
    if target.is_file():
        return [target]
    recover(target)
    if not target.is_dir():
        raise DataError(f"{target} does not exist.", "Run `generate` first, or name a dataset folder or a .jsonl file.")
    files = sorted(path for path in target.glob("*.jsonl") if path.name not in NO_ROWS)
    if not files:
        raise DataError(f"{target} holds no .jsonl file.", "Run `generate` first, or name a dataset folder.")
    place = {name: number for number, name in enumerate(NINE_FILES)}
    return sorted(files, key=lambda path: (place.get(path.name, len(place)), path.name))


def measure(paths: Paths, limits: DataLimits) -> tokens.Measure | None:
    """What finds rows that are too long in tokens; None when the base's tokenizer is not on this machine."""
    return tokens.Measure(tokens.load(paths), limits.max_tokens) if tokens.tokenizer_file(paths) else None


def examine(target: Path, files: list[Path], limits: DataLimits, found: Findings, too_long: tokens.Measure | None) -> Iterator[Event]:
    """Read every row and add what is wrong to ``found``."""
    total, done = sum(path.stat().st_size for path in files), 0
    manifest = manifest_of(target) if target.is_dir() else None
    audit = Audit(english=str((manifest or {}).get("name")).startswith("processed_english"))
    _missing_files(target, files, found)
    for path in files:
        rows = 0
        for line in _rows(path, limits, found, audit, too_long):
            rows += 1
            if rows % ROWS_BETWEEN_PROGRESS == 0:
                yield Progress(done + line.bytes, total, "bytes", {"file": path.name, "faults": float(len(found.faults))})
        done += path.stat().st_size
        found.rows[path.name] = rows
        _rare_labels(path.name, limits, found)
    _empty_files(target, found)
    yield Step("Comparing the rows with each other")
    found.warnings += audit.results(limits)
    if too_long is None:
        yield Notice("The base's tokenizer is not on this machine: lengths in tokens were not checked.")


def _rows(path: Path, limits: DataLimits, found: Findings, audit: Audit, too_long: tokens.Measure | None) -> Iterator[Line]:
    kind: Kind | None = kind_of(path.name)
    for line in read(path):
        if line.row is None:
            found.faults.append(Fault(path.name, line.number, line.field, line.code, line.message))
            continue
        kind = kind or kind_of(path.name, line.row)
        if kind is None:
            message = "neither the name nor the keys say what these rows are; the file was not checked."
            found.warnings.append(Fault(path.name, line.number, "", "unknown_form", message))
            return
        _check(path.name, line, kind, limits, found, audit, too_long)
        yield line


def _check(name: str, line: Line, kind: Kind, limits: DataLimits, found: Findings, audit: Audit, too_long: tokens.Measure | None) -> None:
    row, sound = line.row or {}, True
    for item in check_row(row, kind, limits):
        sound = sound and item.warning
        (found.warnings if item.warning else found.faults).append(Fault(name, line.number, item.field, item.code, item.message))
    if kind == "classification" and type(row.get("label")) is int:
        found.labels.setdefault(name, Counter())[row["label"]] += 1
    if not sound:
        return
    for fault, is_warning in audit.add(name, line.number, row, kind):
        (found.warnings if is_warning else found.faults).append(fault)
    encoded = too_long.too_long(row) if too_long else None
    if encoded is None:
        return
    if encoded.prompt >= limits.max_tokens:
        message = f"the prompt alone has {encoded.prompt:,} tokens of {limits.max_tokens:,}: nothing of the answer would be trained."
        found.faults.append(Fault(name, line.number, "input_text", "empty_mask", message))
    else:
        message = f"{len(encoded.ids):,} tokens; training cuts after {limits.max_tokens:,} (training_config.yaml, data.max_tokens)."
        found.warnings.append(Fault(name, line.number, "", "too_many_tokens", message))


def _missing_files(target: Path, files: list[Path], found: Findings) -> None:
    names = {path.name for path in files}
    manifest = manifest_of(target) if target.is_dir() else None
    described = [
        name for name, item in (manifest["files"] if manifest else {}).items() if not (isinstance(item, dict) and item.get("rejects"))
    ]
    wanted = [*described, *(NINE_FILES if names & set(NINE_FILES) and target.is_dir() else ())]
    for name in dict.fromkeys(wanted):
        if name not in names and name.endswith(".jsonl"):
            found.faults.append(Fault(name, None, "", "missing_file", "the file is missing. Run `generate` again."))


def _empty_files(target: Path, found: Findings) -> None:
    described = (manifest_of(target) or {"files": {}})["files"] if target.is_dir() else {}
    for name, rows in found.rows.items():
        if rows or any(fault.file == name for fault in found.faults):
            continue
        fault = Fault(name, None, "", "empty_file", "the file holds no rows.")
        meant = isinstance(described.get(name), dict) and described[name].get("rows") == 0
        (found.warnings if meant else found.faults).append(fault)


def _rare_labels(name: str, limits: DataLimits, found: Findings) -> None:
    labels = found.labels.get(name, Counter())
    total = sum(labels.values())
    for label, shown in LABEL_NAMES.items():
        if total and labels[label] < limits.min_label_share * total:
            share = f"{labels[label]:,} of {total:,} rows ({labels[label] / total:.0%})"
            message = f"label {shown} has {share}; below {limits.min_label_share:.0%} it is learned badly."
            found.warnings.append(Fault(name, None, "label", "rare_label", message))


def _remember(paths: Paths, target: Path, document: dict[str, Any]) -> None:
    """Keep the result for `status` and for CI, with the hash of the dataset it speaks of."""
    write_json(paths.logs / "validation.json", {"dataset": str(target), "manifest_sha256": manifest_hash(target), **document})


def _title(found: Findings, seconds: float) -> str:
    rows = sum(found.rows.values())
    verdict = f"Not valid: {_count(len(found.faults), 'fault')}" if found.faults else "Valid"
    return f"{verdict}, {_count(len(found.warnings), 'warning')} in {rows:,} rows of {_count(len(found.rows), 'file')} ({seconds:.1f} s)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _blocks(found: Findings) -> Iterator[Block]:
    yield Table(("file", "rows", "faults", "warnings"), tuple(_file_rows(found)))
    for name, labels in found.labels.items():
        if name == "classification_train.jsonl" or len(found.labels) == 1:
            yield Chart(f"labels of {name}", tuple((shown, float(labels[label])) for label, shown in LABEL_NAMES.items()), "rows")
    for title, items, most in (("Faults", found.faults, SHOWN_FAULTS), ("Warnings", found.warnings, SHOWN_WARNINGS)):
        if not items:
            continue
        counts = Counter(item.code for item in items)
        yield Table((title.lower(), "count"), tuple((code, f"{count:,}") for code, count in counts.most_common()))
        yield Lines(f"{title}, the most frequent first" if len(counts) > 1 else title, tuple(_shown(items, counts, most)))


def _repaired(done: Repair, remaining: Findings) -> Block:
    dropped = [f"dropped {_count(count, 'row')}: {code}" for code, count in done.dropped.most_common()]
    changed = [f"removed control characters from {_count(done.changed, 'row')}"] if done.changed else []
    left = f"{_count(len(remaining.faults), 'fault')} and {_count(len(remaining.warnings), 'warning')} are left in the copy."
    return Lines(f"Cleaned copy: {done.target}", (*dropped, *changed, left))


def _file_rows(found: Findings) -> Iterator[tuple[str, ...]]:
    faults, warnings = Counter(item.file for item in found.faults), Counter(item.file for item in found.warnings)
    for name in dict.fromkeys([*found.rows, *faults]):
        rows = f"{found.rows[name]:,}" if name in found.rows else "missing"
        yield name, rows, str(faults[name] or ""), str(warnings[name] or "")


def _shown(items: list[Fault], counts: Counter[str], most: int) -> Iterator[str]:
    ordered = sorted(items, key=lambda item: (-counts[item.code], item.file, item.line or 0))
    each = max(1, most // len(counts))
    shown: Counter[str] = Counter()
    for item in ordered:
        shown[item.code] += 1
        if shown[item.code] <= each:
            where = f"{item.file}, line {item.line}" if item.line else item.file
            yield f"{where}: {item.message}"
    if sum(min(each, count) for count in counts.values()) < len(items):
        yield "… `validate --json` gives all of them."
