"""Ways of answering side by side: the router (hybrid), always the category's specialist (separate), always the unified model."""

import math
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import psutil

from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.chat.session import pinned as pinned_model
from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Event, Lines, Notice, Progress, Report, Step, Table, TextDelta, TurnDone
from assistant.core.facts import recall
from assistant.core.paths import Paths
from assistant.core.values import Reply
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import judging
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bootstrap import interval, paired

WAYS = ("hybrid", "separate", "unified")
LIMIT = 60
FILE = "ways.json"
# Times and memory of a machine that does other things too vary by so much.
NOISE = 0.1

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """One answer of a way: the reply that counts, the seconds to the first word the user saw and to the end."""

    reply: Reply
    first: float
    seconds: float


def compare(context: Context, ways: Sequence[str], limit: int | None = None, show: int = 3) -> Iterator[Event]:
    """Ask the same held-out questions in each way; the first way is what the others are measured against."""
    chosen = list(dict.fromkeys(ways))
    if len(chosen) < 2:
        raise UsageError("A comparison needs two ways of answering.", f"For example `compare --systems {' '.join(WAYS)}`.")
    if pinned := pinned_model(context.paths):
        raise UsageError(
            f"The model {pinned} is pinned, so there is only one way of answering.", "`switch auto` lets the router decide again."
        )
    path, split = held_out_rows.best_file(context.paths, "unified")
    single = [one for one in held_out_rows.load(path, "unified") if len(one.messages) == 2]
    asked = single if limit == 0 else held_out_rows.choose(single, limit or LIMIT)
    yield Step(f"{len(asked)} questions of {path.name}, answered in {len(chosen)} ways")
    documents = []
    for way in chosen:
        documents.append((yield from _way(context.paths, way, asked)))
    verdicts = [verdict(documents[0], other) for other in documents[1:]]
    document = {"split": split, "file": path.name, "questions": len(asked), "ways": documents, "verdicts": verdicts}
    where = context.paths.logs / "evaluations" / FILE
    files.write_json(where, document)
    yield _report(document, show, str(where))
    yield Notice(f"Every answer is in {where}. `report` puts everything together.")


def verdict(old: Document, new: Document) -> str:
    """One way against another in a sentence."""
    facts = [(one["recall"], other["recall"]) for one, other in zip(old["items"], new["items"], strict=True) if one["recall"] is not None]
    gain = paired([now for _, now in facts], [was for was, _ in facts])
    word = "better" if gain.above_zero else "worse" if gain.below_zero else "same"
    told = f"{word} at facts ({gain.mean:+.1%}, {gain.low:+.1%} to {gain.high:+.1%})" if facts else "no key facts to judge by"
    slower = _speed([(one["seconds"], other["seconds"]) for one, other in zip(old["items"], new["items"], strict=True)])
    memory = _change(old["figures"]["memory_mb"], new["figures"]["memory_mb"], "as much memory", "less memory", "more memory")
    return f"{new['way']}, measured against {old['way']}: {told}, {slower}, {memory}."


def figures(given: Sequence[Given], recalls: Sequence[float | None], memory: int) -> Document:
    """What a way's answers come to."""
    facts = [value for value in recalls if value is not None]
    rates = [one.reply.tokens_per_second for one in given if one.reply.tokens_per_second]
    return {
        "questions": len(given),
        "key_fact_recall": round(fmean(facts), 4) if facts else None,
        "interval": judging.as_document(interval(facts)) if facts else None,
        "right": round(fmean(value == 1 for value in facts), 4) if facts else None,
        "first_token_seconds": round(median(one.first for one in given), 3),
        "seconds": round(median(one.seconds for one in given), 3),
        "slowest_seconds": round(max(one.seconds for one in given), 3),
        "tokens_per_second": round(median(rates), 1) if rates else None,
        "escalated": round(fmean(one.reply.escalated for one in given), 4),
        "memory_mb": memory,
        "answered_by": dict(Counter(_name(one.reply) for one in given).most_common()),
    }


def _way(paths: Paths, way: str, asked: Sequence[Asked]) -> Generator[Progress, None, Document]:
    """One way over all questions, with an engine of its own so that its memory is its own."""
    before = psutil.Process().memory_info().rss
    live, given = Live(paths, configuration.load(paths)), []
    try:
        _said(Session(paths, live, greedy=True, pinned="unified"), asked[0].question)
        for number, one in enumerate(asked, 1):
            given.append(_said(_session(paths, live, way, one.question), one.question))
            yield Progress(number, len(asked), f"answers, {way}", {"seconds": round(fmean(item.seconds for item in given), 2)})
        memory = max(0, psutil.Process().memory_info().rss - before) // 1_000_000
    finally:
        live.release()
    recalls = [recall(item.reply.answer, one.facts) for one, item in zip(asked, given, strict=True)]
    items = [
        {
            "id": one.id, "question": one.question, "answer": item.reply.answer, "model": _name(item.reply),
            "escalated": item.reply.escalated, "recall": share, "first": round(item.first, 4), "seconds": round(item.seconds, 4),
        }
        for one, item, share in zip(asked, given, recalls, strict=True)
    ]  # fmt: skip
    return {"way": way, "figures": figures(given, recalls, memory), "items": items}


def _session(paths: Paths, live: Live, way: str, question: str) -> Session:
    if way == "hybrid":
        return Session(paths, live, greedy=True)
    model = "unified"
    if way == "separate":
        judgement = Session(paths, live, greedy=True).decide(question).judgement
        if judgement is not None and judgement.category in live.trained():
            model = judgement.category
    return Session(paths, live, greedy=True, pinned=model)


def _said(session: Session, question: str) -> Given:
    began, first, replies = time.perf_counter(), None, []
    for event in session.say(question):
        match event:
            case TextDelta():
                first = first or time.perf_counter() - began
            case TurnDone(reply):
                replies.append(reply)
    seconds = time.perf_counter() - began
    # When an answer is handed over, the specialist's comes last.
    return Given(replies[-1], first or seconds, seconds)


def _name(reply: Reply) -> str:
    return f"{reply.model} {reply.version}" if reply.version else reply.model


def _speed(pairs: Sequence[tuple[float, float]]) -> str:
    """Faster or slower only where the paired times say so surely, and by more than the noise of a busy machine."""
    apart = interval([math.log(now / was) for was, now in pairs if was > 0 and now > 0])
    if not (apart.above_zero or apart.below_zero) or abs(apart.mean) < NOISE:
        return "as fast, as far as can be told"
    return f"{'slower' if apart.mean > 0 else 'faster'} by {abs(math.exp(apart.mean) - 1):.0%}"


def _change(was: float, now: float, same: str, less: str, more: str) -> str:
    if not was or abs(now / was - 1) < NOISE:
        return same
    return f"{less if now < was else more} by {abs(now / was - 1):.0%}"


def _report(document: Document, show: int, where: str) -> Report:
    rows = []
    for one in document["ways"]:
        found = one["figures"]
        recall = f"{found['key_fact_recall']:.1%}" if found["key_fact_recall"] is not None else "–"
        by = ", ".join(f"{name} {count}" for name, count in found["answered_by"].items())
        times = (f"{found['first_token_seconds']:.2f} s", f"{found['seconds']:.2f} s")
        rows.append((one["way"], recall, *times, f"{found['escalated']:.0%}", f"{found['memory_mb']:,} MB", by))
    heads = ("way", "key-fact recall", "first word", "whole answer", "handed over", "memory", "answered by")
    told = []
    for number in range(min(show, document["questions"])):
        told.append(f"QUESTION: {document['ways'][0]['items'][number]['question']}")
        told += [f"{one['way']} ({one['items'][number]['model']}): {one['items'][number]['answer']}" for one in document["ways"]]
    blocks = (
        Table(heads, tuple(rows)),
        Lines("Verdict", tuple(document["verdicts"])),
        *((Lines("Side by side", tuple(told)),) if told else ()),
    )
    ways = [{key: value for key, value in one.items() if key != "items"} for one in document["ways"]]
    return Report(f"{len(rows)} ways of answering on {document['questions']} questions", {**document, "ways": ways, "file": where}, blocks)
