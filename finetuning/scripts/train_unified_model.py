"""Train the unified model: the same as `main.py ft train unified`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

if __name__ == "__main__":
    sys.exit(main(["ft", "train", "unified", *sys.argv[1:]], REGISTRY))
