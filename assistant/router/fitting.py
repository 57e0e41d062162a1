"""Fit a confidence curve to labelled answers, in plain Python: logistic regression, isotonic steps, and the choice between them.

Logistic: Platt 1999, over several features, with a ridge (Hoerl & Kennard 1970) and Newton's steps. Isotonic: pool adjacent violators
(Ayer et al. 1955; for calibration Zadrozny & Elkan 2002). Isotonic steps need many answers (Niculescu-Mizil & Caruana 2005: about a
thousand), so they are kept only when they judge answers they were not fitted on better (Brier 1950).
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.core.errors import DataError
from assistant.router.confidence import Curve, clip, logistic, stepped

FOLDS = 5
RIDGE = 3.0
ROUNDS = 30
# Fewer answers, or fewer right or wrong ones, say nothing.
LEAST_ROWS, LEAST_OF_EACH = 40, 8
# Blocks of isotonic steps hold at least so many answers, so that no step rests on a single one.
LEAST_BLOCK = 10


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer with its label. Answers of one ``group`` (wordings of one question) stay on one side of a split; ``weight`` repeats it."""

    features: tuple[float, ...]
    right: bool
    group: str = ""
    weight: float = 1.0


def fit(answers: Sequence[Labelled], seed: int = 0) -> tuple[Curve, list[float]]:
    """The curve of labelled answers, and what curves fitted without its own group say of each answer. Too few answers are a DataError."""
    right = sum(one.right for one in answers)
    if len(answers) < LEAST_ROWS or min(right, len(answers) - right) < LEAST_OF_EACH:
        raise DataError(
            f"{len(answers)} labelled answers, {right} of them right, are too few to calibrate on.",
            f"At least {LEAST_ROWS} rows with key facts are needed, {LEAST_OF_EACH} of them right and {LEAST_OF_EACH} wrong.",
        )
    folds = split(answers, seed)
    unseen = [0.0] * len(answers)
    for fold in folds:
        held = set(fold)
        curve = regress([one for place, one in enumerate(answers) if place not in held])
        for place in fold:
            unseen[place] = clip(curve.score(answers[place].features))
    labels, weights = [one.right for one in answers], [one.weight for one in answers]
    steps_unseen = [0.0] * len(answers)
    for fold in folds:
        held = set(fold)
        kept = [place for place in range(len(answers)) if place not in held]
        steps = isotonic(*([values[place] for place in kept] for values in (unseen, labels, weights)))
        for place in fold:
            steps_unseen[place] = clip(stepped(steps, unseen[place]))
    curve = regress(answers)
    if brier(steps_unseen, labels, weights) < brier(unseen, labels, weights):
        return replace(curve, steps=isotonic(unseen, labels, weights)), steps_unseen
    return curve, unseen


def regress(answers: Sequence[Labelled]) -> Curve:
    """Logistic regression with a ridge on standardised features, by Newton's steps."""
    columns = list(zip(*(one.features for one in answers), strict=True))
    mean = tuple(statistics.fmean(column) for column in columns)
    scale = tuple(statistics.pstdev(column) or 1.0 for column in columns)
    rows = [[1.0, *((value - m) / s for value, m, s in zip(one.features, mean, scale, strict=True))] for one in answers]
    beta = [0.0] * len(rows[0])
    for _ in range(ROUNDS):
        gradient = [-RIDGE * value if place else 0.0 for place, value in enumerate(beta)]
        hessian = [[RIDGE if one == other and one else 0.0 for other in range(len(beta))] for one in range(len(beta))]
        for row, answer in zip(rows, answers, strict=True):
            share = logistic(sum(weight * value for weight, value in zip(beta, row, strict=True)))
            miss, curvature = answer.weight * (answer.right - share), answer.weight * max(share * (1 - share), 1e-6)
            for one, value in enumerate(row):
                gradient[one] += miss * value
                for other in range(one + 1):
                    hessian[one][other] += curvature * value * row[other]
        for one in range(len(beta)):
            for other in range(one):
                hessian[other][one] = hessian[one][other]
        step = solve(hessian, gradient)
        beta = [value + change for value, change in zip(beta, step, strict=True)]
        if max(map(abs, step)) < 1e-7:
            break
    return Curve(mean, scale, tuple(beta[1:]), beta[0])


def isotonic(scores: Sequence[float], labels: Sequence[bool], weights: Sequence[float] | None = None) -> tuple[tuple[float, float], ...]:
    """Rising (score, share of right answers) points: pool adjacent violators over blocks of at least ``LEAST_BLOCK`` answers."""
    pairs = sorted(zip(scores, labels, weights or [1.0] * len(scores), strict=True))
    blocks = [pairs[start : start + LEAST_BLOCK] for start in range(0, len(pairs), LEAST_BLOCK)]
    if len(blocks) > 1 and len(blocks[-1]) < LEAST_BLOCK:
        blocks[-2:] = [blocks[-2] + blocks[-1]]
    pooled: list[list[float]] = []
    for block in blocks:
        sums = [[score * weight, label * weight, weight] for score, label, weight in block]
        pooled.append([sum(column) for column in zip(*sums, strict=True)])
        while len(pooled) > 1 and pooled[-2][1] / pooled[-2][2] >= pooled[-1][1] / pooled[-1][2]:
            last = pooled.pop()
            pooled[-1] = [one + other for one, other in zip(pooled[-1], last, strict=True)]
    # Half an answer of each kind keeps every share away from 0 and 1 (Jeffreys).
    points = [(total / count, (right + 0.5) / (count + 1)) for total, right, count in pooled]
    rising: list[tuple[float, float]] = []
    for score, share in points:
        if not rising or score > rising[-1][0]:
            rising.append((score, max(share, rising[-1][1]) if rising else share))
    return tuple(rising)


def split(answers: Sequence[Labelled], seed: int = 0) -> list[list[int]]:
    """The places of the answers in ``FOLDS`` parts; answers of one group are in one part."""
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(answers):
        groups.setdefault(one.group or f"#{place}", []).append(place)
    names = sorted(groups)
    random.Random(f"{seed}/folds").shuffle(names)
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    for name in names:
        min(folds, key=len).extend(groups[name])
    return folds


def brier(values: Sequence[float], labels: Sequence[bool], weights: Sequence[float]) -> float:
    """The mean squared distance between probabilities and labels (Brier 1950); 0 is best."""
    return statistics.fmean([(value - label) ** 2 for value, label in zip(values, labels, strict=True)], weights)


def solve(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """The solution of a small system of linear equations (Gauss, with pivots)."""
    size = len(vector)
    rows = [[*matrix[place], vector[place]] for place in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        if math.isclose(rows[column][column], 0.0, abs_tol=1e-12):
            continue
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [value - factor * other for value, other in zip(rows[row], rows[column], strict=True)]
    return [rows[place][size] / rows[place][place] if rows[place][place] else 0.0 for place in range(size)]
