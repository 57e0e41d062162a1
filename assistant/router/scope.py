"""What a version was trained on: whether a question lies within, read from the same state as its category.

An adapter forgets what it was not trained on, and answers with the nearest thing it learned. The base still knows what it knew, so a
question outside a version's scope is the base's. The probe (Alain & Bengio 2016, arXiv 1610.01644) is fitted when the version is trained.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError, ModelError

FILE = "scope.json"

Weights = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """A network of one hidden layer: in every row one number for each input and the bias last. ``base_sha256``: whose states it reads.

    A question is within when its share (0 to 1) is at least ``threshold``.
    """

    base: str
    base_sha256: str
    hidden: tuple[Weights, ...]
    output: Weights
    threshold: float

    def share(self, state: Sequence[float]) -> float:
        """How surely a question with this state (scaled to length 1) is one of those the version was trained on, 0 to 1."""
        features = [max(0.0, _dot(weights, state)) for weights in self.hidden]
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, _dot(self.output, features)))))

    def covers(self, state: Sequence[float]) -> bool:
        """Whether the version answers this question; the base does otherwise."""
        return self.share(state) >= self.threshold

    def fits(self, base: str, base_sha256: str) -> bool:
        """Whether it reads that base's states: by checksum where there is one, else by name."""
        return self.base_sha256 == base_sha256 if base_sha256 or self.base_sha256 else self.base == base


def load(folder: Path) -> Scope | None:
    """The scope of a version in its folder; None where none was fitted. A damaged one is a ModelError."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        document = files.read_json(path)
        hidden, output = tuple(map(_weights, document["hidden"])), _weights(document["output"])
        if len({len(weights) for weights in hidden}) != 1 or len(output) != len(hidden) + 1:
            raise ValueError("its weights are of different lengths")
        return Scope(document["base"], document["base_sha256"], hidden, output, float(document["threshold"]))
    except (OSError, DataError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The scope {path} is damaged ({error}).", "Train the version again, or delete the file to do without.") from error


def _weights(values: Sequence[float]) -> Weights:
    return tuple(float(value) for value in values)


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    # map ends with the shorter one, before the bias.
    return sum(map(operator.mul, weights, values)) + weights[-1]
