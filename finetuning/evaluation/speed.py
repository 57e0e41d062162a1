"""How fast a model answers here: load time, first token, tokens a second, memory, over a few questions asked as the chat asks them."""

import statistics
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass

import psutil

from assistant.chat.commands import check_model
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Event, Progress, Report, Step, Table, TurnDone
from assistant.core.paths import Paths
from assistant.core.values import Reply

QUESTIONS = (
    "What is the capital of France?",
    "Explain in a few sentences why the sky is blue.",
    "How do I draw a line in a CAD program?",
    "Write three sentences about a walk in the rain.",
    "What is the difference between a list and a tuple in Python?",
)


@dataclass(frozen=True, slots=True)
class Speed:
    """The figures of one benchmark; medians over the questions, without the first one, which warms up."""

    model: str
    version: str | None
    engine: str
    questions: int
    load_seconds: float
    first_token_seconds: float | None
    tokens_per_second: float | None
    tokens: int
    memory_mb: int


def run(context: Context, model: str = "auto", questions: int = len(QUESTIONS)) -> Iterator[Event]:
    """Measure a model of this root and report the figures."""
    live = Live(context.paths, configuration.load(context.paths))
    try:
        found = yield from measure(context.paths, live, check_model(model, live.store), questions)
    finally:
        live.release()
    yield report(found)


def measure(paths: Paths, live: Live, pinned: str | None, questions: int = len(QUESTIONS)) -> Generator[Event, None, Speed]:
    """Ask the questions, each as a conversation of its own, and time the answers."""
    if questions < 1:
        raise UsageError(f"{questions} questions measure nothing.", "Give 1 or more.")
    yield Step(f"Measuring {pinned or 'the chat as the router has it'}")
    started = time.perf_counter()
    live.start()
    engine = live.engine.name
    loaded = time.perf_counter() - started
    asked = [QUESTIONS[place % len(QUESTIONS)] for place in range(questions)]
    replies: list[Reply] = []
    for number, question in enumerate(("Hello!", *asked)):
        session = Session(paths, live, greedy=True, pinned=pinned)
        replies += [event.reply for event in session.say(question) if isinstance(event, TurnDone)][-1:]
        yield Progress(number, questions, "questions")
    told, last = replies[1:], replies[-1]
    first = [reply.first_token_seconds for reply in told if reply.first_token_seconds is not None]
    rates = [reply.tokens_per_second for reply in told if reply.tokens_per_second]
    return Speed(
        last.model,
        last.version,
        engine,
        questions,
        round(loaded, 2),
        round(statistics.median(first), 3) if first else None,
        round(statistics.median(rates), 1) if rates else None,
        sum(reply.tokens for reply in told),
        psutil.Process().memory_info().rss // 1_000_000,
    )


def report(found: Speed) -> Report:
    """The figures as a table."""
    name = f"{found.model} {found.version}" if found.version else found.model
    rows = (
        ("loading", f"{found.load_seconds:.2f} s"),
        ("first token", f"{found.first_token_seconds:.3f} s" if found.first_token_seconds is not None else "–"),
        ("speed", f"{found.tokens_per_second:.0f} tokens/s" if found.tokens_per_second else "–"),
        ("memory of the process", f"{found.memory_mb:,} MB"),
        ("answers", f"{found.questions}, {found.tokens:,} tokens"),
    )
    return Report(f"{name} on {found.engine}", asdict(found), (Table(("figure", "value"), rows),))
