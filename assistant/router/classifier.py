"""The built-in classifier: probes on the language model's own state (Alain & Bengio 2016, arXiv 1610.01644).

The base reads the question; a small network on its last hidden state gives the category, a logistic regression the complexity.
It needs no training of the user's and is the same in both engines (their states agree to a cosine of 0.9996, docs/LOG.md).
`train classifier` fits others on this root's data; the live one of them is read instead.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.core.store import Store
from assistant.core.values import CATEGORIES, Judgement, Message
from assistant.engine.base import Engine, fits

MODEL = "classifier"
FILE = "probe.json"
BUILT_IN = Path(__file__).with_name("embedded_probe.json")
# Below this the likeliest category is not likely enough to be named.
UNSURE = 0.5

Weights = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Weights, in every row one number for each input and the bias last.

    ``hidden`` reads the state, ``categories`` what ``hidden`` gives (cut at 0; the state itself when it is empty), ``complexity`` the
    state. ``base`` and ``base_sha256`` name the base whose states they are.
    """

    base: str
    base_sha256: str
    hidden: tuple[Weights, ...]
    categories: dict[str, Weights]
    complexity: Weights

    def judge(self, state: Sequence[float]) -> Judgement:
        """Category probabilities (softmax) and complexity (logistic, 0 to 1) for a state scaled to length 1."""
        if len(state) + 1 != len(self.complexity):
            raise ModelError(
                f"The classifier reads states of {len(self.complexity) - 1} numbers; this base has {len(state)}.",
                f"Fit one for this base: `train {MODEL}`.",
            )
        features = [max(0.0, dot(row, state)) for row in self.hidden] or state
        scores = {category: dot(row, features) for category, row in self.categories.items()}
        top = max(scores.values())
        powers = {category: math.exp(score - top) for category, score in scores.items()}
        total = sum(powers.values())
        probabilities = {category: powers[category] / total for category in CATEGORIES}
        best = max(CATEGORIES, key=lambda category: probabilities[category])
        complexity = 1 / (1 + math.exp(-dot(self.complexity, state)))
        return Judgement(best if probabilities[best] >= UNSURE else "unsure", probabilities, complexity)

    def fits(self, base: str, base_sha256: str) -> bool:
        """Whether it was fitted on that base: by checksum where there is one, else by name."""
        return fits(self.base, self.base_sha256, base, base_sha256)


def load(path: Path = BUILT_IN) -> Probe:
    """The probe in a file; a damaged one is a ModelError."""
    try:
        document = files.read_json(path)
        categories = {category: weights(document["categories"][category]) for category in CATEGORIES}
        hidden, complexity = tuple(map(weights, document["hidden"])), weights(document["complexity"])
        inputs = len(hidden) + 1 if hidden else len(complexity)
        if {len(weights) for weights in categories.values()} != {inputs} or {len(weights) for weights in hidden} - {len(complexity)}:
            raise ValueError("its weights are of different lengths")
        return Probe(document["base"], document["base_sha256"], hidden, categories, complexity)
    except (OSError, DataError, KeyError, TypeError, ValueError) as error:
        fix = "Restore the file from the project." if path == BUILT_IN else f"`rollback {MODEL}`, or `train {MODEL}` again."
        raise ModelError(f"The classifier {path} is damaged ({error}).", fix) from error


def built_in(base: str, base_sha256: str) -> Probe | None:
    """The probe that ships with PZ2, or None on a base it was not fitted on."""
    probe = load()
    return probe if probe.fits(base, base_sha256) else None


def of_version(store: Store, version: str, base: str, base_sha256: str) -> Probe:
    """A trained probe; one that is damaged or was fitted on another base is a ModelError."""
    store.card(MODEL, version)
    probe = load(store.version_folder(MODEL, version) / FILE)
    if not probe.fits(base, base_sha256):
        raise ModelError(
            f"Version {version} of the {MODEL} was fitted on {probe.base}, not on {base}.", f"Fit one for this base: `train {MODEL}`."
        )
    return probe


def live(store: Store, base: str, base_sha256: str) -> tuple[Probe | None, str | None]:
    """The probe that reads questions now and its version; version None is the built-in one, probe None a base that has none."""
    version = store.current(MODEL).version
    if version:
        return of_version(store, version, base, base_sha256), version
    return built_in(base, base_sha256), None


def reading(question: str) -> list[Message]:
    """The conversation whose last state the probe reads: the bare question, under a system line of one word to keep it short."""
    return [Message("system", "PZ2"), Message("user", question)]


def state(engine: Engine, question: str) -> list[float]:
    """The base's state at the end of a question, scaled to length 1: what a probe reads."""
    return engine.embed(engine.format.encode(reading(question)))


def weights(values: Sequence[float]) -> Weights:
    """A row of a probe's file."""
    return tuple(float(value) for value in values)


def dot(row: Sequence[float], state: Sequence[float]) -> float:
    """What a row of weights, the bias last, makes of a state."""
    # map ends with the shorter one, before the bias.
    return sum(map(operator.mul, row, state)) + row[-1]
