"""The last stage: what the trainer reads, divided by the seed into rows to train on and rows to judge by."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from assistant.core.errors import DataError
from assistant.core.events import Event, Report, Step, Table
from finetuning.synthetic import arrays, filtered
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.stage import Stage
from finetuning.synthetic.writers import conversation


def run(kept: Stage, config: SyntheticConfig, seed: int) -> Iterator[Event]:
    """Write ``sft_data``, ``sft_train`` and ``sft_val`` of the kept rows."""
    manifest = kept.done()
    if not manifest["rows"]:
        raise DataError("No row passed the filter, so there is nothing to train on.", "Write more rows: `synthesize --rows 5000`.")
    yield Step(f"Writing the training files of {manifest['rows']:,} rows")
    counts = write(kept, "sft", sft_rows(arrays.read(kept.file(filtered.KEPT))), config.validation_share, seed)
    figures = {**manifest["statistics"], "sft": counts}
    kept.note("done", manifest["settings"], rows=manifest["rows"], statistics=figures)
    table = Table(("file", "rows"), tuple((f"{name}.json", f"{count:,}") for name, count in counts.items()))
    yield Report(f"Training files in {kept.folder}", {"folder": str(kept.folder), **counts}, (table,))


def sft_rows(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows as conversations, the form that `import` and trl read."""
    for row in rows:
        messages = [asdict(message) for message in conversation(row["category"], row["instruction"])]
        messages.append({"role": "assistant", "content": row["response"]})
        yield {"id": row["id"], "category": row["category"], "messages": messages}


def write(stage: Stage, kind: str, rows: Iterable[dict[str, Any]], share: float, seed: int) -> dict[str, int]:
    """Write ``KIND_data`` and its two parts; returns the rows of each.."""
    total = arrays.write(stage.file(f"{kind}_data"), rows)
    judged = judged_places(total, share, seed)
    counts = {f"{kind}_data": total}
    for name, wanted in (("train", False), ("val", True)):
        part = (row for place, row in enumerate(arrays.read(stage.file(f"{kind}_data"))) if (place in judged) is wanted)
        counts[f"{kind}_{name}"] = arrays.write(stage.file(f"{kind}_{name}"), part)
    return counts


def judged_places(total: int, share: float, seed: int) -> frozenset[int]:
    """Which rows judge: the share of them, drawn by the seed, at least one of two and more."""
    count = max(1, round(total * share)) if total > 1 and share > 0 else 0
    places: Sequence[int] = random.Random(f"{seed}/split").sample(range(total), count)
    return frozenset(places)
