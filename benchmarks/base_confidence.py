"""How true the confidence of the untouched base is on questions of others.

    python benchmarks/base_confidence.py FILE [--root DIR] [--rows N] [--json]

FILE holds one JSON object a line: ``question``, and ``answer`` with the answers of which one must stand in the base's own. They are asked
as the chat asks (its system prompt, the live engine, greedy, at most 128 tokens); answers are kept under the root and serve again.
"""

import argparse
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import files  # noqa: E402
from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.facts import is_right  # noqa: E402
from assistant.core.values import Message, Sampling  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.router import confidence  # noqa: E402
from finetuning.evaluation import calibrate, reliability  # noqa: E402
from finetuning.evaluation.bench import Bench  # noqa: E402
from finetuning.evaluation.subjects import base_subject, sha256  # noqa: E402

SAMPLING = Sampling(max_tokens=128)


def main() -> int:
    """Ask, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", default=None)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    paths = places.resolve(given.root)
    settings = configuration.load(paths)
    base, subject = engines.base_of(settings, paths), base_subject()
    bench = Bench(paths, settings, base, [subject])
    curves = confidence.known(calibrate.folder(paths, subject), sha256(subject, base), bench.name)
    if curves is None:
        print(f"The base is not calibrated on {bench.name}: `calibrate base`.", file=sys.stderr)
        return 1
    rows = files.read_jsonl(given.file)
    rows = random.Random("base_confidence").sample(rows, min(given.rows, len(rows)))
    chat = bench.engine.format
    prompts = [chat.encode([Message("system", subject.prompt), Message("user", row["question"])]) for row in rows]
    asking = bench.answers(subject, prompts, SAMPLING)
    while True:
        try:
            step = next(asking)
            print(f"\r{step.done}/{step.total} answers", end="", file=sys.stderr)
        except StopIteration as over:
            said = over.value.said
            break
    print(file=sys.stderr)
    bench.release()
    right = [any(is_right(one.text, [fact]) for fact in row["answer"]) for one, row in zip(said, rows, strict=True)]
    found = {
        "rows": len(rows),
        "right": sum(right),
        "whole": reliability.figures([curves.whole.value(one.features) for one in said], right),
        "early": reliability.figures([curves.early.value(one.early) for one in said], right),
        "uncalibrated": reliability.figures([confidence.raw(one.features) for one in said], right),
        "sampling": asdict(SAMPLING),
    }
    if given.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{found['right']} of {found['rows']} right, on {bench.name}")
    for name in ("uncalibrated", "early", "whole"):
        part = found[name]
        print(f"{name}: calibration error {part['ece']:.3f}, debiased {part['ece_debiased']:.3f}, AUROC {part['auroc'] or 0:.3f}")
    for one in found["whole"]["bins"]:
        place = f"said {one['from']:.0%} to {one['to']:.0%}"
        print(f"  {place}: {one['rows']} answers, {one['confidence']:.0%} on average, {one['right']:.0%} right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
