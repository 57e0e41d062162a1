"""Packing: rows joined into sequences of up to the longest allowed length, and their order. No torch."""

import random
from collections.abc import Sequence


def joined(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """The places of rows, in order, filled into sequences: a row that does not fit any more begins the next one."""
    found: list[list[int]] = []
    room = 0
    for place, length in enumerate(lengths):
        if not found or length > room:
            found.append([])
            room = limit
        found[-1].append(place)
        room -= length
    return found


def batches(lengths: Sequence[int], limit: int, batch_size: int, epochs: float, seed: int, max_batches: int = 0) -> list[list[int]]:
    """The row numbers of every batch of a run, so that the rows of a batch fill ``batch_size`` sequences, as ``joined`` fills them."""
    found: list[list[int]] = []
    epoch = 0
    while True:
        order = list(range(len(lengths)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        sequences = joined([lengths[row] for row in order], limit)
        parts = [sequences[start : start + batch_size] for start in range(0, len(sequences), batch_size)]
        found += [[order[place] for sequence in part for place in sequence] for part in parts]
        epoch += 1
        wanted = max_batches or max(1, round(len(found) / epoch * epochs))
        if len(found) >= wanted and (max_batches or epoch >= epochs):
            return found[:wanted]
