"""What tends to come next: counts of who answered after whom and at what hour, and from them who to load ahead.

A mixture of three simple estimates, each smoothed towards the next: after this model, at this hour, and lately. Counts only, no text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError

# How much each estimate counts; found by replay of simulated users (benchmarks/preload.py).
AFTER, AT_HOUR, LATELY = 0.5, 0.2, 0.3
# A count is halved every so many turns, so that habits may change.
HALF_LIFE = 200
# How fast "lately" forgets, a turn.
FADING = 0.85
# Hours of the day in one count.
HOURS = 4
SMOOTH = 1.0
# One less likely to be needed next is not worth its memory.
WORTH = 0.03

Counts = dict[str, dict[str, float]]


@dataclass(slots=True)
class Habits:
    """The counts: ``after[previous][model]``, ``hours[part of the day][model]``, ``lately[model]``; hits of the preloading."""

    after: Counts = field(default_factory=dict)
    hours: Counts = field(default_factory=dict)
    lately: dict[str, float] = field(default_factory=dict)
    needed: int = 0
    found: int = 0

    def seen(self, model: str, previous: str | None, now: datetime) -> None:
        """A model answered."""
        fade = 0.5 ** (1 / HALF_LIFE)
        for counts, name in ((self.after, previous or ""), (self.hours, _part(now))):
            row = counts.setdefault(name, {})
            for other in row:
                row[other] *= fade
            row[model] = row.get(model, 0.0) + 1
        self.lately = {other: share * FADING for other, share in self.lately.items() if share > 1e-4}
        self.lately[model] = self.lately.get(model, 0.0) + 1 - FADING

    def shares(self, models: Iterable[str], previous: str | None, now: datetime) -> dict[str, float]:
        """How likely each model is to be needed next."""
        names = list(models)
        after, hours = self.after.get(previous or "", {}), self.hours.get(_part(now), {})
        return {
            model: AFTER * _share(after, model, len(names))
            + AT_HOUR * _share(hours, model, len(names))
            + LATELY * self.lately.get(model, 0.0)
            for model in names
        }

    def wanted(self, models: Sequence[str], previous: str | None, now: datetime) -> list[str]:
        """The models worth loading ahead, the likeliest first. Nothing learned, nothing wanted."""
        if not self.lately:
            return []
        shares = self.shares(models, previous, now)
        return sorted((model for model in models if shares[model] >= WORTH), key=lambda model: -shares[model])

    def looked_for(self, found: bool) -> None:
        """A specialist was needed; was it in memory?"""
        self.needed += 1
        self.found += found

    @property
    def hit_rate(self) -> float | None:
        """The share of needed specialists that were in memory already."""
        return self.found / self.needed if self.needed else None


def read(path: Path) -> Habits:
    """The habits in a file; none, or a damaged one, begins anew."""
    if not path.is_file():
        return Habits()
    try:
        document: dict[str, Any] = files.read_json(path)
        habits = Habits(**document)
        habits.shares(["unified"], None, datetime.min)
        return habits
    except (DataError, OSError, TypeError, ValueError, AttributeError):
        return Habits()


def write(path: Path, habits: Habits) -> None:
    """Keep the habits."""
    files.write_json(path, asdict(habits))


def keep(order: Sequence[str], sizes: dict[str, int], budget: int, pinned: Iterable[str]) -> list[str]:
    """Which models stay in memory: the pinned ones always, then the most wanted (first in ``order``) as long as they fit."""
    order = list(dict.fromkeys(order))
    chosen = [model for model in order if model in set(pinned)]
    left = budget - sum(sizes.get(model, 0) for model in chosen)
    for model in order:
        if model not in chosen and sizes.get(model, 0) <= left:
            chosen.append(model)
            left -= sizes.get(model, 0)
    return chosen


def _share(counts: dict[str, float], model: str, models: int) -> float:
    return (counts.get(model, 0.0) + SMOOTH / max(models, 1)) / (sum(counts.values()) + SMOOTH)


def _part(now: datetime) -> str:
    return str(now.hour // HOURS)
