"""What changed between two versions of a dataset."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Block, Event, Lines, Report, Step, Table
from finetuning.data.audit import question_of
from finetuning.data.checks import kind_of
from finetuning.data.folder import dataset_folder, manifest_of
from finetuning.data.reader import read
from finetuning.data.validate import dataset_files

SHOWN = 5


def run(context: Context, names: Sequence[str], default: str) -> Iterator[Event]:
    """Compare two datasets; with one name it is compared with the default dataset."""
    if not 1 <= len(names) <= 2:
        raise UsageError("Which two datasets are to be compared?", "Name them: `data compare OLD NEW` (one name is compared with --name).")
    old, new = (dataset_folder(name, context.paths) for name in (names if len(names) == 2 else [default, names[0]]))
    yield Step(f"Comparing {old.name} with {new.name}")
    before, after = _rows(old), _rows(new)
    files = {name: _difference(before.get(name, {}), after.get(name, {})) for name in dict.fromkeys([*before, *after])}
    trained = {name for name in files if "train" in name}
    moved = _moved(before, after)
    data = {"old": str(old), "new": str(new), "manifest": _manifests(old, new), "files": files, "moved_into_training": moved}
    yield Report(_title(files), data, tuple(_blocks(files, moved, trained)))


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    """By file: the hash of each row, with the question it asks."""
    files: dict[str, dict[str, str]] = {}
    for path in dataset_files(folder):
        rows = files.setdefault(path.name, {})
        for line in read(path):
            if line.row is None:
                continue
            kind = kind_of(path.name, line.row) or "dialogue"
            content = {key: value for key, value in line.row.items() if key in ("text", "label", "input_text", "target_text", "category")}
            digest = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()
            rows[digest] = question_of(line.row, kind)
    return files


def _difference(before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    asked_before, asked_after = {before[key] for key in gone}, {after[key] for key in new}
    changed = asked_before & asked_after
    return {
        "before": len(before),
        "after": len(after),
        "same": len(before.keys() & after.keys()),
        "changed": len(changed),
        "added": len(asked_after - changed),
        "removed": len(asked_before - changed),
        "examples": {
            "changed": sorted(changed)[:SHOWN],
            "added": sorted(asked_after - changed)[:SHOWN],
            "removed": sorted(asked_before - changed)[:SHOWN],
        },
    }


def _moved(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> int:
    """Questions that judged in the old version and are trained in the new one: figures of the two cannot be compared on them."""
    judged = {text for name, rows in before.items() if "test" in name or "validation" in name for text in rows.values()}
    trained_before = {text for name, rows in before.items() if "train" in name for text in rows.values()}
    trained = {text for name, rows in after.items() if "train" in name for text in rows.values()}
    return len((judged - trained_before) & trained)


def _manifests(old: Path, new: Path) -> dict[str, Any]:
    keys = ("generator", "seed", "size", "categories", "corpus", "source")
    one, other = manifest_of(old) or {}, manifest_of(new) or {}
    return {key: {"old": one.get(key), "new": other.get(key)} for key in keys if one.get(key) != other.get(key)}


def _title(files: dict[str, dict[str, Any]]) -> str:
    added, removed, changed = (sum(item[name] for item in files.values()) for name in ("added", "removed", "changed"))
    return "The rows are the same." if not added + removed + changed else f"{added:,} rows added, {removed:,} removed, {changed:,} changed"


def _blocks(files: dict[str, dict[str, Any]], moved: int, trained: set[str]) -> Iterator[Block]:
    columns = ("before", "after", "same", "changed", "added", "removed")
    yield Table(("file", *columns), tuple((name, *(f"{item[column]:,}" for column in columns)) for name, item in files.items()))
    if moved:
        yield Lines("", (f"{moved:,} questions judged before and are trained now: figures of the two versions differ by that too.",))
    for name in sorted(trained):
        for kind, examples in files[name]["examples"].items():
            if examples:
                yield Lines(f"{name}: {kind}", tuple(text.replace("\n", " ⏎ ")[:100] for text in examples))
