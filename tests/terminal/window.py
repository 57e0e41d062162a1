"""The real chat window over a scripted engine, for tests that type into a terminal. Arguments: root, seconds to load, seconds a token, seconds of prefill."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from scripted import ScriptedEngine, install

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

STORY = "Once upon a time. " + "".join(f"Then came day {number}. " for number in range(1, 40)) + "The end."


def say(question: str) -> str:
    """The answer to a question of the tests."""
    return STORY if question.startswith("Tell me a story") else f"You said: {question!r}."


if __name__ == "__main__":
    root, load, token, prefill = sys.argv[1], *map(float, sys.argv[2:5])
    patch = pytest.MonkeyPatch()
    install(ScriptedEngine(say, token_seconds=token, prefill_seconds=prefill), patch, load_seconds=load)
    sys.exit(main(["--root", root, *sys.argv[5:]], REGISTRY))
