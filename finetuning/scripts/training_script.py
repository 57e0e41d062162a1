"""Train with a base, a dataset and a method: `training_script.py --model_name BASE --dataset NAME_OR_FILE --method lora`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.core import logs
from assistant.core.commands import Context, guarded
from assistant.core.errors import PZ2Error, UsageError
from assistant.core.paths import prepare, resolve
from assistant.core.store import BUILT_IN
from assistant.ui.cli import show
from finetuning.lessons import tasks, words
from finetuning.training import recipe as recipes


def parser() -> words.Parser:
    """The flags of this script."""
    made = words.parser("training_script.py", "Train one model.")
    made.add_argument("--model_name", help="a base (embedded, a Hugging Face id, a folder), or unified, qna, technical (default: unified)")
    made.add_argument("--dataset", help="a dataset that is here, or a file, which is imported first (default: the unified model's)")
    made.add_argument("--method", default="lora", choices=recipes.METHODS, help="what is trained (default: lora)")
    made.add_argument("--output_dir", default="./results", help="where final_model goes (default: ./results)")
    return made


def main(line: list[str]) -> int:
    """Train; returns the exit status."""
    given, rest = parser().parse_known_args(line)
    flags = words.train_flags(rest, {"method": given.method})
    preset, promote = flags.pop("preset", "balanced"), flags.pop("promote", False)
    base, dataset = given.model_name, given.dataset
    if base in BUILT_IN:
        if dataset not in (None, base, "processed_english"):
            raise UsageError(f"The {base} model learns PZ2's own data.", f"Leave --model_name {base} out to train a domain of {dataset}.")
        base, dataset = None, base
    paths = resolve(given.root)
    prepare(paths)
    logs.start(paths)
    output = Path(given.output_dir).expanduser().absolute()
    options = tasks.Options(output, base, dataset, None, preset, tuple(flags.items()), promote)
    context = Context(paths, json=given.json)
    return show(guarded("training_script.py", tasks.run(context, ["train"], options), context), given.json)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PZ2Error as error:
        print(f"Error: {error.what}\n{error.fix}", file=sys.stderr)
        sys.exit(2)
