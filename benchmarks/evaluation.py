"""Measure evaluation: three adapters in one base load beside three evaluations apart, and answers in batches beside one by one.

    python benchmarks/evaluation.py [--root DIR] [--rows 8] [--tokens 32] [--prompts 48] [--engine hf|llama] [--json]

Both sides are measured in one run, in wall time and in processor time, because machines are noisy: read the ratios. The adapters are
random ones, nothing is kept from earlier, and nothing is written but under a folder that is deleted. Needs the training packages and a
generated dataset.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "benchmarks")]

from assistant.core import spinning  # noqa: E402

os.environ.update(spinning.shortly(os.environ))

from engine import random_adapter  # noqa: E402

from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.paths import Paths  # noqa: E402
from assistant.core.values import Sampling  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from finetuning.evaluation import asked as held_out_rows  # noqa: E402
from finetuning.evaluation import judging, run  # noqa: E402
from finetuning.evaluation.asked import Asked  # noqa: E402
from finetuning.evaluation.bench import Bench  # noqa: E402
from finetuning.evaluation.subjects import Subject  # noqa: E402

ADAPTERS = 3


@dataclass(slots=True)
class Clock:
    """Seconds that passed, and seconds the processor worked."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.processor += time.process_time() - processor


def main() -> None:
    """Run both measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--rows", type=int, default=8, help="held-out rows of an evaluation")
    parser.add_argument("--tokens", type=int, default=32, help="the most tokens of an answer")
    parser.add_argument("--prompts", type=int, default=48, help="prompts answered together and one by one")
    parser.add_argument("--engine", choices=("hf", "llama"), default="hf")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    root = places.resolve(given.root)
    path, _ = held_out_rows.best_file(root, "unified")
    asked = [one for one in held_out_rows.load(path, "unified") if len(one.messages) == 2]
    figures = {"rows": given.rows, "tokens": given.tokens, **batches(root, held_out_rows.choose(asked, given.prompts), given.tokens)}
    # A run that is cut short has said what it measured so far.
    print(json.dumps(figures), file=sys.stderr, flush=True)
    figures |= adapters(root, held_out_rows.choose(asked, given.rows), given.tokens, given.engine)
    print(json.dumps(figures, indent=2) if given.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


def adapters(root: Paths, asked: list[Asked], tokens: int, engine: str) -> dict[str, Any]:
    """Three adapters judged apart, each with a base load of its own, and together in one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = [random_adapter(root, folder / f"a{number}", number) for number in range(ADAPTERS)]
        subjects = [Subject(f"random {number}", "unified", None, adapter) for number, adapter in enumerate(made)]
        here = linked(root, folder)
        # The first load of a process imports the libraries; it belongs to neither side.
        evaluate(here, subjects[:1], asked[:1], 1, engine)
        apart, together = Clock(), Clock()
        for subject in subjects:
            with apart.running():
                evaluate(here, [subject], asked, tokens, engine)
        with together.running():
            evaluate(here, subjects, asked, tokens, engine)
    return {
        "three_adapters_apart_seconds": round(apart.wall, 1),
        "three_adapters_together_seconds": round(together.wall, 1),
        "together_of_apart": round(together.wall / apart.wall, 3),
        "together_of_apart_processor": round(together.processor / apart.processor, 3),
    }


def evaluate(root: Paths, subjects: list[Subject], asked: list[Asked], tokens: int, engine: str) -> None:
    """One base load and every subject's answers and likelihoods, as `compare` does it."""
    settings = configuration.load(root)
    bench = Bench(root, settings, engines.base_of(settings, root), subjects, engine, fresh=True)
    before, judging.MOST_TOKENS = judging.MOST_TOKENS, tokens
    try:
        for subject in subjects:
            for _ in run.judge(bench, subject, asked, with_speed=False):
                pass
    finally:
        judging.MOST_TOKENS = before
        bench.release()


def linked(root: Paths, folder: Path) -> Paths:
    """A root over the same models and datasets, with logs of its own."""
    for name in ("models", "datasets"):
        (folder / name).symlink_to(root.root / name)
    return Paths(folder)


def batches(root: Paths, asked: list[Asked], tokens: int) -> dict[str, Any]:
    """The same prompts in batches on transformers, and one by one on both engines."""
    settings = configuration.load(root)
    engine = engines.make("hf", engines.base_of(settings, root), settings, root)
    prompts = [engine.format.encode(one.messages) for one in asked]
    sampling = Sampling(max_tokens=tokens)
    engine.batch(prompts[:1], None, Sampling(max_tokens=2))

    def timed(ask: Callable[[], list[Any]]) -> tuple[Clock, int]:
        clock = Clock()
        with clock.running():
            said = ask()
        return clock, sum(len(one.ids) for one in said)

    one_by_one, alone = timed(lambda: [answer for prompt in prompts for answer in engine.batch([prompt], None, sampling)])
    together, batched = timed(lambda: engine.batch(prompts, None, sampling))
    engine.release()
    other = engines.make("llama", engines.base_of(settings, root), settings, root)
    live, said = Clock(), 0
    with live.running():
        for prompt in prompts:
            said += sum(1 for _ in other.stream(prompt, None, sampling, lambda: False))
    other.release()
    return {
        "prompts": len(prompts),
        "llama_one_by_one_tokens_per_second": round(said / live.wall, 1),
        "batched_is_faster_than_llama_by": round((batched / together.wall) / (said / live.wall), 2),
        "one_by_one_tokens_per_second": round(alone / one_by_one.wall, 1),
        "batched_tokens_per_second": round(batched / together.wall, 1),
        "batched_is_faster_by": round((batched / together.wall) / (alone / one_by_one.wall), 2),
        "batched_is_faster_by_processor": round((batched / together.processor) / (alone / one_by_one.processor), 2),
    }


if __name__ == "__main__":
    main()
