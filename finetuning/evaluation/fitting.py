"""Fit a confidence curve to labelled answers: logistic regression, isotonic steps, and the choice between them.

Logistic: Platt 1999, over several features, with a ridge (Hoerl & Kennard 1970) and Newton's steps; the state of the question is read as
well where that judges answers it was not fitted on better. Isotonic: pool adjacent violators
(Ayer et al. 1955; for calibration Zadrozny & Elkan 2002). Isotonic steps need many answers (Niculescu-Mizil & Caruana 2005: about a
thousand), so they are kept only when they judge answers they were not fitted on better (Brier 1950).
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from assistant.core.errors import DataError
from assistant.router.confidence import Curve, clip, stepped

FOLDS = 5
RIDGE, STATE_RIDGE = 3.0, 30.0
ROUNDS = 30
# Directions of the question's state (docs/LOG.md).
DIRECTIONS, ROWS_A_DIRECTION = 64, 8
# Fewer answers, or fewer right or wrong ones, say nothing.
LEAST_ROWS, LEAST_OF_EACH = 40, 8
# Blocks of isotonic steps hold at least so many answers, so that no step rests on a single one.
LEAST_BLOCK = 10


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer with its label. Answers of one ``group`` (wordings of one question) stay on one side of a split; ``weight`` repeats it.

    ``state`` is the base's at the end of the question (assistant.router.classifier).
    """

    features: tuple[float, ...]
    right: bool
    group: str = ""
    weight: float = 1.0
    state: tuple[float, ...] = ()


def fit(answers: Sequence[Labelled], seed: int = 0) -> tuple[Curve, list[float]]:
    """The curve of labelled answers, and what curves fitted without its own group say of each answer. Too few answers are a DataError."""
    right = sum(one.right for one in answers)
    if len(answers) < LEAST_ROWS or min(right, len(answers) - right) < LEAST_OF_EACH:
        raise DataError(
            f"{len(answers)} labelled answers, {right} of them right, are too few to calibrate on.",
            f"At least {LEAST_ROWS} rows with key facts are needed, {LEAST_OF_EACH} of them right and {LEAST_OF_EACH} wrong.",
        )
    folds = split(answers, seed)
    labels, weights = [one.right for one in answers], [one.weight for one in answers]
    by_state, unseen = False, _unseen(answers, folds, False)
    if all(one.state for one in answers):
        with_state = _unseen(answers, folds, True)
        if brier(with_state, labels, weights) < brier(unseen, labels, weights):
            by_state, unseen = True, with_state
    steps_unseen = [0.0] * len(answers)
    for fold in folds:
        held = set(fold)
        kept = [place for place in range(len(answers)) if place not in held]
        steps = isotonic(*([values[place] for place in kept] for values in (unseen, labels, weights)))
        for place in fold:
            steps_unseen[place] = clip(stepped(steps, unseen[place]))
    curve = regress(answers, by_state)
    if brier(steps_unseen, labels, weights) < brier(unseen, labels, weights):
        return replace(curve, steps=isotonic(unseen, labels, weights)), steps_unseen
    return curve, unseen


def _unseen(answers: Sequence[Labelled], folds: Sequence[Sequence[int]], by_state: bool) -> list[float]:
    """What curves fitted on the other parts say of the answers of each."""
    unseen = [0.0] * len(answers)
    for fold in folds:
        held = set(fold)
        curve = regress([one for place, one in enumerate(answers) if place not in held], by_state)
        for place in fold:
            unseen[place] = clip(curve.score(answers[place].features, answers[place].state))
    return unseen


def regress(answers: Sequence[Labelled], by_state: bool = False) -> Curve:
    """Logistic regression with a ridge on standardised features, by Newton's steps.

    ``by_state`` reads the state of the question as well: its main directions among these answers (at most ``DIRECTIONS``, and one for
    ``ROWS_A_DIRECTION`` answers), folded back into one weight for each of its numbers.
    """
    features = np.array([one.features for one in answers])
    mean, scale = features.mean(0), features.std(0)
    scale[scale == 0] = 1.0
    columns = (features - mean) / scale
    if by_state:
        states = np.array([one.state for one in answers])
        middle = states.mean(0)
        count = min(DIRECTIONS, len(answers) // ROWS_A_DIRECTION)
        directions = np.linalg.svd(states - middle, full_matrices=False)[2][:count]
        projected = (states - middle) @ directions.T
        spread = np.maximum(projected.std(0), 1e-9)
        columns = np.hstack([columns, projected / spread])
    width = features.shape[1]
    ridge = np.array([0.0, *[RIDGE] * width, *[STATE_RIDGE] * (columns.shape[1] - width)])
    beta = _newton(np.hstack([np.ones((len(answers), 1)), columns]), answers, ridge)
    weights, bias = beta[1 : 1 + width], beta[0]
    state: tuple[float, ...] = ()
    if by_state:
        folded = (beta[1 + width :] / spread) @ directions
        state, bias = tuple(np.round(folded, 5).tolist()), bias - folded @ middle
    return Curve(tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()), float(bias), state=state)


def _newton(rows: np.ndarray, answers: Sequence[Labelled], ridge: np.ndarray) -> np.ndarray:
    """The weights of a logistic regression on rows (answers, width), each held back by its ``ridge`` (width)."""
    right, counts = np.array([one.right for one in answers], float), np.array([one.weight for one in answers])
    beta = np.zeros(rows.shape[1])
    for _ in range(ROUNDS):
        shares = 1 / (1 + np.exp(-np.clip(rows @ beta, -500, 500)))
        curvature = counts * np.maximum(shares * (1 - shares), 1e-6)
        step = np.linalg.solve(rows.T @ (rows * curvature[:, None]) + np.diag(ridge), rows.T @ (counts * (right - shares)) - ridge * beta)
        beta = beta + step
        if np.abs(step).max() < 1e-7:
            break
    return beta


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
