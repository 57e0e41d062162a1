"""The preference stage: several answers to each sound request, scored; the best against the worst above a margin becomes a pair."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.events import Event, Notice, Progress, Report, Step, Table
from assistant.core.facts import normalise
from assistant.core.values import Message
from finetuning.synthetic import arrays, filtered, splits
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.pairs import Pair
from finetuning.synthetic.stage import Stage
from finetuning.synthetic.topics import batch_seed
from finetuning.synthetic.writers import Writer, conversation

CHECKPOINT, PAIRS = "preference_checkpoint", "preference_data"
SOURCE = "synthetic"


class Judge(Protocol):
    """What gives answers a reward."""

    name: str

    def score(self, judged: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        """The reward of each (messages, answer); higher is better."""


def settings(config: SyntheticConfig, seed: int, by: str, judge: str) -> dict[str, Any]:
    """What decides the answers and their rewards; the margin chooses among them afterwards."""
    names = ("batch", "answers", "answer_tokens", "preference_temperature", "top_p")
    return {"seed": seed, "by": by, "reward": judge, **{name: getattr(config, name) for name in names}}


def ready(stage: Stage, kept: Stage, decided: dict[str, Any], config: SyntheticConfig, pairs: int) -> bool:
    """Whether so many pairs, or all that the kept rows give, are there already."""
    manifest = stage.manifest()
    same = manifest.get("settings") == decided and manifest.get("margin") == config.margin
    if manifest.get("status") != "done" or not same or manifest.get("wanted", 0) < pairs:
        return False
    return manifest.get("filtered_sha256") == files.sha256(kept.file(filtered.REQUESTS))


def run(
    stage: Stage, kept: Stage, writer: Writer, judge: Judge, config: SyntheticConfig, seed: int, wanted: int, decided: dict[str, Any]
) -> Iterator[Event]:
    """Answer and score request after request until there are enough pairs. Every batch is on the disk before the next one begins."""
    requests = requests_of(kept)
    stage.folder.mkdir(parents=True, exist_ok=True)
    checkpoint, size = stage.file(CHECKPOINT), max(1, config.batch // config.answers)
    first = _sound(checkpoint, kept, size)
    pairs = sum(1 for _ in chosen(checkpoint, config))
    if first:
        yield Notice(f"{first * size:,} requests are answered and scored; it goes on after them.")
    yield Step(f"{writer.name} answers each request {config.answers} times, {judge.name} scores: {wanted:,} pairs of {requests:,} requests")
    before, began = float(stage.manifest().get("seconds", 0.0)), time.monotonic()
    stage.note("running", decided, seconds=round(before, 1))
    left, done = islice(arrays.read(kept.file(filtered.REQUESTS)), first * size, None), first * size
    for number in range(first, -(-requests // size)):
        if pairs >= wanted:
            break
        written = _batch(writer, judge, list(islice(left, size)), number, config, seed)
        arrays.append(checkpoint, written)
        done += len(written)
        pairs += sum(_pair(row, config) is not None for row in written)
        spent = time.monotonic() - began
        stage.note("running", decided, seconds=round(before + spent, 1))
        rate = (done - first * size) / spent if spent else 0.0
        figures: dict[str, float | str] = {"pairs": pairs, "requests/min": round(60 * rate, 1)}
        yield Progress(done, requests, "requests", figures, (requests - done) / rate if rate else None)
    yield from _finished(stage, kept, config, wanted, decided, before + time.monotonic() - began)


def requests_of(kept: Stage) -> int:
    """How many requests are sound; a DataError where the filter has not counted them."""
    count = kept.done()["statistics"].get("sound_requests")
    if count is None:
        raise DataError(f"{kept.folder} was filtered by an older version.", "Run `synthesize --stage filtered` again.")
    return int(count)


def chosen(checkpoint: Any, config: SyntheticConfig) -> Iterator[tuple[dict[str, Any], Pair]]:
    """The scored requests that give a pair, each with it."""
    for row in arrays.read(checkpoint):
        pair = _pair(row, config)
        if pair is not None:
            yield row, pair


def dpo_rows(stage: Stage) -> Iterator[dict[str, Any]]:
    """The pairs in the form that all preference files share."""
    for row in arrays.read(stage.file(PAIRS)):
        yield {name: row[name] for name in ("prompt", "chosen", "rejected", "source", "when")}


def files_of(stage: Stage, config: SyntheticConfig, seed: int) -> Iterator[Event]:
    """Write ``dpo_data``, ``dpo_train`` and ``dpo_val``."""
    manifest = stage.done()
    yield Step(f"Writing the training files of {manifest['rows']:,} pairs")
    counts = splits.write(stage, "dpo", dpo_rows(stage), config.preference_validation_share, seed)
    more = {name: manifest[name] for name in ("seconds", "rows", "wanted", "margin", "filtered_sha256", "statistics")}
    stage.note("done", manifest["settings"], **more, dpo=counts)
    table = Table(("file", "rows"), tuple((f"{name}.json", f"{count:,}") for name, count in counts.items()))
    yield Report(f"Preference files in {stage.folder}", {"folder": str(stage.folder), **counts}, (table,))


def _finished(stage: Stage, kept: Stage, config: SyntheticConfig, wanted: int, decided: dict[str, Any], seconds: float) -> Iterator[Event]:
    checkpoint, now = stage.file(CHECKPOINT), datetime.now(UTC).isoformat(timespec="seconds")
    # The last batch may have given more than were asked for.
    found = islice(chosen(checkpoint, config), wanted)
    count = arrays.write(stage.file(PAIRS), ({**pair.row(now), **_about(row)} for row, pair in found))
    answered = sum(1 for _ in arrays.read(checkpoint))
    margins = [row["margin"] for row in arrays.read(stage.file(PAIRS))]
    figures = {
        "requests": answered,
        "pairs": count,
        "share": round(count / answered, 4) if answered else None,
        "mean_margin": round(sum(margins) / count, 4) if count else None,
        "chosen_words": _words(stage, "chosen"),
        "rejected_words": _words(stage, "rejected"),
    }
    more = {"seconds": round(seconds, 1), "wanted": wanted, "margin": config.margin}
    stage.note("done", decided, rows=count, statistics=figures, filtered_sha256=files.sha256(kept.file(filtered.REQUESTS)), **more)
    lines = (
        ("requests answered and scored", f"{answered:,}"),
        ("pairs", f"{count:,}, {figures['share'] or 0:.0%} of the requests"),
        ("mean margin", f"{figures['mean_margin']}, at least {config.margin}"),
        ("words", f"{figures['chosen_words']} chosen, {figures['rejected_words']} rejected"),
        ("time", f"{seconds:,.0f} s"),
    )
    yield Report(f"{count:,} preference pairs", figures, (Table(("figure", "value"), lines),))


def _batch(
    writer: Writer, judge: Judge, requests: list[dict[str, Any]], number: int, config: SyntheticConfig, seed: int
) -> list[dict[str, Any]]:
    asked = [(row["category"], row["instruction"]) for row in requests for _ in range(config.answers)]
    answers = writer.answers(asked, batch_seed(seed, "preference", number), config.preference_temperature)
    rewards = judge.score([(conversation(*about), answer.text) for about, answer in zip(asked, answers, strict=True)])
    rows = []
    for place, row in enumerate(requests):
        own = slice(place * config.answers, (place + 1) * config.answers)
        said = [
            {"text": answer.text, "ended": answer.ended, "reward": round(reward, 4)}
            for answer, reward in zip(answers[own], rewards[own], strict=True)
        ]
        rows.append({**{name: row[name] for name in ("id", "category", "instruction")}, "batch": number, "answers": said})
    return rows


def _pair(row: dict[str, Any], config: SyntheticConfig) -> Pair | None:
    """The best answer that came to its end against the worst; None when they are too near, or the same."""
    there = [answer for answer in row["answers"] if answer["text"]]
    ended = [answer for answer in there if answer["ended"]]
    if len(there) < 2 or not ended:
        return None
    best, worst = max(ended, key=lambda answer: answer["reward"]), min(there, key=lambda answer: answer["reward"])
    if best["reward"] - worst["reward"] < config.margin or normalise(best["text"]) == normalise(worst["text"]):
        return None
    return Pair(tuple(conversation(row["category"], row["instruction"])), best["text"], worst["text"], SOURCE)


def _about(row: dict[str, Any]) -> dict[str, Any]:
    rewards = [answer["reward"] for answer in row["answers"] if answer["text"]]
    return {"id": row["id"], "category": row["category"], "rewards": rewards, "margin": round(max(rewards) - min(rewards), 4)}


def _sound(checkpoint: Any, kept: Stage, size: int) -> int:
    """The whole batches of the checkpoint whose requests are still the sound ones; everything behind them is taken away."""
    groups = arrays.whole(checkpoint, "batch", size)
    same = 0
    for row, request in zip(arrays.read(checkpoint), arrays.read(kept.file(filtered.REQUESTS)), strict=False):
        if (row["id"], row["instruction"]) != (request["id"], request["instruction"]):
            break
        same += 1
    if same // size < groups:
        groups = same // size
        arrays.write(checkpoint, list(islice(arrays.read(checkpoint), groups * size)))
    return groups


def _words(stage: Stage, name: str) -> float | None:
    counts = [len(row[name].split()) for row in arrays.read(stage.file(PAIRS))]
    return round(sum(counts) / len(counts), 1) if counts else None
