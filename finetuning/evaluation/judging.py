"""Judge one subject: held-out rows, suites, the classifier, speed. Each part yields its progress and returns a JSON document."""

import statistics
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import psutil

from assistant.core.events import Progress
from assistant.core.facts import recall
from assistant.core.values import CATEGORIES, Message, Sampling
from assistant.router import classifier, scope, triggers
from finetuning.evaluation import metrics
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bench import Answers, Bench, Said
from finetuning.evaluation.bootstrap import Interval, interval
from finetuning.evaluation.checkers import all_kept
from finetuning.evaluation.subjects import Subject, base_subject
from finetuning.evaluation.suites import Question, Suite, fingerprint

# The most an answer may have beyond the longest reference, so that a sound answer is never cut.
ROOM = 1.25
MOST_TOKENS = 400
SPEED_PROMPTS = 5
EFFECT_PROMPTS = 8
SWITCHES = 3
# Questions between two lines of progress of the classifier.
CHUNKED = 16

Judging = Generator[Progress, None, dict[str, Any]]


def decoding(bench: Bench, asked: Sequence[Asked]) -> Sampling:
    """Greedy, and as long as the longest reference with some room."""
    longest = max(len(bench.engine.format.encode_answer(one.reference)) for one in asked)
    return Sampling(max_tokens=min(MOST_TOKENS, int(longest * ROOM) + 16))


def held_out(bench: Bench, subject: Subject, asked: Sequence[Asked], sampling: Sampling) -> Judging:
    """Answers and likelihood on held-out rows: figures over all rows, by category and by difficulty, and every row."""
    speakers = speakers_of(bench, subject, [one.question for one in asked])
    prompts = [prompt_of(bench, one.said_to(who.model, who.prompt), sampling) for one, who in zip(asked, speakers, strict=True)]
    given = yield from _answers(bench, speakers, prompts, sampling, f"answers of {subject.label}")
    chat = bench.scorer.format
    pairs = [
        (chat.encode(one.said_to(who.model, who.prompt))[-bench.scorer.context_tokens // 2 :], chat.encode_answer(one.reference))
        for one, who in zip(asked, speakers, strict=True)
    ]
    scores = yield from _scores(bench, speakers, pairs, f"rows read by {subject.label}")
    overlaps = metrics.overlaps([one.text for one in given.said], [one.reference for one in asked])
    rows = [_row(one, said, score, near) for one, said, score, near in zip(asked, given.said, scores, overlaps, strict=True)]
    return {
        "rows": len(rows),
        "figures": figures(rows),
        "by_category": {name: figures(part) for name, part in _groups(rows, "category").items()},
        "by_difficulty": {name: figures(part) for name, part in _groups(rows, "difficulty").items() if name},
        "tokens_per_second": _rounded(given.tokens_per_second, 1),
        "decoding": _decoding(sampling),
        "items": rows,
    }


def suite(bench: Bench, subject: Subject, one: Suite, questions: Sequence[Question] | None = None, again: bool = False) -> Judging:
    """A suite's questions, right or wrong: by checks on the answers, or by the likeliest choice."""
    chosen = tuple(questions or one.questions)
    choice = [question for question in chosen if question.choices]
    spoken = [question for question in chosen if not question.choices]
    items = (yield from _choices(bench, subject, choice)) if choice else []
    items += (yield from _conversations(bench, subject, spoken, Sampling(max_tokens=one.max_tokens), again)) if spoken else []
    right = [float(item["right"]) for item in items]
    chance = statistics.fmean([1 / len(question.choices) for question in choice]) if choice and not spoken else None
    return {
        "suite": one.name,
        "questions": len(items),
        "right": int(sum(right)),
        "accuracy": as_document(interval(right)),
        "chance": _rounded(chance),
        "groups": {
            name: {"questions": len(part), "right": sum(item["right"] for item in part)} for name, part in _groups(items, "group").items()
        },
        "fingerprint": fingerprint(one, chosen),
        "decoding": _decoding(Sampling(max_tokens=one.max_tokens)),
        "items": items,
    }


def classification(bench: Bench, probe: classifier.Probe, rows: Sequence[tuple[str, str, str]]) -> Judging:
    """The classifier on labelled questions: accuracy, per-class F1, confusion, complexity by difficulty, and its time."""
    given, seconds = [], 0.0
    for done, (text, _, _) in enumerate(rows, 1):
        began = time.perf_counter()
        given.append(probe.judge(classifier.state(bench.engine, text)))
        seconds += time.perf_counter() - began
        if done % CHUNKED == 0 or done == len(rows):
            yield Progress(done, len(rows), "questions", {}, seconds / done * (len(rows) - done))
    wanted = [category for _, category, _ in rows]
    likeliest = [max(one.probabilities, key=one.probabilities.__getitem__) for one in given]
    complexity = {
        level: _rounded(metrics.mean([one.complexity for one, row in zip(given, rows, strict=True) if row[2] == level]))
        for level in ("basic", "intermediate", "advanced")
    }
    return {
        **metrics.classification([one.category for one in given], wanted, CATEGORIES),
        "accuracy_interval": as_document(interval([float(one.category == true) for one, true in zip(given, wanted, strict=True)])),
        "likeliest_accuracy": metrics.accuracy(likeliest, wanted),
        "unsure": sum(one.category == "unsure" for one in given),
        "complexity_by_difficulty": complexity,
        "milliseconds_a_question": _rounded(seconds / len(rows) * 1000, 1),
        "items": [
            {"id": str(number), "text": text, "wanted": true, "given": one.category, "right": one.category == true}
            for number, ((text, true, _), one) in enumerate(zip(rows, given, strict=True), 1)
        ],
    }


def speed(bench: Bench, subject: Subject, asked: Sequence[Asked]) -> dict[str, Any]:
    """Seconds to the first token, tokens a second after it, each as the median over a few questions; the switch; and memory."""
    first, rates = [], []
    for one in asked[:SPEED_PROMPTS]:
        began, times = time.perf_counter(), []
        prompt = prompt_of(bench, one.said_to(subject.model, subject.prompt), Sampling(max_tokens=48))
        for _ in bench.engine.stream(prompt, subject.key, Sampling(max_tokens=48), lambda: False):
            times.append(time.perf_counter())
        if times:
            first.append(times[0] - began)
        if len(times) > 4:
            rates.append((len(times) - 1) / (times[-1] - times[0]))
    folder = subject.folder
    return {
        "first_token_seconds": _rounded(statistics.median(first), 3) if first else None,
        "tokens_per_second": _rounded(statistics.median(rates), 1) if rates else None,
        "switch_seconds": _switch(bench, subject),
        "memory_mb": psutil.Process().memory_info().rss // 1_000_000,
        "bytes_on_disk": sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else None,
    }


def _switch(bench: Bench, subject: Subject) -> float | None:
    """How many seconds later an adapter's first token comes when the base has answered in between; the median of a few times."""
    prompt, extra = bench.engine.format.encode([Message("system", subject.prompt), Message("user", "Hello!")]), []
    for _ in range(SWITCHES if subject.key else 0):
        times = []
        for key in (subject.key, subject.key, None, subject.key):
            began = time.perf_counter()
            next(iter(bench.engine.stream(prompt, key, Sampling(max_tokens=1), lambda: False)), None)
            times.append(time.perf_counter() - began)
        extra.append(times[3] - times[1])
    return max(0.0, round(statistics.median(extra), 4)) if extra else None


def effect(bench: Bench, subject: Subject, asked: Sequence[Asked]) -> float:
    """The largest change of a first token's log-probability against the bare base, on the live engine; another token counts as 1."""
    largest = 0.0
    for one in asked[:EFFECT_PROMPTS]:
        prompt = prompt_of(bench, one.messages, Sampling(max_tokens=1))
        tops = []
        for key in (subject.key, None):
            token = next(iter(bench.engine.stream(prompt, key, Sampling(max_tokens=1), lambda: False)), None)
            tops.append(dict(token.top) if token else {})
        ours, bare = tops
        if bool(ours) != bool(bare):
            return 1.0
        largest = max([largest, *(abs(value - bare[token]) if token in bare else 1.0 for token, value in ours.items())])
    return largest


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of judged rows; None where nothing can be counted."""
    tokens = [row["reference_tokens"] for row in rows]
    loss = interval([row["loss"] for row in rows], weights=tokens)
    recalls = [row["recall"] for row in rows if row["recall"] is not None]
    return {
        "rows": len(rows),
        "loss": as_document(loss),
        "perplexity": _rounded(metrics.perplexity(loss.mean), 3),
        "key_fact_recall": as_document(interval(recalls)) if recalls else None,
        "right": _rounded(metrics.mean([float(value == 1) for value in recalls])),
        "fact_rows": len(recalls),
        "expert_fact_recall": _rounded(metrics.mean([row["expert_recall"] for row in rows])),
        **{name: _rounded(metrics.mean([row[name] for row in rows])) for name in ("rouge_l", "chrf", "token_f1")},
        **{name: _rounded(metrics.mean([float(row[name]) for row in rows])) for name in ("repeats", "empty", "too_short", "too_long")},
        "words": _rounded(metrics.mean([float(len(row["answer"].split())) for row in rows]), 1),
        "distinct_pairs": _rounded(metrics.distinct_pairs([row["answer"] for row in rows])),
    }


def as_document(found: Interval) -> dict[str, float]:
    """An interval as JSON values."""
    return {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4), "rows": found.rows}


def _row(one: Asked, said: Said, score: Sequence[float], near: metrics.Overlap) -> dict[str, Any]:
    health = metrics.health(said.text, said.ids, one.reference, said.stopped == "length")
    return {
        "id": one.id,
        "category": one.category,
        "difficulty": one.difficulty,
        "question": one.question,
        "answer": said.text,
        "reference": one.reference,
        "facts": list(one.facts),
        "recall": recall(said.text, one.facts),
        "expert_recall": recall(said.text, one.expert_facts),
        "loss": round(-statistics.fmean(score), 5),
        "reference_tokens": len(score),
        "rouge_l": round(near.rouge_l, 4),
        "chrf": round(near.chrf, 4),
        "token_f1": round(near.token_f1, 4),
        "repeats": health.repeats,
        "empty": health.empty,
        "too_short": health.too_short,
        "too_long": health.too_long,
    }


def _choices(bench: Bench, subject: Subject, questions: Sequence[Question]) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Multiple choice by likelihood: the choice whose text has the highest log-probability a character is the answer (acc_norm)."""
    chat = bench.scorer.format
    pairs, owners = [], []
    speakers = speakers_of(bench, subject, [question.turns[0].user for question in questions])
    for place, question in enumerate(questions):
        system = Message("system", question.system or speakers[place].prompt)
        prompt = chat.encode([system, Message("user", question.turns[0].user)])
        for choice in question.choices:
            # Without the end of the turn, whose probability says nothing about knowledge.
            pairs.append((prompt, chat.encode_answer(choice)[:-1]))
            owners.append(place)
    scores = yield from _scores(bench, [speakers[place] for place in owners], pairs, f"choices read by {subject.label}")
    totals: list[list[float]] = [[] for _ in questions]
    for place, score in zip(owners, scores, strict=True):
        totals[place].append(sum(score))
    items = []
    for question, total in zip(questions, totals, strict=True):
        norms = [value / len(choice) for value, choice in zip(total, question.choices, strict=True)]
        best, plain = norms.index(max(norms)), total.index(max(total))
        items.append(
            {
                "id": question.id,
                "group": question.group,
                "question": question.turns[0].user,
                "answer": question.choices[best],
                "wanted": question.choices[question.answer],
                "right": best == question.answer,
                "right_without_norm": plain == question.answer,
            }
        )
    return items


def _conversations(
    bench: Bench, subject: Subject, questions: Sequence[Question], sampling: Sampling, again: bool
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Questions of one or more turns; each turn of all questions is answered together, with the model's own answers as history."""
    histories: list[list[Message]] = [[] for _ in questions]
    said: list[list[str]] = [[] for _ in questions]
    for turn in range(max(len(question.turns) for question in questions)):
        open_ones = [place for place, question in enumerate(questions) if turn < len(question.turns)]
        for place in open_ones:
            histories[place].append(Message("user", questions[place].turns[turn].user))
        speakers = speakers_of(bench, subject, [histories[place][-1].content for place in open_ones])
        prompts = []
        for place, who in zip(open_ones, speakers, strict=True):
            system = Message("system", questions[place].system or who.prompt)
            prompts.append(prompt_of(bench, [system, *histories[place]], sampling))
        given: Answers = yield from _answers(bench, speakers, prompts, sampling, f"questions to {subject.label}", again)
        for place, one in zip(open_ones, given.said, strict=True):
            said[place].append(one.text)
            histories[place].append(Message("assistant", one.text))
    items = []
    for question, answers in zip(questions, said, strict=True):
        kept = [all_kept(turn.checks, answers[place], answers[:place]) for place, turn in enumerate(question.turns) if turn.checks]
        items.append(
            {
                "id": question.id,
                "group": question.group,
                "question": question.turns[-1].user,
                "answer": answers[-1],
                "answers": answers,
                "checks": sorted({check.kind for turn in question.turns for check in turn.checks}),
                "right": all(kept),
            }
        )
    return items


def speakers_of(bench: Bench, subject: Subject, questions: Sequence[str]) -> list[Subject]:
    """Who answers each question, as in the chat: the subject, or the base where it lies outside of what the subject was trained on."""
    found = scope.load(subject.adapter.folder, bench.base.name, bench.base.sha256) if subject.adapter else None
    if found is None:
        return [subject] * len(questions)
    # What the base reads too poorly to tell is the subject's.
    own = [triggers.is_foreign(question, bench.settings.base) or found.covers(question, bench.state(question)) for question in questions]
    return [subject if mine else base_subject() for mine in own]


def _answers(
    bench: Bench, speakers: Sequence[Subject], prompts: Sequence[Sequence[int]], sampling: Sampling, unit: str, again: bool = False
) -> Generator[Progress, None, Answers]:
    """Each prompt's answer by its speaker, in the order of the prompts."""
    said: dict[int, Said] = {}
    seconds, were_kept = 0.0, True
    for who, places in _by_speaker(speakers):
        given = yield from bench.answers(who, [prompts[place] for place in places], sampling, unit, again)
        said.update(zip(places, given.said, strict=True))
        seconds, were_kept = seconds + given.seconds, were_kept and given.kept
    return Answers(tuple(said[place] for place in range(len(prompts))), seconds, were_kept)


def _scores(
    bench: Bench, speakers: Sequence[Subject], pairs: Sequence[tuple[Sequence[int], Sequence[int]]], unit: str
) -> Generator[Progress, None, list[tuple[float, ...]]]:
    """Each pair's log-probabilities under its speaker, in the order of the pairs."""
    found: dict[int, tuple[float, ...]] = {}
    for who, places in _by_speaker(speakers):
        found.update(zip(places, (yield from bench.scores(who, [pairs[place] for place in places], unit)), strict=True))
    return [found[place] for place in range(len(pairs))]


def _by_speaker(speakers: Sequence[Subject]) -> list[tuple[Subject, list[int]]]:
    return [(who, [place for place, one in enumerate(speakers) if one == who]) for who in dict.fromkeys(speakers)]


def prompt_of(bench: Bench, messages: Sequence[Message], sampling: Sampling) -> list[int]:
    """A conversation as token ids; one too long for the context loses its earliest turns, the system line stays."""
    kept = list(messages)
    ids = bench.engine.format.encode(kept)
    while len(ids) + sampling.max_tokens > bench.engine.context_tokens and len(kept) > 2:
        del kept[1]
        ids = bench.engine.format.encode(kept)
    return ids[-(bench.engine.context_tokens - sampling.max_tokens) :]


def _groups(rows: Iterable[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return dict(sorted(groups.items()))


def _decoding(sampling: Sampling) -> dict[str, Any]:
    return {"greedy": sampling.temperature == 0, "max_tokens": sampling.max_tokens, "seed": sampling.seed}


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
