"""How fast the data side is: generate, validate, near-duplicates, and a large import with its peak memory.

usage: python benchmarks/data.py [--rows 100000] [--megabytes 1024] [--only NAME]
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.core.commands import Context
from assistant.core.events import Failed, Finished
from assistant.core.paths import PROJECT, Paths, prepare
from finetuning.commands import REGISTRY
from finetuning.data.corpus import load
from finetuning.data.dedupe import near_duplicates
from finetuning.data.vary import vary

GENERATED_ROWS = 10_000
COMPARED_ROWS = 50_000


def main() -> None:
    """Run the benchmarks, each in a process of its own so that its peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="rows that validate checks")
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the imported CSV")
    parser.add_argument("--only", choices=sorted(BENCHMARKS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        with tempfile.TemporaryDirectory() as folder:
            paths = Paths(Path(folder))
            prepare(paths)
            print(json.dumps(BENCHMARKS[given.only](paths, given)), flush=True)
        return
    for name in [given.only] if given.only else BENCHMARKS:
        words = [sys.executable, __file__, "--here", "--only", name, "--rows", str(given.rows), "--megabytes", str(given.megabytes)]
        print(name, subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def generate(paths: Paths, given: argparse.Namespace) -> dict[str, float]:
    """10,000 unified rows and all other files, corpus reading included."""
    return _timed(lambda: _run(paths, "generate", "--size", str(GENERATED_ROWS)), rows=GENERATED_ROWS)


def validate(paths: Paths, given: argparse.Namespace) -> dict[str, float]:
    """All checks, leaks between splits among them."""
    questions = _questions(given.rows)
    folder = paths.datasets / "large"
    folder.mkdir()
    for name, part in (("train", questions[: given.rows * 8 // 10]), ("test", questions[given.rows * 8 // 10 :])):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number, question in enumerate(part):
                row = {"input_text": f"System: Be exact.\n\nUser: {question}\nAssistant:", "target_text": f"Answer {number}: {question}"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return _timed(lambda: _run(paths, "validate", "large"), rows=given.rows)


def duplicates(paths: Paths, given: argparse.Namespace) -> dict[str, float]:
    """All near-duplicate pairs among 50,000 questions."""
    questions = _questions(COMPARED_ROWS)
    found: list[int] = []
    figures = _timed(lambda: found.append(len(near_duplicates(questions, 0.8))), rows=COMPARED_ROWS)
    return {**figures, "pairs": found[0]}


def large_import(paths: Paths, given: argparse.Namespace) -> dict[str, float]:
    """A CSV with quoted newlines, Korean rows and a few broken ones."""
    path = paths.root / "large.csv"
    questions, rows = _questions(20_000), 0
    rng = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("질문,답변,분류,난이도\n")
        while file.tell() < given.megabytes << 20:
            for question in questions:
                rows += 1
                text = question.replace('"', '""')
                category, level = "ABCDE"[rng.randrange(5)], ("초급", "중급", "고급")[rng.randrange(3)]
                file.write(
                    f'"{text} ({rows})","첫째 줄 {rows}\n{text} {text}",{category},{level}\n'
                    if rows % 1000
                    else "broken,row,with,too,many\n"
                )
    figures = _timed(lambda: _run(paths, "import", str(path), "--name", "large", "--yes"), rows=rows)
    return {**figures, "megabytes": path.stat().st_size >> 20}


BENCHMARKS: dict[str, Callable[[Paths, argparse.Namespace], dict[str, float]]] = {
    "generate": generate,
    "validate": validate,
    "duplicates": duplicates,
    "import": large_import,
}


def _questions(count: int) -> list[str]:
    """Questions of the corpus, varied and mixed until there are enough; about a fifth is near to another."""
    entries = load(PROJECT / "finetuning" / "corpus").entries
    plain = [phrasing for entry in entries for phrasing in entry.phrasings]
    words = sorted({word for phrasing in plain for word in phrasing.split()})
    rng = random.Random(0)
    made = list(plain[:count])
    while len(made) < count:
        if rng.random() < 0.2:
            made.append(vary(made[rng.randrange(len(made))], "qna", rng))
        else:
            head = plain[rng.randrange(len(plain))].split()[:8]
            made.append(" ".join([*head, *(words[rng.randrange(len(words))] for _ in range(6))]))
    return made


def _run(paths: Paths, *words: str) -> None:
    for event in REGISTRY.run(list(words), Context(paths)):
        if isinstance(event, Failed):
            raise SystemExit(f"{event.what} {event.fix}")
        if isinstance(event, Finished) and event.status == 2:
            raise SystemExit(2)


def _timed(work: Callable[[], object], rows: int) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "peak_mb": peak >> 10,
        "peak_before_mb": before >> 10,
    }


if __name__ == "__main__":
    main()
