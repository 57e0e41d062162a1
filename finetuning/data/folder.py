"""A dataset folder on disk: written as a whole or not at all, and described by its manifest."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assistant.core.errors import DataError
from assistant.core.files import read_json, sha256
from assistant.core.paths import Paths, find

MANIFEST = "manifest.json"


def publish(target: Path, files: Mapping[str, Iterable[dict[str, Any]]], manifest: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Write every file and the manifest into a folder beside ``target``, then put that folder in its place.

    Yields each file's name and rows as it is written. ``manifest`` is completed with rows and hashes. Files of the old folder that its
    manifest does not name are the user's and move along. An error leaves ``target`` as it was.
    """
    real = Path(os.path.realpath(target))
    refuse_foreign(real)
    part = real.parent / f".{real.name}.part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        described: dict[str, dict[str, Any]] = manifest["files"]
        for name, rows in files.items():
            count, digest = _write(part / name, rows)
            described[name] = {**described.get(name, {}), "rows": count, "sha256": digest}
            yield name, count
        _sync(part / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n")
        for foreign in _foreign(real):
            _copy(foreign, part / foreign.name)
        _swap(real, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def recover(target: Path) -> None:
    """Put back the old folder when a crash fell between the two renames of a swap, and clear what is left over."""
    real = Path(os.path.realpath(target))
    for old in sorted(real.parent.glob(f".{real.name}.old-*")):
        if not real.exists():
            os.rename(old, real)
        else:
            shutil.rmtree(old, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """A folder that holds something else than a dataset is never replaced: a DataError."""
    recover(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} holds files and no dataset ({MANIFEST} is missing).", "Name a new or empty folder.")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file.", "Name a folder.")


def dataset_folder(name: str, paths: Paths) -> Path:
    """A dataset as the user names it: a path, else a folder under datasets/. An unknown one is a DataError that names those there are."""
    for path in (find(name, paths), paths.datasets / name):
        if path.exists():
            return path
    known = sorted(path.name for path in paths.datasets.glob("[!.]*") if any(path.glob("*.jsonl"))) if paths.datasets.is_dir() else []
    listed = f"There are {', '.join(known)}." if known else "Run `generate` first."
    raise DataError(f"There is no dataset and no file '{name}'.", f"{listed} A path to a folder or a .jsonl file is taken, too.")


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a dataset folder, None when it has none or it is no manifest."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    document = read_json(path)
    return document if isinstance(document, dict) and isinstance(document.get("files"), dict) else None


def manifest_hash(folder: Path) -> str:
    """The hash that stands for this state of a dataset: of its manifest, "" without one."""
    path = folder / MANIFEST
    return sha256(path) if path.is_file() else ""


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count, digest.hexdigest()


def _sync(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _foreign(folder: Path) -> list[Path]:
    named = {MANIFEST, *((manifest_of(folder) or {"files": {}})["files"])}
    return [path for path in sorted(folder.iterdir()) if path.name not in named] if folder.is_dir() else []


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        return
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _swap(real: Path, part: Path) -> None:
    old = real.parent / f".{real.name}.old-{os.getpid()}"
    if real.exists():
        os.rename(real, old)
    try:
        os.rename(part, real)
    except OSError:
        if old.exists():
            os.rename(old, real)
        raise
    shutil.rmtree(old, ignore_errors=True)
