"""What a version was trained on: whether a question lies within, read from the same state as its category.

An adapter forgets what it was not trained on, and answers with the nearest thing it learned. The base still knows what it knew, so a
question outside a version's scope is the base's. The probe (Alain & Bengio 2016, arXiv 1610.01644) is fitted when the version is trained.
A question that was trained word for word lies within whatever the probe says, which takes "How is the weather today?" for a general one.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.engine.base import fits
from assistant.router.classifier import Weights, dot, weights

FILE = "scope.json"
# Characters of a question's mark; all marks are one string in the file.
MARK = 10


@dataclass(frozen=True, slots=True)
class Scope:
    """A network of one hidden layer: in every row one number for each input and the bias last. ``base_sha256``: whose states it reads.

    A question is within when its share (0 to 1) is at least ``threshold``, or when it is one of the trained ``questions`` (their marks).
    """

    base: str
    base_sha256: str
    hidden: tuple[Weights, ...]
    output: Weights
    threshold: float
    questions: frozenset[str] = frozenset()

    def share(self, state: Sequence[float]) -> float:
        """How surely a question with this state (scaled to length 1) is one of those the version was trained on, 0 to 1."""
        features = [max(0.0, dot(row, state)) for row in self.hidden]
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, dot(self.output, features)))))

    def covers(self, question: str, state: Sequence[float]) -> bool:
        """Whether the version answers this question; the base does otherwise."""
        return mark(question) in self.questions or self.share(state) >= self.threshold


def mark(question: str) -> str:
    """Ten characters that stand for a question's words, whatever its capitals, punctuation and spaces."""
    words = "".join(letter for letter in question.casefold() if letter.isalnum())
    return hashlib.blake2b(words.encode(), digest_size=MARK // 2).hexdigest()


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
        marks = document.get("questions", "")
        questions = frozenset(marks[place : place + MARK] for place in range(0, len(marks), MARK))
        found = Scope(document["base"], document["base_sha256"], hidden, output, float(document["threshold"]), questions)
        return found if fits(found.base, found.base_sha256, base, base_sha256) else None
    except (OSError, DataError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The scope {path} is damaged ({error}).", "Train the version again, or delete the file to do without.") from error
