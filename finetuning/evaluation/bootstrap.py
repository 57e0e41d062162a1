"""Paired bootstrap intervals (Efron & Tibshirani 1993; for language systems Koehn 2004): seeded, the questions are resampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 2000
LEVEL = 0.95
# Under so many questions an interval says little; verdicts mention it.
FEW = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the range that holds the true one in ``LEVEL`` of all cases, over ``rows`` questions."""

    mean: float
    low: float
    high: float
    rows: int

    @property
    def above_zero(self) -> bool:
        """The whole range lies above 0."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """The whole range lies below 0."""
        return self.high < 0


def interval(values: Sequence[float], seed: int = 0, weights: Sequence[float] | None = None) -> Interval:
    """The mean of values with its percentile bootstrap interval; with ``weights`` the weighted mean (tokens a row)."""
    if not len(values):
        return Interval(0.0, 0.0, 0.0, 0)
    data = np.asarray(values, dtype=float)
    weight = np.ones_like(data) if weights is None else np.asarray(weights, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(data), (ROUNDS, len(data)))
    means = (data * weight)[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float((data * weight).sum() / weight.sum()), float(low), float(high), len(data))


def paired(new: Sequence[float], old: Sequence[float], seed: int = 0, weights: Sequence[float] | None = None) -> Interval:
    """The mean of ``new - old`` over the same questions, with its interval: what the questions share cancels out."""
    return interval([one - other for one, other in zip(new, old, strict=True)], seed, weights)
