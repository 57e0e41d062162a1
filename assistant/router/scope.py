"""What a version was trained on: whether a question lies within, read from the same state as its category.

An adapter forgets what it was not trained on, and answers with the nearest thing it learned. The base still knows what it knew, so a
question outside a version's scope is the base's. The probe (Alain & Bengio 2016, arXiv 1610.01644) is fitted when the version is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.engine.base import fits
from assistant.router.classifier import Weights, dot, weights

FILE = "scope.json"


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
        features = [max(0.0, dot(row, state)) for row in self.hidden]
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, dot(self.output, features)))))

    def covers(self, state: Sequence[float]) -> bool:
        """Whether the version answers this question; the base does otherwise."""
        return self.share(state) >= self.threshold


def load(folder: Path, base: str, base_sha256: str) -> Scope | None:
    """The scope of a version in its folder; None where none was fitted for this base. A damaged one is a ModelError."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        document = files.read_json(path)
        hidden, output = tuple(map(weights, document["hidden"])), weights(document["output"])
        if len({len(row) for row in hidden}) != 1 or len(output) != len(hidden) + 1:
            raise ValueError("its weights are of different lengths")
        found = Scope(document["base"], document["base_sha256"], hidden, output, float(document["threshold"]))
        return found if fits(found.base, found.base_sha256, base, base_sha256) else None
    except (OSError, DataError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The scope {path} is damaged ({error}).", "Train the version again, or delete the file to do without.") from error
