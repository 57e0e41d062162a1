"""PZ2: the chat, the fine-tuning menu, or one answer. This file only hands the words over."""

import sys

from assistant.ui.cli import main
from finetuning.commands import REGISTRY

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], REGISTRY))
