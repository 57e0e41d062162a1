"""What asking does: the same base as plain text and through its chat template, beside the trained versions and another base."""

import statistics
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.core import settings as configuration
from assistant.core.errors import DataError
from assistant.core.events import Event, Lines, Progress, Report, Step, Table
from assistant.core.facts import recall
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import metrics, subjects
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.subjects import Subject
from finetuning.lessons.sheet import write_csv

FILE = "model_comparison_results.csv"
COLUMNS = ("question", "system", "form", "answer", "tokens", "stopped", "goes_in_circles", "key_fact_recall", "tokens_per_second")
QUESTIONS = (
    "What is the capital of France?",
    "How do I draw a line in a CAD program?",
    "I feel sad today.",
    "Name three colours.",
    "What is 12 plus 30?",
)
HELD_OUT = 3
MOST_TUNED = 3
ANSWER = Sampling(max_tokens=64)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the facts of a right answer where they are known."""

    text: str
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class System:
    """Who is asked, and how: ``plain`` text, or through the ``chat`` template."""

    label: str
    form: str
    subject: Subject


def run(roots: Sequence[Paths], dataset: str, output: Path) -> Iterator[Event]:
    """Ask every system of each root the same questions and write the answers side by side."""
    asked = questions(roots[0], dataset)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for paths in roots:
        found, note = yield from _asked(paths, asked)
        rows += found
        notes.append(note)
    if len(roots) == 1:
        notes.append("Name another base with --model to compare two; a pre-trained one and its instruct form, for example.")
    path = write_csv(output / FILE, COLUMNS, rows)
    names = list(dict.fromkeys((row["system"], row["form"]) for row in rows))
    table = Table(
        ("system", "form", "tokens an answer", "end by themselves", "go in circles", "key facts"),
        tuple(_line(name, [row for row in rows if (row["system"], row["form"]) == name]) for name in names),
    )
    data = {"file": str(path), "compared": [list(name) for name in names], "notes": notes, "answers": rows}
    yield Report(f"{len(names)} ways to ask, {len(asked)} questions each: {path}", data, (table, Lines("What was compared", tuple(notes))))


def questions(paths: Paths, model: str) -> list[Question]:
    """A few questions of everyday, and some held-out ones of the dataset."""
    try:
        path, _ = held_out_rows.best_file(paths, model)
        rows = held_out_rows.load(path, model, HELD_OUT)
    except DataError:
        rows = []
    return [*map(Question, QUESTIONS), *(Question(row.question, row.facts) for row in rows)]


def _asked(paths: Paths, asked: Sequence[Question]) -> Generator[Event, None, tuple[list[dict[str, Any]], str]]:
    """The answers of one root's base in both forms and of its live versions, and what that compares."""
    settings = configuration.load(paths)
    base = engines.base_of(settings, paths)
    store = Store(paths)
    live = [(model, store.current(model).version) for model in store.models()]
    tuned = [subjects.version_subject(store, model, version) for model, version in live if version][:MOST_TUNED]
    bare = subjects.base_subject()
    systems = [System(base.name, "plain", bare), System(base.name, "chat", bare), *(System(one.label, "tuned", one) for one in tuned)]
    yield Step(f"Asking {base.name} in {len(systems)} ways")
    bench = Bench(paths, settings, base, [bare, *tuned])
    rows: list[dict[str, Any]] = []
    try:
        for number, system in enumerate(systems, 1):
            rows += yield from _answers(bench, system, asked)
            yield Progress(number, len(systems), "ways")
    finally:
        bench.release()
    trained = (
        f", beside {len(tuned)} trained version{'s' * (len(tuned) != 1)} that {'is' if len(tuned) == 1 else 'are'} live" if tuned else ""
    )
    note = (
        f"{base.name}: the same weights as plain text (as a pre-trained base is asked) and through the chat template (as an instruct model "
        f"is){trained}. Its pre-trained form is not on this machine, so what instruction tuning changed is not measured here."
    )
    return rows, note


def _answers(bench: Bench, system: System, asked: Sequence[Question]) -> Generator[Event, None, list[dict[str, Any]]]:
    prompts = [_prompt(bench, system, question.text) for question in asked]
    given = yield from bench.answers(system.subject, prompts, ANSWER, f"answers of {system.label}")
    rows = []
    for question, said in zip(asked, given.said, strict=True):
        share = recall(said.text, question.facts)
        rows.append(
            {
                "question": question.text,
                "system": system.label,
                "form": system.form,
                "answer": said.text.strip(),
                "tokens": len(said.ids),
                "stopped": said.stopped,
                "goes_in_circles": metrics.loops(said.ids),
                "key_fact_recall": "" if share is None else round(share, 3),
                "tokens_per_second": round(given.tokens_per_second or 0.0, 1),
            }
        )
    return rows


def _prompt(bench: Bench, system: System, question: str) -> list[int]:
    if system.form == "plain":
        # The text alone, as a pre-trained model would go on with it; without the end of a turn.
        return bench.engine.format.encode_answer(f"{question}\n")[:-1]
    return bench.engine.format.encode([Message("system", system.subject.prompt), Message("user", question)])


def _line(name: tuple[str, str], rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    facts = [row["key_fact_recall"] for row in rows if row["key_fact_recall"] != ""]
    return (
        *name,
        f"{statistics.fmean(row['tokens'] for row in rows):.0f}",
        f"{sum(row['stopped'] == 'end' for row in rows)} of {len(rows)}",
        str(sum(row["goes_in_circles"] for row in rows)),
        f"{statistics.fmean(facts):.0%}" if facts else "–",
    )
