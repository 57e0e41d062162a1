"""Decisions during a run, from its losses alone: which validation was the best, when to end early, when it has diverged. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from finetuning.training import processes

# A validation loss counts as better from this difference on; below it is rounding.
LEAST_GAIN = 1e-4
# Losses of single steps jump; their means over so many steps are compared.
DIVERGED_STEPS = 10
# How far above the lowest mean, and above the first one, the mean has to be.
DIVERGED_FACTOR, DIVERGED_BY = 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation loss after a step; step 0 is what the run began with."""

    step: int
    loss: float


class Validations:
    """The validation losses of a run, kept beside its checkpoints, so that a resumed run decides as an uninterrupted one."""

    def __init__(self, path: Path, patience: int, step: int) -> None:
        """Read what was measured up to ``step``, from which the run goes on; what was measured later is measured again."""
        self._path = path
        self._patience = patience
        kept = files.read_json(path) if path.is_file() else []
        self.points = [Validation(*point) for point in kept if point[0] <= step]

    def is_better(self, loss: float) -> bool:
        """Whether a loss would be the best of a trained network so far."""
        best = self.best()
        return best is None or loss < best.loss - LEAST_GAIN

    def add(self, step: int, loss: float) -> None:
        """Take in the loss after a step."""
        self.points = [point for point in self.points if point.step != step] + [Validation(step, loss)]
        if processes.is_first():
            files.write_json(self._path, [[point.step, point.loss] for point in self.points])

    def best(self) -> Validation | None:
        """The first of the lowest losses of trained weights."""
        found: Validation | None = None
        for point in self.points:
            if point.step and (found is None or point.loss < found.loss - LEAST_GAIN):
                found = point
        return found

    def exhausted(self) -> bool:
        """Whether the last so many measurements (the patience) were no better than the one before them.

        What the run began with does not count: a version trained further gets worse before it gets better (docs/LOG.md).
        """
        return bool(self._patience) and len(self.since_best()) >= self._patience

    def since_best(self) -> list[Validation]:
        """What was measured after the best."""
        best = self.best()
        return [point for point in self.points if best is not None and point.step > best.step]


def diverged(losses: Sequence[float]) -> tuple[float, float] | None:
    """The lowest mean of ten steps and the last one, when the loss has left where it was and does not come back; else None."""
    if len(losses) < 2 * DIVERGED_STEPS:
        return None
    means = [sum(losses[end - DIVERGED_STEPS : end]) / DIVERGED_STEPS for end in range(DIVERGED_STEPS, len(losses) + 1)]
    low, now = min(means), means[-1]
    return (low, now) if now > DIVERGED_FACTOR * low and now > means[0] + DIVERGED_BY else None
