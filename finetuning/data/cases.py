"""The test cases of a domain: some of its trained questions with their key facts, as a suite that its owner may change."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.prompts import from_input_text
from finetuning.data.reader import read
from finetuning.data.split import place

FILE = "test_cases.jsonl"
PER_CATEGORY = 5
MOST_CATEGORIES = 20
# A few cases of each category are soon found, and a domain may have any number of rows.
MOST_ROWS_READ = 20_000
SEED = 42


def chosen(folder: Path) -> list[dict[str, Any]]:
    """The test cases of a domain's training rows: a few of each category that have key facts, always the same ones."""
    groups: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    seen: set[str] = set()
    for line in islice(read(folder / "train.jsonl"), MOST_ROWS_READ):
        row = line.row or {}
        messages = from_input_text(str(row.get("input_text", "")))
        name = str(row.get("id", line.number))
        if not row.get("key_facts") or name in seen or [message.role for message in messages] != ["system", "user"]:
            continue
        seen.add(name)
        group = str(row.get("category") or "all")
        case = {"id": name, "group": group, "question": messages[1].content, "key_facts": row["key_facts"], "right": row["target_text"]}
        kept = sorted([*groups.get(group, []), (place(SEED, "case", name), case)], key=lambda item: item[0])
        if group in groups or len(groups) < MOST_CATEGORIES:
            groups[group] = kept[:PER_CATEGORY]
    return [case for group in sorted(groups) for _, case in groups[group]]


def is_edited(folder: Path) -> bool:
    """Whether the file of test cases is another than this dataset's own: its owner wrote in it."""
    path = folder / FILE
    own = _text(folder) if (folder / "train.jsonl").is_file() else ""
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") != own


def write(folder: Path) -> int:
    """Write the test cases beside the rows; without key facts there are none, and no file. Returns how many."""
    text, path = _text(folder), folder / FILE
    if text:
        files.write_text(path, text)
    else:
        path.unlink(missing_ok=True)
    return text.count("\n")


def _text(folder: Path) -> str:
    return "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in chosen(folder))
