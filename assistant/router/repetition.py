"""The guard that ends an answer which goes round in circles."""

from collections.abc import Sequence

# Period in tokens → how many repeats in a row are a loop. A list may repeat a word or two; eight times is no list.
_LIMITS = ((1, 8), (2, 6), (3, 5), (4, 5), (6, 4), (8, 4))
_LONGEST, _LONG_REPEATS = 48, 3


def loop_length(ids: Sequence[int]) -> int:
    """How many tokens at the end of ``ids`` are a loop to cut (all repeats but the first), or 0."""
    for period in range(1, _LONGEST + 1):
        repeats = next((least for longest, least in _LIMITS if period <= longest), _LONG_REPEATS)
        if len(ids) >= period * repeats and _repeats(ids, period, repeats):
            return period * (repeats - 1)
    return 0


def _repeats(ids: Sequence[int], period: int, repeats: int) -> bool:
    tail = ids[-period:]
    return all(list(ids[-period * (k + 1) : -period * k]) == list(tail) for k in range(1, repeats))
