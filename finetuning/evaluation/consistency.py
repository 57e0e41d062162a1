"""Consistency: the same question several times with sampling; how far the answers agree."""

from collections.abc import Generator, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from assistant.core.events import Progress, Table
from assistant.core.facts import facts_present
from assistant.core.values import Sampling
from finetuning.evaluation import judging
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.bootstrap import interval
from finetuning.evaluation.metrics import token_f1
from finetuning.evaluation.report import percent
from finetuning.evaluation.subjects import Subject

# As a chat that varies its words; greedy answers would be the same by construction.
TEMPERATURE = 0.7
QUESTIONS = 20


def measure(bench: Bench, subject: Subject, asked: Sequence[Asked], times: int) -> Generator[Progress, None, dict[str, Any]]:
    """Ask the first questions ``times`` times, each time with another seed."""
    chosen, said = asked[:QUESTIONS], []
    greedy = judging.decoding(bench, chosen)
    for seed in range(1, times + 1):
        sampling = Sampling(greedy.max_tokens, TEMPERATURE, seed=seed)
        prompts = [judging.prompt_of(bench, one.said_to(subject.model, subject.prompt), sampling) for one in chosen]
        given = yield from bench.answers(subject, prompts, sampling, f"answers of {subject.label}, time {seed} of {times}")
        said.append([one.text for one in given.said])
    return document([list(answers) for answers in zip(*said, strict=True)], [one.facts for one in chosen])


def document(answers: Sequence[Sequence[str]], facts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """How far the answers to each question agree: their words (token F1 of every two), and whether all give the same key facts."""
    words = [fmean(token_f1(one, other) for one, other in combinations(several, 2)) for several in answers]
    same = [
        float(len({frozenset(facts_present(text, wanted)) for text in several}) == 1)
        for several, wanted in zip(answers, facts, strict=True)
        if wanted
    ]
    return {
        "times": len(answers[0]),
        "temperature": TEMPERATURE,
        "questions": len(answers),
        "same_words": judging.as_document(interval(words)),
        "same_facts": judging.as_document(interval(same)) if same else None,
    }


def table(documents: Sequence[dict[str, Any]]) -> Table:
    """The consistency of several systems."""
    rows = []
    for one in documents:
        found = one["consistency"]
        facts = percent(found["same_facts"]) if found["same_facts"] else "–"
        rows.append((one["subject"], percent(found["same_words"]), facts))
    found = documents[0]["consistency"]
    title = f"Consistency: {found['questions']} questions {found['times']} times at temperature {found['temperature']:g}"
    return Table(("system", "words that agree", "same key facts every time"), tuple(rows), title)
