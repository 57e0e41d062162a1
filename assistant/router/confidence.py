"""Calibrated confidence: the probability that an answer is right, read from the answer's own tokens.

What is read: the margin between the two likeliest tokens (UCCI, arXiv 2605.18796, maps it to a probability and cuts the calibration error
from 0.12 to 0.03), the answer's log-probabilities and entropies, its repetition and its length; some of the mapping is allowed to use the
first tokens alone (as ProbeDirichlet, arXiv 2602.11877, judges before an answer is whole). A raw log-probability is no confidence: the base
says one emoji to the limit at a higher one than its right answers have. So every version carries a ``calibration.json``, fitted on labelled
answers of that version on the engine that gives them: a logistic regression (Platt 1999), and on top of it an isotonic one where that
judges unseen answers better (Zadrozny & Elkan 2002). ``right`` means that all key facts of the row are in the answer.
"""

import math
import operator
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.values import Token
from assistant.router.repetition import loop_length

FILE = "calibration.json"
# That of the embedded base on llama.cpp, for machines where nothing was calibrated yet (figures: docs/LOG.md).
BUILT_IN = Path(__file__).with_name("embedded_calibration.json")
# Counts up when the features below change, so that a file fitted on others is not read.
FORM = 1
FEATURES = (
    "surprise",
    "worst_surprise",
    "margin",
    "least_margin",
    "doubtful",
    "entropy",
    "worst_entropy",
    "first_margin",
    "repetition",
    "length",
    "cut",
)
# So many first tokens are enough to see that an answer is hopeless.
FIRST = 12
# A margin under this is a guess between two words.
DOUBTFUL = 0.2
# No answer is surely right or surely wrong.
LEAST, MOST = 0.01, 0.99
_FLOOR = 0.003


@dataclass(frozen=True, slots=True)
class Curve:
    """Features → probability: a logistic regression on standardised features, then steps (isotonic) when there are any.

    ``state`` weighs the base's state at the end of the question, from which can be read which questions are hard; empty: it is not read.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    steps: tuple[tuple[float, float], ...] = ()
    state: tuple[float, ...] = ()

    def value(self, features: Sequence[float], state: Sequence[float] = ()) -> float:
        """The probability that the answer is right."""
        return clip(stepped(self.steps, self.score(features, state)))

    def score(self, features: Sequence[float], state: Sequence[float] = ()) -> float:
        """The probability before the steps."""
        total = self.bias + sum(map(operator.mul, self.state, state))
        for weight, feature, mean, scale in zip(self.weights, features, self.mean, self.scale, strict=True):
            total += weight * (feature - mean) / scale
        return logistic(total)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What maps the answers of one version on one engine to probabilities.

    ``whole`` reads whole answers, ``early`` the first ``FIRST`` tokens. ``figures`` says how well, on answers it was not fitted on.
    """

    engine: str
    weights: str
    rows: int
    whole: Curve
    early: Curve
    figures: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    form: int = FORM

    @property
    def reads_the_question(self) -> bool:
        """Whether a curve weighs the state of the question."""
        return bool(self.whole.state or self.early.state)


def features(tokens: Sequence[Token], cut: bool = False) -> tuple[float, ...]:
    """What an answer's tokens tell about it, in the order of ``FEATURES``. ``cut``: it ran into a limit or went round in circles."""
    said = [token for token in tokens if token.id >= 0]
    if not said:
        return tuple(0.0 for _ in FEATURES)
    surprises = [-max(token.logprob, -12.0) for token in said]
    margins = [_margin(token) for token in said]
    entropies = [_entropy(token) for token in said]
    return (
        math.log(_FLOOR + statistics.fmean(surprises)),
        math.log(_FLOOR + max(surprises)),
        statistics.fmean(margins),
        min(margins),
        sum(margin < DOUBTFUL for margin in margins) / len(margins),
        math.log(_FLOOR + statistics.fmean(entropies)),
        max(entropies),
        statistics.fmean(margins[:FIRST]),
        _repetition([token.id for token in said]),
        math.log(len(said)),
        float(cut),
    )


def of_answer(tokens: Sequence[Token], cut: bool = False) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The features of an answer as the chat hears it (it ends where it goes round in circles), and of its first tokens."""
    said = [token for token in tokens if token.id >= 0]
    ids = [token.id for token in said]
    end = next((place for place in range(8, len(ids) + 1) if loop_length(ids[:place])), None)
    return features(said[:end], cut or end is not None), features(said[:FIRST])


def raw(features: Sequence[float]) -> float:
    """The confidence without calibration: the geometric mean of the tokens' probabilities."""
    return math.exp(-max(0.0, math.exp(features[0]) - _FLOOR)) if any(features) else 0.0


def load(path: Path, engine: str | None = None) -> Calibration | None:
    """The calibration in a file; None when there is none, when it is damaged or older than the features, or of another engine."""
    if not path.is_file():
        return None
    try:
        document = files.read_json(path)
        if document["form"] != FORM or (engine is not None and document["engine"] != engine):
            return None
        return Calibration(**{**document, "whole": _curve(document["whole"]), "early": _curve(document["early"])})
    except (DataError, OSError, KeyError, TypeError, ValueError):
        # An answer without a confidence is better than no answer; `status` says what is not calibrated.
        return None


def known(folder: Path, weights: str, engine: str | None) -> Calibration | None:
    """The calibration in a folder for these weights (their SHA-256); the one that ships with PZ2 where it is of the same ones."""
    for path in (folder / FILE, BUILT_IN):
        found = load(path, engine)
        if found is not None and found.weights == weights:
            return found
    return None


def save(calibration: Calibration, folder: Path) -> Path:
    """Write ``calibration.json`` into a version's folder."""
    files.write_json(folder / FILE, asdict(calibration))
    return folder / FILE


def stepped(steps: Sequence[tuple[float, float]], score: float) -> float:
    """A score through isotonic steps, straight lines between them; without steps the score itself."""
    if not steps:
        return score
    place = bisect_right(steps, (score, math.inf))
    if place == 0:
        return steps[0][1]
    if place == len(steps):
        return steps[-1][1]
    (left, low), (right, high) = steps[place - 1], steps[place]
    return low + (high - low) * (score - left) / (right - left)


def logistic(value: float) -> float:
    """1 / (1 + e^-value), without an overflow."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def clip(value: float) -> float:
    """A probability that is neither 0 nor 1."""
    return min(MOST, max(LEAST, value))


def _margin(token: Token) -> float:
    """How much likelier the likeliest token is than the second."""
    if len(token.top) < 2:
        return math.exp(token.logprob)
    return math.exp(token.top[0][1]) - math.exp(token.top[1][1])


def _entropy(token: Token) -> float:
    """The entropy over the likeliest tokens, everything else as one more, in nats."""
    shares = [math.exp(logprob) for _, logprob in token.top] or [math.exp(token.logprob)]
    rest = max(0.0, 1 - sum(shares))
    return -sum(share * math.log(share) for share in [*shares, rest] if share > 0)


def _repetition(ids: Sequence[int]) -> float:
    """The share of groups of three tokens that came before."""
    groups = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(groups)) / len(groups) if groups else 0.0


def _curve(document: dict[str, Any]) -> Curve:
    width = len(FEATURES)
    curve = Curve(
        tuple(map(float, document["mean"])),
        tuple(map(float, document["scale"])),
        tuple(map(float, document["weights"])),
        float(document["bias"]),
        tuple((float(score), float(share)) for score, share in document["steps"]),
        tuple(map(float, document.get("state", ()))),
    )
    if not len(curve.mean) == len(curve.scale) == len(curve.weights) == width:
        raise ValueError(f"a curve of {len(curve.weights)} features, not {width}")
    return curve
