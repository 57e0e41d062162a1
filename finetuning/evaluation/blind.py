"""Answers side by side without their names: a person picks, and the picks become preference pairs."""

import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant.core.commands import Questions
from assistant.core.events import Event, Lines, Report
from assistant.core.paths import Paths
from assistant.core.preferences import add_pick, picks_file
from assistant.core.values import Message

SOURCE = "compare --blind"
SAME, STOP = "the same", "stop"


@dataclass(frozen=True, slots=True)
class Side:
    """One question with each system's answer, by the system's label."""

    id: str
    prompt: tuple[Message, ...]
    answers: dict[str, str]


@dataclass(slots=True)
class Picks:
    """What a person picked so far: how often each system won, how often nobody did, and the pairs kept."""

    won: dict[str, int] = field(default_factory=dict)
    same: int = 0
    pairs: int = 0


def ask(paths: Paths, questions: Questions, sides: Sequence[Side], most: int, seed: int = 0) -> Generator[Event, None, Picks]:
    """Show at most ``most`` questions whose answers differ, the answers in a drawn order, and keep every pick as it is made."""
    draw = random.Random(f"{seed}/blind")
    different = [side for side in sides if len({text.strip() for text in side.answers.values()}) > 1]
    chosen = draw.sample(different, min(most, len(different)))
    picks = Picks(dict.fromkeys((label for side in sides for label in side.answers), 0))
    for number, side in enumerate(chosen, 1):
        order = draw.sample(list(side.answers), len(side.answers))
        names = [chr(ord("A") + place) for place in range(len(order))]
        shown = [Lines(f"Answer {name}", (side.answers[label],)) for name, label in zip(names, order, strict=True)]
        yield Report(f"Question {number} of {len(chosen)}", None, (Lines("", (side.prompt[-1].content,)), *shown))
        pick = questions.choice("Which answer is better?", (*names, SAME, STOP))
        if pick == STOP:
            break
        if pick == SAME:
            picks.same += 1
            continue
        winner = order[names.index(pick)]
        picks.won[winner] += 1
        for loser in order:
            picks.pairs += loser != winner and add_pick(paths, side.prompt, side.answers[winner], side.answers[loser], SOURCE)
    return picks


def report(paths: Paths, picks: Picks) -> tuple[dict[str, Any], Lines]:
    """What was picked, as a document and as lines; now with the names."""
    total = sum(picks.won.values())
    lines = [f"{label} was picked {count} of {total} times" for label, count in sorted(picks.won.items(), key=lambda item: -item[1])]
    if picks.same:
        lines.append(f"No difference to you: {picks.same}")
    chance = by_chance(picks.won) if len(picks.won) == 2 and total else None
    if chance is not None:
        lines.append(f"If both were equally good, so clear a difference or a clearer one would come about in {chance:.0%} of all cases")
    lines.append(f"{picks.pairs} preference pairs were added to {picks_file(paths)}")
    document = {"won": picks.won, "same": picks.same, "pairs": picks.pairs, "by_chance": chance, "file": str(picks_file(paths))}
    return document, Lines("Blind", tuple(lines))


def by_chance(won: dict[str, int]) -> float:
    """The two-sided sign test (Dixon & Mood 1946): how likely so uneven a count is between equals."""
    total, most = sum(won.values()), max(won.values())
    tail = sum(math.comb(total, count) for count in range(most, total + 1)) / 2**total
    return min(1.0, 2 * tail)
