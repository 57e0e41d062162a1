"""The order in which rows are trained: every batch of a whole run, fixed by the seed, rows of like length together. No torch."""

import math
import random
from collections.abc import Sequence

# Rows are sorted by length inside windows of so many batches: hardly any padding, and the order stays random.
WINDOW = 50


def width(longest: int, shared: int = 0) -> int:
    """How many tokens wide a batch is made whose longest row has ``longest``; its rows share the first ``shared``.

    oneDNN prepares a program for every size of product, which took a quarter of all time when batches were of every width
    (docs/LOG.md). So what follows the shared beginning is a multiple of 8 tokens, of 16 from 64 on and of 32 from 128 on.
    """
    own = longest - shared
    step = 8 if own <= 64 else 16 if own <= 128 else 32
    return shared + -(-own // step) * step


def batches(lengths: Sequence[int], batch_size: int, epochs: float, seed: int, max_batches: int = 0) -> list[list[int]]:
    """The row numbers of every batch of a run, in order. A resumed run takes the same list and skips what it has done.

    Every epoch has its own order; of a fractional one only that share is trained. ``max_batches`` above 0 ends the run there,
    and goes on into further epochs when the rows are fewer than it needs.
    """
    found: list[list[int]] = []
    per_epoch = math.ceil(len(lengths) / batch_size)
    wanted = max_batches or max(1, math.ceil(per_epoch * epochs))
    epoch = 0
    while len(found) < wanted:
        found += _epoch(lengths, batch_size, random.Random(f"{seed}/{epoch}"))
        epoch += 1
    return found[:wanted]


def _epoch(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    window = batch_size * WINDOW
    chunks: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda row: lengths[row])
        chunks += [part[place : place + batch_size] for place in range(0, len(part), batch_size)]
    rng.shuffle(chunks)
    return chunks
