"""Ask the models: `unified_inference.py --mode interactive|batch|benchmark`; a chat, a file of questions, or the speed."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.core.errors import PZ2Error, UsageError
from assistant.ui.cli import main
from finetuning.commands import REGISTRY
from finetuning.lessons import words

MODES = ("interactive", "batch", "benchmark")
# The flags that have a meaning in one mode only.
FLAGS = {"batch": ("category", "input", "output"), "benchmark": ("questions",)}


def line(given: list[str]) -> list[str]:
    """The words of `main.py` for this script's words."""
    parser = words.Parser(prog="unified_inference.py", description="Ask the models.", allow_abbrev=False)
    parser.add_argument("--mode", choices=MODES, default="interactive", help="a chat, a file of questions, or the speed")
    parser.add_argument("--model", default="auto", help="auto, base, unified, qna, technical, or a domain of yours")
    parser.add_argument("--category", help="use that category's system prompt (batch)")
    parser.add_argument("--input", help="batch: the questions, one a line, or JSON Lines")
    parser.add_argument("--output", help="batch: where the answers go; an earlier run is taken up where it stopped")
    parser.add_argument("--questions", type=int, help="benchmark: how many questions")
    known, rest = parser.parse_known_args(given)
    _check(known)
    if known.mode == "interactive":
        return ["--model", known.model, *rest]
    if known.mode == "benchmark":
        return ["ft", "speed", known.model, *(["--questions", str(known.questions)] if known.questions is not None else []), *rest]
    if not known.input:
        raise UsageError(
            "--mode batch needs a file of questions.", "Usage: unified_inference.py --mode batch --input FILE [--output OUT.jsonl]"
        )
    flags = [("--out", known.output), ("--category", known.category)]
    return ["--ask-file", known.input, "--model", known.model, *(word for name, value in flags if value for word in (name, value)), *rest]


def _check(known: argparse.Namespace) -> None:
    for mode, flags in FLAGS.items():
        alien = [f"--{flag}" for flag in flags if getattr(known, flag) is not None and mode != known.mode]
        if alien:
            raise UsageError(f"--mode {known.mode} takes no {', '.join(alien)}.", f"That goes with --mode {mode}.")


if __name__ == "__main__":
    try:
        sys.exit(main(line(sys.argv[1:]), REGISTRY))
    except PZ2Error as error:
        print(f"Error: {error.what}\n{error.fix}", file=sys.stderr)
        sys.exit(2)
