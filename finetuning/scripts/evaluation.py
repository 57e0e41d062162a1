"""Judge models. `evaluation.py MODEL …` evaluates one; `evaluation.py compare A B …` compares; the words are those of `main.py ft`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

COMMANDS = ("evaluate", "compare")

if __name__ == "__main__":
    words = sys.argv[1:]
    plain = bool(words) and words[0] in (*COMMANDS, "-h", "--help")
    sys.exit(main(["ft", *(words if plain else ["evaluate", *words])], REGISTRY))
