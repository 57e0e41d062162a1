"""The gate: may a new version go live by itself? Pure: evidence in, a sentence out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from finetuning.evaluation.bootstrap import FEW, Interval

Measure = Literal["loss", "key_facts", "preference", "category", "general"]
NAMES: dict[Measure, str] = {
    "loss": "held-out loss",
    "key_facts": "key-fact recall",
    "preference": "held-out preferences",
    "category": "category accuracy",
    "general": "general ability",
}
# Below this change of a token's log-probability an adapter counts as one without effect.
LEAST_EFFECT = 1e-3
# Five questions all go the same way by chance once in sixteen times (sign test, two-sided), six once in 32: under 0.05.
LEAST_ROWS = 6
# From so many general questions on, of which the base answers more than 60, a loss of a tenth is seen.
ENOUGH_GENERAL = 150


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of the new version against another, over the same questions.

    ``gain`` is the paired difference with its interval, turned so that above 0 is better (for the loss: old minus new).
    ``noise`` is how far the same evaluation, done twice, came apart.
    """

    measure: Measure
    against: str
    new: float
    old: float
    gain: Interval
    noise: float = 0.0

    @property
    def better(self) -> bool:
        """Surely better: the interval lies above the noise, over enough questions for that to mean something."""
        return self.gain.low > self.noise and self.gain.rows >= LEAST_ROWS

    @property
    def worse(self) -> bool:
        """Surely worse: the interval lies below the noise."""
        return self.gain.high < -self.noise


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a new version: the differences to the live one and to the base, and its effect on token log-probabilities.

    ``live`` is None when the base answers so far. ``effects`` by engine: the largest change against the bare base. ``taught``: the held-out
    questions ask what was trained, in other words; then the model has to get to the answers by itself.
    """

    model: str
    version: str
    live: str | None
    differences: tuple[Difference, ...]
    effects: dict[str, float] = field(default_factory=dict)
    taught: bool = False

    @property
    def facts_decide(self) -> bool:
        """Whether a lower loss alone is no gain: the answer that is given is likelier, and still not what the model says."""
        return self.taught and any(item.measure == "key_facts" and item.gain.rows >= FEW for item in self.differences)


def refusal(evidence: Evidence) -> str:
    """Why this model must not go live, or "" when it may."""
    idle = [engine for engine, effect in evidence.effects.items() if effect < LEAST_EFFECT]
    if idle:
        return f"The adapter has no effect on the {' and '.join(idle)} engine: it answers exactly as the base does."
    if not evidence.differences:
        return "Nothing was measured, so nothing shows that it is better."
    for difference in evidence.differences:
        if difference.measure == "general" and difference.worse:
            return f"It has forgotten: {_told(difference)}."
    for difference in evidence.differences:
        if difference.worse and not _made_up(difference, evidence.differences):
            return f"It is worse than {difference.against}: {_told(difference)}."
    rival = evidence.live or "the base"
    counts = ("key_facts", "preference") if evidence.facts_decide else ("key_facts", "preference", "loss")
    judged = [item for item in evidence.differences if item.against == rival and item.measure in counts]
    if not judged:
        return f"Neither held-out loss nor key facts were compared with {rival}, so nothing shows that it is better."
    if not any(item.better for item in judged):
        return f"It is not surely better than {rival}: {'; '.join(_told(item) for item in judged)}."
    return ""


def verdict(evidence: Evidence) -> tuple[str, ...]:
    """The comparison in plain words, one line a rival, and what limits it."""
    lines = []
    for against in dict.fromkeys(item.against for item in evidence.differences):
        parts = [f"{_word(item)} {NAMES[item.measure]} ({_figures(item)})" for item in evidence.differences if item.against == against]
        lines.append(f"Against {against}: {', '.join(parts)}.")
    few = [item for item in evidence.differences if item.gain.rows < FEW]
    if few:
        names = ", ".join(dict.fromkeys(f"{NAMES[item.measure]} ({item.gain.rows})" for item in few))
        lines.append(f"Few questions stand behind some figures, so their intervals say little: {names}.")
    asked = [item.gain.rows for item in evidence.differences if item.measure == "general"]
    if asked and min(asked) < ENOUGH_GENERAL:
        lines.append(f"Only {min(asked)} general questions were asked: forgetting may have passed unseen.")
    if evidence.facts_decide:
        lines.append("The questions ask what was taught, in other words: key facts decide, a lower loss alone is no gain.")
    if not any(item.measure == "key_facts" for item in evidence.differences):
        lines.append("The held-out rows carry no key facts: the held-out loss decides.")
    return tuple(lines)


def _made_up(difference: Difference, others: Sequence[Difference]) -> bool:
    """A higher loss alone does not count when the same rival is surely beaten in key facts or preferences: wording is not knowledge."""
    return difference.measure == "loss" and any(
        other.measure in ("key_facts", "preference") and other.against == difference.against and other.better for other in others
    )


def _word(difference: Difference) -> str:
    return "better in" if difference.better else "worse in" if difference.worse else "same in"


def _told(difference: Difference) -> str:
    return f"{NAMES[difference.measure]} {_figures(difference)}"


def _figures(difference: Difference) -> str:
    gain, noise = difference.gain, f", noise {difference.noise:.3f}" if difference.noise else ""
    return (
        f"{difference.old:.3f} → {difference.new:.3f}, gain {gain.mean:+.3f}, 95% interval {gain.low:+.3f} to {gain.high:+.3f}, "
        f"{gain.rows} questions{noise}"
    )
