"""The built-in classifier: a linear probe on the language model's own state (Alain & Bengio 2016, arXiv 1610.01644).

The base reads the question; a logistic regression on its last hidden state gives the category, a second one the complexity.
It needs no training of the user's and is the same in both engines (their states agree to a cosine of 0.9996, docs/LOG.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.core.values import CATEGORIES, Judgement, Message

BUILT_IN = Path(__file__).with_name("embedded_probe.json")
# Below this the likeliest category is not likely enough to be named.
UNSURE = 0.5


@dataclass(frozen=True, slots=True)
class Probe:
    """Weights by category, one number a state dimension and the bias last; ``complexity`` likewise for a single output."""

    base_sha256: str
    categories: dict[str, tuple[float, ...]]
    complexity: tuple[float, ...]

    def judge(self, state: Sequence[float]) -> Judgement:
        """Category probabilities (softmax) and complexity (logistic, 0 to 1) for a state scaled to length 1."""
        scores = {category: _dot(weights, state) for category, weights in self.categories.items()}
        top = max(scores.values())
        powers = {category: math.exp(score - top) for category, score in scores.items()}
        total = sum(powers.values())
        probabilities = {category: powers[category] / total for category in CATEGORIES}
        best = max(CATEGORIES, key=lambda category: probabilities[category])
        complexity = 1 / (1 + math.exp(-_dot(self.complexity, state)))
        return Judgement(best if probabilities[best] >= UNSURE else "unsure", probabilities, complexity)


def load(path: Path = BUILT_IN) -> Probe:
    """The probe in a file; a damaged one is a ModelError."""
    try:
        document = files.read_json(path)
        categories = {category: tuple(document["categories"][category]) for category in CATEGORIES}
        return Probe(document["base_sha256"], categories, tuple(document["complexity"]))
    except (OSError, DataError, KeyError, TypeError) as error:
        raise ModelError(f"The classifier {path} is damaged ({error}).", "Restore the file from the project.") from error


def reading(question: str) -> list[Message]:
    """The conversation whose last state the probe reads: the bare question, under a system line of one word to keep it short."""
    return [Message("system", "PZ2"), Message("user", question)]


def _dot(weights: Sequence[float], state: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, state, strict=False)) + weights[-1]
