"""Preference pairs: which of two answers to the same prompt a person chose, one JSON object a line, for later training."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from assistant.core import files
from assistant.core.paths import Paths
from assistant.core.values import Message


def picks_file(paths: Paths) -> Path:
    """Where the pairs lie."""
    return paths.datasets / "preference" / "picks.jsonl"


def add_pick(paths: Paths, prompt: Sequence[Message], chosen: str, rejected: str, source: str) -> bool:
    """Keep a pair; ``source`` says how it was chosen (``good:``, ``compare --blind`` …). Two equal answers are no choice: False."""
    if chosen.strip() == rejected.strip() or not chosen.strip() or not rejected.strip():
        return False
    pair = {
        "prompt": [asdict(message) for message in prompt],
        "chosen": chosen.strip(),
        "rejected": rejected.strip(),
        "source": source,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    files.append_line(picks_file(paths), json.dumps(pair, ensure_ascii=False))
    return True
