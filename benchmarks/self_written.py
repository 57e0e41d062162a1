"""Measure whether rows that the base wrote itself help it: beside as many curated rows, and beside none.

    python benchmarks/self_written.py --root DIR [--rows 300] [--epochs 3] [--limit 100] [--others FILE] [--json]

DIR holds what `generate` and `synthesize` wrote. Both kinds of rows become a domain, are trained with the same recipe, without replay (so
that the version answers everything itself) and with the same number of rows and passes, and answer the same held-out rows: entries of
the corpus that nobody trained on, the suites, and, with --others, the loss on answers that people wrote (a file of `import`'s forms with
`instruction`, `input` and `output`). What is there already is not trained again.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import files  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.paths import Paths, resolve  # noqa: E402
from assistant.core.store import Store  # noqa: E402
from assistant.core.values import Message  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from finetuning.evaluation.bootstrap import interval  # noqa: E402
from finetuning.evaluation.judging import as_document  # noqa: E402

SEED = 42
# What the base wrote, and what people did.
KINDS = ("self_written", "curated")
SUITES = ("general_ability", "instruction_following")


def main() -> int:
    """Train both, compare, print."""
    given = _arguments()
    paths = resolve(given.root)
    rows = {"self_written": _self_written(paths), "curated": _curated(paths)}
    count = min(given.rows, *map(len, rows.values()))
    for kind in KINDS:
        if kind not in Store(paths).models():
            _train(paths, kind, random.Random(SEED).sample(rows[kind], count), given.epochs)
    about = f"--on unified --split test --limit {given.limit} --show 0 --engine hf --suite"
    asked = ("base", *KINDS, *about.split(), *SUITES)
    compared = _ft(paths, "compare", *asked, plain=not given.json)
    others = _others(paths, given.others, given.limit) if given.others else {}
    if given.json:
        print(json.dumps({"rows": count, "epochs": given.epochs, "compared": json.loads(compared), "loss_on_others": others}, indent=2))
        return 0
    print(f"{count} rows of each kind, {given.epochs} passes\n{compared}")
    for name, found in others.items():
        print(f"{name:14} loss on the answers of others {found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})")
    return 0


def _self_written(paths: Paths) -> list[dict[str, str]]:
    path = paths.datasets / "synthetic" / "filtered" / "sft_train.json"
    if not path.is_file():
        sys.exit(f"{path} does not exist. Write rows first: `synthesize`.")
    return files.read_json(path)


def _curated(paths: Paths) -> list[dict[str, str]]:
    """One wording of each answer."""
    found: dict[str, dict[str, str]] = {}
    for row in files.read_jsonl(paths.processed / "unified_train.jsonl"):
        prompt = row["input_text"].rpartition("User: ")[2].removesuffix("\nAssistant:")
        found.setdefault(row["id"], {"question": prompt, "answer": row["target_text"], "category": row["category"]})
    return list(found.values())


def _train(paths: Paths, kind: str, rows: list[dict[str, str]], epochs: float) -> None:
    source = paths.logs / f"{kind}.json"
    files.write_json(source, rows)
    _ft(paths, "import", str(source), "--name", kind, "--yes")
    _ft(paths, "train", kind, "--epochs", str(epochs), "--set", "replay=0", "proof_rows=20", "proof_general=20", "--promote")


def _others(paths: Paths, file: str, limit: int) -> dict[str, Any]:
    """The loss on answers of other people, each answer counting once."""
    own = configuration.load(paths)
    base, store = engines.base_of(own, paths), Store(paths)
    engine = engines.make("hf", base, own, paths)
    adapters = {kind: store.live(kind) for kind in KINDS}
    engine.set_adapters([adapter for adapter in adapters.values() if adapter])
    chosen = random.Random(SEED).sample(files.read_json(Path(file)), limit)
    pairs = []
    for row in chosen:
        question = "\n\n".join(filter(None, (row["instruction"], row.get("input", ""))))
        answer = engine.format.tokenizer.encode(row["output"], add_special_tokens=False).ids
        pairs.append((engine.format.encode([Message("user", question)]), answer))
    found = {}
    for name in ("base", *KINDS):
        adapter = adapters.get(name)
        scores = engine.score(pairs, adapter.key if adapter else None)
        found[name] = as_document(interval([-sum(one) / len(one) for one in scores if one]))
    return found


def _ft(paths: Paths, *words: str, plain: bool = False) -> str:
    """One command of the program; its JSON, or with ``plain`` what it shows."""
    command = [sys.executable, "main.py", "--root", str(paths.root), *([] if plain else ["--json"]), "ft", *words]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "160"}, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}.\n{done.stdout[-2000:]}")
    return done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--others", help="a file of questions and answers that other people wrote")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
