"""How true the confidence of the untouched base is on questions of others; `--fit` makes the calibration that ships with PZ2.

    python benchmarks/base_confidence.py FILE … [--root DIR] [--rows N] [--fit OUT] [--json]

A FILE holds one JSON object a line: ``question``, and ``answer`` with the answers of which one must stand in the base's own. Of each N are
asked as the chat asks (its system prompt, the live engine, greedy, at most 128 tokens); answers are kept under the root and serve again.
`--fit` fits on the first half of them, on held-out rows of the root and on the questions of general ability, and judges what it wrote to
OUT on the second half alone; without it the calibration of the root judges the same half.
"""

import argparse
import itertools
import json
import random
import sys
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import files  # noqa: E402
from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.facts import is_right  # noqa: E402
from assistant.core.values import Message, Sampling  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.router import confidence  # noqa: E402
from assistant.router.confidence import Calibration  # noqa: E402
from finetuning.evaluation import calibrate, reliability  # noqa: E402
from finetuning.evaluation.asked import Asked  # noqa: E402
from finetuning.evaluation.bench import Bench  # noqa: E402
from finetuning.evaluation.calibrate import Judged  # noqa: E402
from finetuning.evaluation.subjects import base_subject, sha256  # noqa: E402

SAMPLING = Sampling(max_tokens=128)
# Held-out rows of the root beside those of others.
OWN = 300


def main() -> int:
    """Ask, fit when wanted, judge, print."""
    given = _arguments()
    paths = places.resolve(given.root)
    settings = configuration.load(paths)
    base, subject = engines.base_of(settings, paths), base_subject()
    bench = Bench(paths, settings, base, [subject])
    parts = {path.stem: _asked(bench, path, given.rows) for path in given.files}
    if given.fit:
        fitted = [_whole(calibrate.answered(bench, subject, OWN)), *(_half(part, 0) for part in parts.values())]
        together = (list(itertools.chain(*column)) for column in zip(*fitted, strict=True))
        curves = calibrate.fitted(bench, subject, Judged(*together))  # type: ignore[arg-type]
        files.write_json(given.fit, asdict(curves))
    else:
        known = confidence.known(calibrate.folder(paths, subject), sha256(subject, base), bench.name)
        if known is None:
            print(f"The base is not calibrated on {bench.name}: `calibrate base`.", file=sys.stderr)
            return 1
        curves = known
    found = {name: _figures(bench, curves, _half(part, 1)) for name, part in parts.items()}
    bench.release()
    if given.json:
        print(json.dumps({"fitted": curves.figures, "judged": found}, indent=2))
        return 0
    if given.fit:
        _print(f"what it was fitted on, each fifth by curves of the others ({curves.rows} answers)", curves.figures["after"])
    for name, part in found.items():
        print(f"{name}: {part['right']} of {part['rows']} right, on {bench.name}")
        for how in ("uncalibrated", "early", "whole"):
            _print(f"  {how}", part[how])
        for one in part["whole"]["bins"]:
            place = f"said {one['from']:.0%} to {one['to']:.0%}"
            print(f"    {place}: {one['rows']} answers, {one['confidence']:.0%} on average, {one['right']:.0%} right")
    return 0


def _asked(bench: Bench, path: Path, count: int) -> Judged:
    """The base's answers to so many questions of a file, in a fixed random order."""
    subject, chat = base_subject(), bench.engine.format
    rows = files.read_jsonl(path)
    rows = random.Random("base_confidence").sample(rows, min(count, len(rows)))
    asked = [
        Asked(f"{path.stem}-{number}", "base", (Message("system", subject.prompt), Message("user", row["question"])), "", (), (), "", "")
        for number, row in enumerate(rows)
    ]
    given = _whole(bench.answers(subject, [chat.encode(list(one.messages)) for one in asked], SAMPLING, path.stem))
    right = [any(is_right(one.text, [fact]) for fact in row["answer"]) for one, row in zip(given.said, rows, strict=True)]
    return Judged(asked, given.said, right, [1.0] * len(rows))


def _half(judged: Judged, which: int) -> Judged:
    middle = len(judged.rows) // 2
    return Judged(*(column[middle:] if which else column[:middle] for column in judged))  # type: ignore[arg-type]


def _figures(bench: Bench, curves: Calibration, judged: Judged) -> dict[str, Any]:
    whole, early = ([getattr(one, name) for one in judged.said] for name in ("features", "early"))
    states = [bench.state(row.question) for row in judged.rows]
    return {
        "rows": len(judged.rows),
        "right": sum(judged.right),
        "whole": reliability.figures([curves.whole.value(*one) for one in zip(whole, states, strict=True)], judged.right),
        "early": reliability.figures([curves.early.value(*one) for one in zip(early, states, strict=True)], judged.right),
        "uncalibrated": reliability.figures([confidence.raw(one.features) for one in judged.said], judged.right),
    }


def _whole(steps: Generator[Any, None, Any]) -> Any:
    """What a generator returns; how far it is goes to standard error."""
    while True:
        try:
            step = next(steps)
            print(f"\r{step.done}/{step.total} {step.unit}", end="", file=sys.stderr, flush=True)
        except StopIteration as over:
            print(file=sys.stderr)
            return over.value


def _print(name: str, part: dict[str, Any]) -> None:
    auroc = "none to tell" if part["auroc"] is None else f"{part['auroc']:.3f}"
    print(f"{name}: calibration error {part['ece']:.3f}, without its bias {part['ece_debiased']:.3f}, AUROC {auroc}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--root")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--fit", type=Path, metavar="OUT")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
