"""Screens kept as files. `PZ2_GOLDEN=write pytest tests/golden` writes them anew; the difference is then read in git."""

import os
from pathlib import Path


def check(name: str, text: str) -> None:
    """Compare a screen with its file, trailing space aside."""
    path = Path(__file__).with_name(name)
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("PZ2_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} differs; if that is meant: PZ2_GOLDEN=write pytest tests/golden"
