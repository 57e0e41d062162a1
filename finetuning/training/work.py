"""The values of one training: what it needs, loaded, and what it gave."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assistant.core.events import Event
from assistant.core.paths import Paths
from assistant.core.prompts import ChatFormat
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.engine.base import Base
from finetuning.training.plan import TrainingPlan
from finetuning.training.rows import Encoded, Row
from finetuning.training.runs import Run

Say = Callable[[Event], None]
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """Everything one training needs, loaded."""

    paths: Paths
    settings: Settings
    run: Run
    plan: TrainingPlan
    base: Base
    chat: ChatFormat
    rows: Encoded
    judged: tuple[Row, ...]
    say: Say
    stop: Stop

    @property
    def kept(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.paths.checkpoints / self.run.run

    @property
    def version(self) -> Path:
        """The folder of the version in the making."""
        return Store(self.paths).version_folder(self.plan.model, self.run.version)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the training itself gave."""

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    first_loss: float
    final_loss: float
    validation_before: float | None
    validation_after: float | None
    peak_mb: int
    # The step whose weights the version has, when they were better than the last ones; where the training ended before its last step.
    best_step: int | None = None
    ended_at: int | None = None
    # Of the processor, all cores and attempts together.
    cpu_seconds: float = 0.0
