"""What a run says and keeps while it trains: progress events, TensorBoard figures, checkpoints in time, and a clean end on request."""

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback

from assistant.core.errors import TrainingError
from assistant.core.events import Event, Progress
from finetuning.training.recipe import Recipe

Say = Callable[[Event], None]
# Speed is the mean of the last steps: batches differ in length.
SPEED_STEPS = 20
# Validation losses are at least so many steps apart.
STEPS_APART = 20


class Reporter(TrainerCallback):
    """Says each step's figures, as an event and to TensorBoard."""

    def __init__(self, say: Say, board: Any, tokens: Callable[[int], int]) -> None:
        self._say = say
        self._board = board
        self._tokens = tokens
        self._marks: deque[tuple[float, int]] = deque(maxlen=SPEED_STEPS + 1)
        self.validation: float | None = None
        self.losses: list[float] = []
        self.trained_tokens = 0
        self.peak_mb = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._marks.append((time.perf_counter(), 0))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Say a step; a loss that is no number ends the run."""
        logs = logs or {}
        if "loss" not in logs:
            return
        loss, step = logs["loss"], state.global_step
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss at step {step} is not a number: the training diverged.",
                "Train again with a lower --learning_rate (a third, say).",
            )
        self.losses.append(loss)
        self.trained_tokens += self._tokens(step)
        self._marks.append((time.perf_counter(), self.trained_tokens))
        seconds = self._marks[-1][0] - self._marks[0][0]
        speed = (self._marks[-1][1] - self._marks[0][1]) / seconds if seconds else 0.0
        left = (state.max_steps - step) * seconds / max(1, len(self._marks) - 1)
        self.peak_mb = max(self.peak_mb, psutil.Process().memory_info().rss // 1_000_000)
        figures: dict[str, float | str] = {"loss": round(loss, 4)}
        if self.validation is not None:
            figures["validation loss"] = round(self.validation, 4)
        figures |= {"tokens/s": round(speed, 1), "memory MB": float(self.peak_mb)}
        self._say(Progress(step, state.max_steps, "steps", figures, round(left, 1)))
        for name, value in {
            "loss": loss,
            "learning_rate": logs.get("learning_rate"),
            "gradient_norm": logs.get("grad_norm"),
            "tokens_per_second": speed,
        }.items():
            if value is not None:
                self._board.add_scalar(f"train/{name}", value, step)

    def validated(self, loss: float, step: int, seconds: float = 0.0) -> None:
        """Take in a validation loss; the next progress shows it. The ``seconds`` it took are no training time."""
        self.validation = loss
        self._board.add_scalar("validation/loss", loss, step)
        self._marks = deque(((at + seconds, tokens) for at, tokens in self._marks), maxlen=SPEED_STEPS + 1)


class Keeper(TrainerCallback):
    """Asks for a checkpoint in time, at the end and before a stop, and ends the training when it was asked to stop."""

    def __init__(self, recipe: Recipe, stop: Callable[[], bool]) -> None:
        self._recipe = recipe
        self._stop = stop
        self._saved_at = 0.0
        self._saved_step = 0
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._saved_at, self._saved_step = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Decide after each step."""
        late = time.monotonic() - self._saved_at >= self._recipe.checkpoint_seconds
        self.stopped = self._stop()
        if (
            late
            or self.stopped
            or state.global_step - self._saved_step >= self._recipe.checkpoint_steps
            or state.global_step >= state.max_steps
        ):
            control.should_save = True
            self._saved_at, self._saved_step = time.monotonic(), state.global_step
        if self.stopped:
            control.should_training_stop = True
        return control


class Validator(TrainerCallback):
    """Measures the validation loss a few times on the way."""

    def __init__(self, measure: Callable[[], float | None], reporter: Reporter, times: int, steps: int) -> None:
        self._measure = measure
        self._reporter = reporter
        # The end is measured after the training, in any case.
        times = min(times, steps // STEPS_APART)
        self._at = {round(steps * part / (times + 1)) for part in range(1, times + 1)} - {0, steps}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at the chosen steps."""
        if state.global_step in self._at:
            began = time.perf_counter()
            loss = self._measure()
            if loss is not None:
                self._reporter.validated(loss, state.global_step, time.perf_counter() - began)


def board(folder: Path) -> Any:
    """A writer of TensorBoard files."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
