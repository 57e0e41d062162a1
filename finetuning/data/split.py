"""Which entries are trained and which are kept for judging: decided by a hash, so that a new entry moves no other."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]
VALIDATION_SHARE = 0.08
TEST_SHARE = 0.10
# An entry keeps at least this many wordings for training when one is held out.
LEAST_TRAINED_PHRASINGS = 2


@dataclass(frozen=True, slots=True)
class Keyed:
    """What the split needs to know of an entry: ``group`` is shared by entries that must stay together."""

    id: str
    category: str
    group: str


def place(seed: int, *names: object) -> float:
    """A number in 0..1 that depends on the seed and the names alone."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def by_entry(items: Sequence[Keyed], seed: int) -> dict[str, Split]:
    """The split of every entry, whole groups together, and none of the three empty for a category with enough groups."""
    splits: dict[str, Split] = {}
    for category in sorted({item.category for item in items}):
        groups = sorted({item.group for item in items if item.category == category}, key=lambda group: place(seed, "entry", group))
        chosen = {group: _split(place(seed, "entry", group)) for group in groups}
        if len(groups) >= 3:
            _fill(chosen, groups)
        splits |= {item.id: chosen[item.group] for item in items if item.category == category}
    return splits


def held_out(id: str, phrasings: int, seed: int) -> int | None:
    """Which phrasing of a trained entry is kept for the unseen-wording test; None when there are too few."""
    if phrasings <= LEAST_TRAINED_PHRASINGS:
        return None
    return int(place(seed, "phrasing", id) * phrasings)


def shuffled(items: Iterable, seed: int, *, key) -> list:  # type: ignore[no-untyped-def,type-arg]
    """The items in an order that depends on the seed and each item's key alone."""
    return sorted(items, key=lambda item: place(seed, "order", key(item)))


def _split(number: float) -> Split:
    if number < TEST_SHARE:
        return "test"
    return "validation" if number < TEST_SHARE + VALIDATION_SHARE else "train"


def _fill(chosen: dict[str, Split], groups: list[str]) -> None:
    # Groups come in the order of their numbers: the lowest are the nearest to the test and the validation part.
    if "test" not in chosen.values():
        chosen[groups[0]] = "test"
    if "validation" not in chosen.values():
        chosen[next(group for group in groups if chosen[group] == "train")] = "validation"
