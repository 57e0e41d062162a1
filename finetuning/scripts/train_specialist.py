"""Train a specialist: `--type qna|technical|NAME`, and what else `main.py ft train` takes."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY


def words(given: Sequence[str]) -> list[str]:
    """The words of the command `train`: what `--type` names is the model."""
    rest = list(given)
    for place, word in enumerate(rest):
        if word == "--type" and place + 1 < len(rest):
            return ["ft", "train", rest[place + 1], *rest[:place], *rest[place + 2 :]]
        if word.startswith("--type="):
            return ["ft", "train", word.removeprefix("--type="), *rest[:place], *rest[place + 1 :]]
    return ["ft", "train", *rest]


if __name__ == "__main__":
    sys.exit(main(words(sys.argv[1:]), REGISTRY))
