"""How often a reward model puts pairs in the right order: after its fit, and by `train reward --judge FILE` on pairs from elsewhere."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError
from assistant.core.events import Event, Notice, Progress, Report, Step, Table
from assistant.core.paths import Paths, find
from assistant.core.store import Store
from assistant.core.values import Message
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.data import shapes
from finetuning.data.sources import Raw, Source, open_source
from finetuning.evaluation.bootstrap import interval
from finetuning.synthetic import rewards
from finetuning.synthetic.pairs import Pair

SAMPLE_ROWS = 200
# Pairs that are scored between two lines of progress.
CHUNK = 64


def run(context: Context, file: str) -> Iterator[Event]:
    """Judge the live reward model, else the newest, on the pairs of a file of any form that `import` takes."""
    paths = context.paths
    source = open_source(find(file, paths))
    yield Step(f"Reading the pairs of {source.path.name}")
    pairs, left_out = of_file(source)
    reasons = "; ".join(f"{count:,}: {reason}" for reason, count in left_out.most_common(3))
    if not pairs:
        fix = "A row of pairs has a question (instruction or prompt), chosen and rejected."
        raise DataError(f"No row of {source.path.name} is a pair ({reasons or 'it has no rows'}).", fix)
    if left_out:
        yield Notice(f"Rows left out: {left_out.total():,} ({reasons}).", "warning")
    base = engines.base_of(configuration.load(paths), paths)
    found = rewards.live(Store(paths), base, force=True)
    if found is None:
        raise ModelError(f"There is no reward model of {base.name}.", "Fit one: `train reward`.")
    name, folder = found
    yield Step(f"{name} scores {len(pairs):,} pairs")
    scorer = _loaded(base, paths, folder, name)
    try:
        figures = yield from judged(scorer, pairs)
    finally:
        scorer.release()
    yield _report({"model": name, "file": str(source.path), "pairs": len(pairs), "left_out": left_out.total(), **figures})


def judged(scorer: Any, pairs: Sequence[Pair]) -> Generator[Event, None, dict[str, Any]]:
    """The share of pairs whose chosen answer has the higher reward, of all with its 95% interval and of each kind."""
    margins: list[float] = []
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        rewarded = scorer.score([(pair.prompt, answer) for pair in part for answer in (pair.chosen, pair.rejected)])
        margins += [one - other for one, other in zip(rewarded[::2], rewarded[1::2], strict=True)]
        yield Progress(len(margins), len(pairs), "pairs")
    right: dict[str, list[bool]] = {}
    for pair, margin in zip(pairs, margins, strict=True):
        right.setdefault(pair.source, []).append(margin > 0)
    found = interval([float(margin > 0) for margin in margins])
    return {
        "accuracy": found.mean,
        "accuracy_interval": asdict(found),
        "margin": sum(margins) / len(margins),
        "by_kind": {kind: {"pairs": len(values), "accuracy": sum(values) / len(values)} for kind, values in sorted(right.items())},
    }


def of_file(source: Source) -> tuple[list[Pair], Counter[str]]:
    """The pairs of a file whose columns have the names that `import` knows, and why how many of its rows give none."""
    sample = [raw.values for raw in islice(source.rows(), SAMPLE_ROWS) if raw.values is not None]
    mapping = shapes.guess(source.columns or tuple(dict.fromkeys(key for row in sample for key in row)), sample)
    pairs: list[Pair] = []
    left_out = Counter[str]()
    for raw in source.rows():
        try:
            pairs += _pairs(raw, mapping, source.path.stem)
        except shapes.Unusable as error:
            left_out[str(error)] += 1
    return pairs, left_out


def _pairs(raw: Raw, mapping: Mapping[str, str], kind: str) -> list[Pair]:
    if raw.values is None:
        raise shapes.Unusable(raw.reason)
    found = []
    for record in shapes.records(raw.values, mapping):
        if not record.rejected:
            raise shapes.Unusable("no rejected answer")
        if record.rejected == record.answer:
            raise shapes.Unusable("both answers are the same")
        turns = ([("system", record.system)] if record.system else []) + list(record.turns)
        messages = tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]
        found.append(Pair(messages, record.answer, record.rejected, record.category or kind))
    return found


def _loaded(base: Base, paths: Paths, folder: Path, name: str) -> Any:
    # With it comes torch.
    from finetuning.training import reward

    return reward.load(base, paths, folder, name)


def _report(document: dict[str, Any]) -> Report:
    found = document["accuracy_interval"]
    title = f"{document['model']}: {document['accuracy']:.1%} of {document['pairs']:,} pairs in the right order"
    lines = [
        ("95% interval", f"{found['low']:.1%} to {found['high']:.1%}; guessing gives 50%"),
        ("mean margin", f"{document['margin']:.2f}"),
    ]
    if len(kinds := document["by_kind"]) > 1:
        lines += [(kind, f"{one['accuracy']:.1%} of {one['pairs']:,}") for kind, one in kinds.items()]
    return Report(title, document, (Table(("figure", "value"), tuple(lines)),))
