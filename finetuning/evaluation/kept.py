"""What was answered before: a file for each set of weights and way of asking, a line for each prompt.

A line is written as soon as its answer is there, so an evaluation that was broken off goes on where it was, and one of more
questions asks only the new ones.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from assistant.core import files


def key(prompt: Sequence[int]) -> str:
    """The name of a prompt in such a file."""
    return hashlib.sha256(json.dumps(list(prompt)).encode()).hexdigest()[:24]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The answers by their prompt's name, the latest of each; a broken line (of a kill) is left out."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            found[entry["prompt"]] = entry
        except (ValueError, TypeError, KeyError):
            continue
    return found


def add(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Keep answers; each names its ``prompt``."""
    lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
    if path.is_file() and path.stat().st_size and not _ends_whole(path):
        lines.insert(0, "")
    if lines:
        files.append_line(path, "\n".join(lines))


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
