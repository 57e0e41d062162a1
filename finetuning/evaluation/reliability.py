"""How true probabilities are: calibration error, discrimination, and the curve behind a reliability diagram. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 10
ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose confidence lies in one tenth: how many, what was said on average, and how many were right."""

    low: float
    high: float
    rows: int
    confidence: float
    right: float


def bins(values: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """The answers in ten equally wide bins; empty ones are left out."""
    given, labels = np.asarray(values, float), np.asarray(right, float)
    places = np.minimum((given * BINS).astype(int), BINS - 1)
    found = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            found.append(
                Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), float(given[inside].mean()), float(labels[inside].mean()))
            )
    return found


def error(values: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error (Naeini et al. 2015): the mean distance of said and true, weighted by rows."""
    return sum(one.rows * abs(one.confidence - one.right) for one in bins(values, right)) / len(values) if len(values) else 0.0


def debiased(values: Sequence[float], right: Sequence[bool]) -> float:
    """The root of the squared calibration error without its bias from few rows a bin (Kumar et al. 2019, arXiv 1909.10155)."""
    total = 0.0
    for one in bins(values, right):
        noise = one.right * (1 - one.right) / (one.rows - 1) if one.rows > 1 else 0.0
        total += one.rows * ((one.confidence - one.right) ** 2 - noise)
    return math.sqrt(max(0.0, total / len(values))) if len(values) else 0.0


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """The chance that a right answer has a higher confidence than a wrong one; None when all are of one kind."""
    ranks = _ranks(np.asarray(values, float))
    labels = np.asarray(right, bool)
    good, bad = int(labels.sum()), int((~labels).sum())
    if not good or not bad:
        return None
    return float((ranks[labels].sum() - good * (good + 1) / 2) / (good * bad))


def figures(values: Sequence[float], right: Sequence[bool], seed: int = 0) -> dict[str, Any]:
    """Everything about confidences as one document, the error and the discrimination with 95% bootstrap intervals."""
    given, labels = np.asarray(values, float), np.asarray(right, bool)
    drawn = np.random.default_rng(seed).integers(0, len(given), (ROUNDS, len(given)))
    errors = [error(given[rows], labels[rows]) for rows in drawn]
    corrected = [debiased(given[rows], labels[rows]) for rows in drawn]
    apart = [value for rows in drawn if (value := auroc(given[rows], labels[rows])) is not None]
    return {
        "rows": len(given),
        "right": _round(float(labels.mean())),
        "ece": _round(error(given, labels)),
        "ece_interval": _interval(errors),
        "ece_debiased": _round(debiased(given, labels)),
        "ece_debiased_interval": _interval(corrected),
        "auroc": _round(auroc(given, labels)),
        "auroc_interval": _interval(apart) if apart else None,
        "brier": _round(float(((given - labels) ** 2).mean())),
        "bins": [
            {"from": one.low, "to": one.high, "rows": one.rows, "confidence": _round(one.confidence), "right": _round(one.right)}
            for one in bins(given, labels)
        ],
    }


def _ranks(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The places of the values in order from 1 on; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[inverse]


def _interval(values: Sequence[float]) -> list[float | None]:
    low, high = np.quantile(values, [0.025, 0.975])
    return [_round(float(low)), _round(float(high))]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
