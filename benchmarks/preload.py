"""Loading ahead judged by replay: simulated users with stated habits, against LRU alone and against loading everything.

Eight specialists of 10 MB, memory for three (but for "everything"). A hit is a needed specialist that is in memory when its question
comes. The first quarter of each user's turns only teaches. With --history a real order of answers is replayed too (a chat history).

usage: python benchmarks/preload.py [--turns 2000] [--users 20] [--history ROOT/logs/chat.sqlite3]
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.router.usage import Habits, keep

MODELS = ("qna", "technical", "law", "garden", "cooking", "tax", "health", "travel")
MB, ROOM = 10, 30
Turn = tuple[str, datetime, bool]


def main() -> None:
    """Print the hit rates of each policy for each kind of user."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--history", type=Path)
    given = parser.parse_args()
    for name, habit in HABITS.items():
        sessions = [list(habit(random.Random(f"{name}/{user}"), given.turns)) for user in range(given.users)]
        print(json.dumps({"user": name, **compared(sessions)}), flush=True)
    if given.history:
        print(json.dumps({"user": str(given.history), **compared([recorded(given.history)])}), flush=True)


def compared(sessions: list[list[Turn]]) -> dict[str, float]:
    """The mean hit rate of each policy over users, and the memory it takes at most."""
    policies: dict[str, Callable[[list[Turn]], float]] = {
        "lru": lambda turns: replay(turns, ahead=False),
        "predicted": lambda turns: replay(turns, ahead=True),
    }
    found = {name: round(statistics.fmean(policy(turns) for turns in sessions), 4) for name, policy in policies.items()}
    return {**found, "everything": 1.0, "memory_mb": ROOM, "memory_mb_everything": MB * len(MODELS)}


def replay(turns: list[Turn], *, ahead: bool) -> float:
    """The share of needed specialists that were in memory, after the first quarter."""
    habits, resident, previous = Habits(), list[str](), None
    needed = found = 0
    sizes = dict.fromkeys(MODELS, MB)
    for place, (model, now, first) in enumerate(turns):
        previous = None if first else previous
        if ahead:
            # What the chat does between two turns: the likely ones first, then what was used last.
            wanted = habits.wanted(MODELS, previous, now)
            resident = keep(list(dict.fromkeys([*wanted, *resident])), sizes, ROOM, ())
        if model != "unified":
            if place >= len(turns) // 4:
                needed += 1
                found += model in resident
            resident = keep([model, *(name for name in resident if name != model)], sizes, ROOM, {model})
        habits.seen(model, previous, now)
        previous = model
    return found / needed if needed else 0.0


def alternating(draw: random.Random, turns: int) -> Iterator[Turn]:
    """One who goes round four subjects in turn, now and then elsewhere: the case that LRU with room for three always misses."""
    subjects = draw.sample(MODELS, 4)
    for number, now, first in _clock(draw, turns):
        yield (subjects[number % 4] if draw.random() < 0.85 else draw.choice(MODELS)), now, first


def office(draw: random.Random, turns: int) -> Iterator[Turn]:
    """One who asks work questions in the morning and others in the evening, half of them everyday talk."""
    work, home = draw.sample(MODELS, 3), draw.sample(MODELS, 3)
    for _, now, first in _clock(draw, turns):
        if draw.random() < 0.5:
            yield "unified", now, first
        else:
            yield draw.choice(work if now.hour < 16 else home), now, first


def follower(draw: random.Random, turns: int) -> Iterator[Turn]:
    """One whose next subject follows from the last one (a chain of eight, each with a usual successor)."""
    order = draw.sample(MODELS, len(MODELS))
    model = order[0]
    for _, now, first in _clock(draw, turns):
        yield model, now, first
        model = order[(order.index(model) + 1) % len(order)] if draw.random() < 0.7 else draw.choice(MODELS)


def faithful(draw: random.Random, turns: int) -> Iterator[Turn]:
    """One who stays with a subject for a while: LRU's best case."""
    model = draw.choice(MODELS)
    for _, now, first in _clock(draw, turns):
        if draw.random() < 0.1:
            model = draw.choice(MODELS)
        yield model, now, first


def without_habits(draw: random.Random, turns: int) -> Iterator[Turn]:
    """One without any habit: nothing can be learned."""
    for _, now, first in _clock(draw, turns):
        yield draw.choice(MODELS), now, first


HABITS = {
    "alternates": alternating,
    "office hours": office,
    "one leads to the next": follower,
    "faithful": faithful,
    "no habit": without_habits,
}


def recorded(path: Path) -> list[Turn]:
    """The order in which models answered in a chat history."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT session, reply, at FROM turns ORDER BY id").fetchall()
    turns, before = [], None
    for session, reply, at in rows:
        model = json.loads(reply)["model"]
        turns.append(("unified" if model == "base" else model, datetime.fromisoformat(at), session != before))
        before = session
    return turns


def _clock(draw: random.Random, turns: int) -> Iterator[tuple[int, datetime, bool]]:
    """Times of turns: conversations of about eight turns, some a day, between 8 and 22 o'clock."""
    now, left = datetime(2026, 1, 5, 8), 0
    for number in range(turns):
        first = left == 0
        if first:
            left = draw.randint(4, 12)
            now += timedelta(minutes=draw.randint(30, 300))
            if now.hour >= 22 or now.hour < 8:
                now = (now + timedelta(hours=11)).replace(hour=8)
        left -= 1
        now += timedelta(minutes=2)
        yield number, now, first


if __name__ == "__main__":
    main()
