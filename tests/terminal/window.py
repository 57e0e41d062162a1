"""The real chat window over a scripted engine, for tests that type into a terminal.

Arguments: root, seconds to load, seconds a token, seconds of prefill, then main.py's own.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY
from tests.scripted import ScriptedEngine, install

STORY = "Once upon a time. " + "".join(f"Then came day {number}. " for number in range(1, 40)) + "The end."


LIST = "Look:\n\n" + "".join(f"- item {number}\n" for number in range(1, 31)) + "\nAfter the list."
ESCAPES = "\x1b]0;owned\x07\x1b[31mred[/b]\x1b[2Jhere"


def say(question: str) -> str:
    """The answer to a question of the tests."""
    if question == "Count":
        return LIST
    if question == "Escape":
        return ESCAPES
    return STORY if question.startswith("Tell me a story") else f"You said: {question!r}."


if __name__ == "__main__":
    root, load, token, prefill = sys.argv[1], *map(float, sys.argv[2:5])
    patch = pytest.MonkeyPatch()
    install(ScriptedEngine(say, token_seconds=token, prefill_seconds=prefill), patch, load_seconds=load)
    sys.exit(main(["--root", root, *sys.argv[5:]], REGISTRY))
