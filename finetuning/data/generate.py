"""Write the English training files from the corpus: the nine files, the extra ones, and the manifest."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Chart, Event, Notice, Progress, Report, Step, Table
from assistant.core.paths import find
from assistant.core.values import CATEGORIES
from finetuning.data import corpus as corpus_files
from finetuning.data.build import NINE_FILES, Rows, build
from finetuning.data.corpus import Corpus
from finetuning.data.folder import publish, refuse_foreign

GENERATOR_VERSION = "1.0"


def run(
    context: Context, size: int | None = None, seed: int = 42, categories: Sequence[str] | None = None, out: str | None = None
) -> Iterator[Event]:
    """Write the dataset and report what was written."""
    if size is not None and size < 10:
        raise UsageError(f"A size of {size} rows is too small.", "Give at least 10, or leave --size out to get what the corpus holds.")
    wanted = tuple(category for category in CATEGORIES if category in (categories or CATEGORIES))
    target = find(out, context.paths) if out else context.paths.processed
    refuse_foreign(target)
    yield Step("Reading the corpus")
    corpus = corpus_files.load(context.paths.corpus)
    weak = corpus_files.weaknesses(corpus)
    if weak:
        yield Notice(f"The corpus has {len(weak)} weaknesses; the first: {weak[0]}", "warning")
    yield Step("Choosing wordings and splits")
    files = build(corpus, seed, wanted, size)
    manifest = _manifest(corpus, files, seed, size, wanted)
    yield Step(f"Writing {len(files)} files to {target}")
    for done, (name, rows) in enumerate(publish(target, files, manifest), 1):
        yield Progress(done, len(files), "files", {"rows": float(rows), "file": name})
    reached = len(files["unified_train.jsonl"])
    if size is not None and reached < size:
        yield Notice(
            f"The corpus gives {reached:,} different rows for unified_train.jsonl, not {size:,}: add entries or phrasings for more.",
            "warning",
        )
    yield _report(target, manifest, files)


def _manifest(corpus: Corpus, files: dict[str, Rows], seed: int, size: int | None, categories: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "processed_english",
        "generator": GENERATOR_VERSION,
        "seed": seed,
        "size": size,
        "categories": list(categories),
        "corpus": {"entries": len(corpus.entries), "dialogues": len(corpus.dialogues), "sha256": corpus.sha256},
        "files": {name: {"extra": name not in NINE_FILES} for name in files},
    }


def _report(target: Path, manifest: dict[str, Any], files: dict[str, Rows]) -> Report:
    described = manifest["files"]
    rows = tuple((name, f"{item['rows']:,}", "extra" if item["extra"] else "") for name, item in described.items())
    counts = {category: sum(row["category"] == category for row in files["unified_train.jsonl"]) for category in manifest["categories"]}
    blocks = (
        Table(("file", "rows", ""), rows),
        Chart("unified_train.jsonl by category", tuple((name, float(count)) for name, count in counts.items()), "rows"),
    )
    total = sum(item["rows"] for item in described.values())
    return Report(f"{total:,} rows in {len(described)} files in {target}", {"folder": str(target), **manifest}, blocks)
