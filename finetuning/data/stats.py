"""What a dataset holds, in numbers: rows, lengths, categories, difficulties."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.core.events import Block, Chart, Table
from assistant.core.prompts import ChatML
from assistant.core.values import CATEGORIES
from finetuning.data.audit import question_of
from finetuning.data.checks import kind_of
from finetuning.data.reader import read

SAMPLED_ROWS = 1000
BUCKETS = (10, 20, 40, 80, 160, 320, 640)
TALLIES = ("category", "difficulty", "variation")


def of_file(path: Path, chat: ChatML | None) -> dict[str, Any]:
    """The figures of one file. Lengths in tokens are of an even sample of its rows, and absent without a tokenizer."""
    kind = kind_of(path.name)
    questions: list[str] = []
    answers: list[str] = []
    tallies: dict[str, Counter[str]] = {name: Counter() for name in TALLIES}
    broken = entries = 0
    ids: set[str] = set()
    for line in read(path):
        if line.row is None:
            broken += 1
            continue
        kind = kind or kind_of(path.name, line.row)
        if kind is None:
            continue
        questions.append(question_of(line.row, kind))
        if isinstance(line.row.get("target_text"), str):
            answers.append(line.row["target_text"])
        if line.row.get("id"):
            ids.add(str(line.row["id"]))
        for name in TALLIES:
            if (value := _named(line.row, name)) is not None:
                tallies[name][value] += 1
    entries = len(ids)
    figures: dict[str, Any] = {"rows": len(questions), "broken": broken, "entries": entries, "question": _lengths(questions, chat)}
    if answers:
        figures["answer"] = _lengths(answers, chat)
    return {**figures, **{name: dict(tally.most_common()) for name, tally in tallies.items() if tally}}


def blocks(files: dict[str, dict[str, Any]]) -> Iterator[Block]:
    """The figures of several files as tables and charts; the charts show the first file that has what they draw."""
    yield Table(("file", "rows", "entries", "words asked", "words answered", "tokens answered"), tuple(_file_rows(files)))
    main = max(files, key=lambda name: (files[name]["rows"] > 0 and "answer" in files[name], files[name]["rows"]), default=None)
    if main is None:
        return
    for name in ("category", "difficulty"):
        tally = files[main].get(name)
        if tally:
            yield Chart(f"{main} by {name}", tuple((value, float(count)) for value, count in list(tally.items())[:15]), "rows")
    for name in ("question", "answer"):
        spread = files[main].get(name, {}).get("spread")
        if spread:
            yield Chart(f"{main}: {name}s by words", tuple((bucket, float(count)) for bucket, count in spread.items()), "rows")


def _named(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if name == "category" and value is None and type(row.get("label")) is int and row["label"] in range(len(CATEGORIES)):
        return CATEGORIES[row["label"]]
    if name == "variation":
        return None if value is None else "varied" if value else "as written"
    return str(value) if isinstance(value, (str, int)) and value != "" else None


def _lengths(texts: Sequence[str], chat: ChatML | None) -> dict[str, Any]:
    if not texts:
        return {}
    words = [len(text.split()) for text in texts]
    figures: dict[str, Any] = {
        "words": {"mean": round(statistics.fmean(words), 1), "median": statistics.median(words), "most": max(words)},
        "characters": {"mean": round(statistics.fmean(map(len, texts)), 1), "most": max(map(len, texts))},
        "spread": _spread(words),
    }
    if chat is not None:
        step = max(1, len(texts) // SAMPLED_ROWS)
        counts = [len(encoded) for encoded in chat.tokenizer.encode_batch_fast(list(texts[::step]), add_special_tokens=False)]
        figures["tokens"] = {
            "mean": round(statistics.fmean(counts), 1),
            "median": statistics.median(counts),
            "most": max(counts),
            "sampled": len(counts),
        }
    return figures


def _spread(words: Sequence[int]) -> dict[str, int]:
    spread: Counter[str] = Counter()
    names = [f"to {limit}" for limit in BUCKETS] + [f"over {BUCKETS[-1]}"]
    for count in words:
        spread[names[sum(count > limit for limit in BUCKETS)]] += 1
    last = max((place for place, name in enumerate(names) if spread[name]), default=0)
    return {name: spread[name] for name in names[: last + 1]}


def _file_rows(files: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, figures in files.items():
        asked, answered = figures.get("question", {}), figures.get("answer", {})
        yield (
            name,
            f"{figures['rows']:,}",
            f"{figures['entries']:,}" if figures["entries"] else "",
            _mean(asked, "words"),
            _mean(answered, "words"),
            _mean(answered, "tokens"),
        )


def _mean(lengths: dict[str, Any], unit: str) -> str:
    return f"{lengths[unit]['mean']:g}" if unit in lengths else ""
