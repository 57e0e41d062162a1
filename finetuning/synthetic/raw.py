"""The first stage: a model writes requests and answers them, batch by batch; a stopped one goes on after its last whole batch."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from assistant.core.events import Event, Notice, Progress, Step
from assistant.core.facts import normalise
from finetuning.synthetic import arrays
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.stage import Stage
from finetuning.synthetic.topics import batch_seed, subjects
from finetuning.synthetic.writers import Writer

CHECKPOINT, FULL, REQUESTS = "instructions_checkpoint", "instructions_final_full", "instructions_raw"
_OF_A_REQUEST = ("id", "category", "topic", "instruction", "instruction_ended")


def settings(config: SyntheticConfig, seed: int, by: str) -> dict[str, Any]:
    """What decides the rows; the number of rows does not, so a finished stage can be made longer."""
    names = ("batch", "instruction_tokens", "instruction_temperature", "answer_tokens", "answer_temperature", "top_p")
    return {"seed": seed, "by": by, **{name: getattr(config, name) for name in names}}


def ready(stage: Stage, decided: dict[str, Any], rows: int) -> bool:
    """Whether so many rows of these settings are there already."""
    manifest = stage.manifest()
    return manifest.get("status") == "done" and manifest.get("settings") == decided and manifest.get("rows", 0) >= rows


def run(stage: Stage, writer: Writer, config: SyntheticConfig, seed: int, rows: int, decided: dict[str, Any]) -> Iterator[Event]:
    """Write until there are ``rows``. Every batch is on the disk before the next one begins."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    checkpoint, size = stage.file(CHECKPOINT), config.batch
    before = float(stage.manifest().get("seconds", 0.0))
    first, batches = arrays.whole(checkpoint, "batch", size), -(-rows // size)
    if first:
        yield Notice(f"{first * size:,} rows are there; it goes on after them.")
    yield Step(f"{writer.name} writes {rows:,} requests and answers them, {size} at a time")
    began = time.monotonic()
    stage.note("running", decided, rows=first * size, seconds=round(before, 1))
    for number in range(first, batches):
        written = _batch(writer, number, size, seed)[: rows - number * size]
        arrays.append(checkpoint, written)
        done, spent = number * size + len(written), time.monotonic() - began
        stage.note("running", decided, rows=done, seconds=round(before + spent, 1))
        rate = (done - first * size) / spent if spent else 0.0
        figures: dict[str, float | str] = {"rows/min": round(60 * rate, 1), "last": _shown(written)}
        yield Progress(done, rows, "rows", figures, (rows - done) / rate if rate else None)
    spent = before + time.monotonic() - began
    arrays.write(stage.file(FULL), arrays.read(checkpoint))
    arrays.write(stage.file(REQUESTS), ({name: row[name] for name in _OF_A_REQUEST} for row in arrays.read(checkpoint)))
    count = sum(1 for _ in arrays.read(checkpoint))
    stage.note("done", decided, rows=count, seconds=round(spent, 1), statistics=statistics(arrays.read(checkpoint)))


def statistics(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How varied the requests are, how many texts came to an end, and how far the classifier agrees with the category."""
    total, ended, words, agreed, judged = 0, 0, 0, 0, 0
    categories, topics, first_words = Counter[str](), Counter[str](), Counter[str]()
    distinct: set[str] = set()
    for row in rows:
        bare = normalise(row["instruction"])
        total += 1
        ended += row["instruction_ended"] and row["response_ended"]
        words += len(row["response"].split())
        categories[row["category"]] += 1
        topics[row["topic"]] += 1
        first_words[" ".join(bare.split()[:2])] += 1
        distinct.add(bare)
        if row.get("judged"):
            judged += 1
            agreed += row["judged"] == row["category"]
    commonest = first_words.most_common(1)
    return {
        "rows": total,
        "distinct_instructions": len(distinct),
        "ended": round(ended / total, 4) if total else None,
        "words_of_an_answer": round(words / total, 1) if total else None,
        "categories": dict(sorted(categories.items())),
        "topics": len(topics),
        "commonest_beginning": {"words": commonest[0][0], "share": round(commonest[0][1] / total, 4)} if commonest else None,
        "category_agreement": round(agreed / judged, 4) if judged else None,
    }


def _batch(writer: Writer, number: int, size: int, seed: int) -> list[dict[str, Any]]:
    wanted = subjects(range(number * size, (number + 1) * size), seed)
    requests = writer.requests(wanted, batch_seed(seed, "request", number))
    asked = [(subject.category, request.text) for subject, request in zip(wanted, requests, strict=True) if request.text]
    answers = iter(writer.answers(asked, batch_seed(seed, "answer", number)))
    rows = []
    for subject, request in zip(wanted, requests, strict=True):
        # Nothing is asked, so nothing is answered.
        answer = next(answers) if request.text else None
        rows.append(
            {
                "id": subject.id,
                "batch": number,
                "category": subject.category,
                "topic": subject.topic,
                "instruction": request.text,
                "instruction_ended": request.ended,
                "response": answer.text if answer else "",
                "response_ended": bool(answer and answer.ended),
                "judged": writer.category(request.text) if request.text else None,
            }
        )
    return rows


def _shown(rows: list[dict[str, Any]]) -> str:
    text = " ".join(rows[-1]["instruction"].split()) if rows else ""
    return f"“{text[:40]}{'…' if len(text) > 40 else ''}”"
