"""Fine-tuning in steps: `run_fine_tuning.py [--task compare|special_tokens|preprocess|explain|train]`; without a task all of them."""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.core import logs
from assistant.core.commands import Context, guarded
from assistant.core.errors import PZ2Error
from assistant.core.events import Event
from assistant.core.paths import prepare, resolve
from assistant.ui.cli import show
from finetuning.lessons import tasks, words


def parser() -> words.Parser:
    """The flags of this script."""
    made = words.parser("run_fine_tuning.py", "Compare, special tokens, preprocess, explain, train.")
    made.add_argument("--task", choices=tasks.TASKS, help="only this step")
    made.add_argument("--model", help="a base: embedded, a Hugging Face id, or a folder (default: the configured one)")
    made.add_argument("--dataset", help="a dataset that is here (default: the unified model's)")
    made.add_argument("--dataset_path", help="a CSV, JSON, JSON Lines or Parquet file, which is imported first")
    made.add_argument("--output_dir", default="./results", help="where the results go (default: ./results)")
    made.add_argument("--epochs", type=float, default=1.0)
    made.add_argument("--batch_size", type=int, default=1)
    made.add_argument("--lr", type=float, default=2e-5, help="the learning rate (default: 2e-5)")
    made.add_argument("--lora_r", type=int, default=8)
    made.add_argument("--load_8bit", action="store_true", help="train on the base in 8 bits")
    return made


def main(line: list[str]) -> int:
    """Do the tasks; returns the exit status."""
    given, rest = parser().parse_known_args(line)
    own = {"epochs": given.epochs, "batch_size": given.batch_size, "learning_rate": given.lr, "lora_r": given.lora_r}
    flags = words.train_flags(rest, {**own, "method": "lora_8bit" if given.load_8bit else None})
    preset, promote = flags.pop("preset", "balanced"), flags.pop("promote", False)
    paths = resolve(given.root)
    prepare(paths)
    logs.start(paths)
    output = Path(given.output_dir).expanduser().absolute()
    options = tasks.Options(output, given.model, given.dataset, given.dataset_path, preset, tuple(flags.items()), promote)
    chosen = [given.task] if given.task else list(tasks.TASKS)
    context = Context(paths, json=given.json)
    events: Iterator[Event] = guarded("run_fine_tuning.py", tasks.run(context, chosen, options), context)
    return show(events, given.json)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PZ2Error as error:
        print(f"Error: {error.what}\n{error.fix}", file=sys.stderr)
        sys.exit(2)
