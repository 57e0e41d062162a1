"""Prepare a dataset. `data_preparation.py FILE --name NAME` imports; generate, validate, import or data as the first word runs that."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

COMMANDS = ("generate", "validate", "import", "data")

if __name__ == "__main__":
    words = sys.argv[1:]
    plain = not words or words[0] in COMMANDS or words[0] in ("-h", "--help")
    sys.exit(main(["ft", *(words if plain else ["import", *words])], REGISTRY))
