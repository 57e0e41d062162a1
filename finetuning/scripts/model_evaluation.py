"""Judge a model's folder: `--model_path FOLDER --model_type generation|classification`, the rest as `main.py ft evaluate`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

# This script's names for the words of `evaluate`; a path stands by itself there, and first.
NAMES = {"--model_type": "--type", "--model-type": "--type"}
PATHS = ("--model_path", "--model-path")


def words(given: list[str]) -> list[str]:
    """The words of `evaluate` for this script's words."""
    split = [part for word in given for part in (word.split("=", 1) if word.startswith("--") and "=" in word else [word])]
    rest = [NAMES.get(word, word) for word in split]
    for place, word in enumerate(rest[:-1]):
        if word in PATHS and not rest[place + 1].startswith("--"):
            # A flag of many values before it would take it for one of them.
            return [rest[place + 1], *rest[:place], *rest[place + 2 :]]
    return rest


if __name__ == "__main__":
    sys.exit(main(["ft", "evaluate", *words(sys.argv[1:])], REGISTRY))
