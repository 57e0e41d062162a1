"""What a run says and keeps while it trains: progress events, TensorBoard figures, checkpoints in time, and a clean end on request."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psutil
from transformers import TrainerCallback

from assistant.core.errors import TrainingError
from assistant.core.events import Checked, Event, Progress
from assistant.core.paths import Paths
from finetuning.training import judge, processes, runs, trackers
from finetuning.training.judge import Validations
from finetuning.training.recipe import Recipe
from finetuning.training.runs import Run
from finetuning.training.trackers import Board

Say = Callable[[Event], None]
# Speed is the mean of the last steps: batches differ in length.
SPEED_STEPS = 20
# What a step on preference pairs shows beside its loss.
PREFERRED = ("margin", "accuracy")
# Validation losses are at least so many steps apart.
STEPS_APART = 20
# The first steps of an attempt are its measured warm-up; of these the very first one, which allocates, does not count.
WARM_UP_STEPS = 4


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
        self._left = self._began = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._began = state.global_step
        self._left = sum(self._tokens(step) for step in range(state.global_step + 1, state.max_steps + 1))
        self._marks.append((time.perf_counter(), 0))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Say a step; a loss that is no number ends the run."""
        logs = logs or {}
        if "loss" not in logs:
            return
        loss, step = logs["loss"], state.global_step
        self.losses.append(loss)
        _check(self.losses, step, logs)
        self.trained_tokens += self._tokens(step)
        self._marks.append((time.perf_counter(), self.trained_tokens))
        seconds = self._marks[-1][0] - self._marks[0][0]
        speed = (self._marks[-1][1] - self._marks[0][1]) / seconds if seconds else 0.0
        left = (self._left - self.trained_tokens) / speed if speed else 0.0
        if step == self._began + WARM_UP_STEPS and step < state.max_steps:
            self._warmed_up(step)
        self.peak_mb = max(self.peak_mb, psutil.Process().memory_info().rss // 1_000_000)
        figures: dict[str, float | str] = {"loss": round(loss, 4)}
        if self.validation is not None:
            figures["validation loss"] = round(self.validation, 4)
        figures |= {name: round(logs[name], 3) for name in PREFERRED if name in logs}
        figures |= {"tokens/s": round(speed, 1), "memory MB": float(self.peak_mb)}
        self._say(Progress(step, state.max_steps, "steps", figures, round(left, 1)))
        for name, value in {
            "loss": loss,
            "learning_rate": logs.get("learning_rate"),
            "gradient_norm": logs.get("grad_norm"),
            "tokens_per_second": speed,
            **{name: logs.get(name) for name in PREFERRED},
        }.items():
            if value is not None:
                self._board.add_scalar(f"train/{name}", value, step)

    def _warmed_up(self, step: int) -> None:
        """Say what the rest takes, as the first steps were."""
        seconds = self._marks[-1][0] - self._marks[1][0]
        speed = (self._marks[-1][1] - self._marks[1][1]) / seconds
        left = (self._left - self.trained_tokens) / speed
        until = time.strftime("%H:%M", time.localtime(time.time() + left))
        about = f"{left / 60:,.0f} min" if left >= 90 else f"{left:.0f} s"
        detail = f"{speed:,.0f} tokens/s in steps {self._began + 2} to {step}: about {about} of training left, until {until}"
        self._say(Checked("time, measured", True, detail))

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
        late = processes.agree(time.monotonic() - self._saved_at >= self._recipe.checkpoint_seconds)
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
    """Measures the validation loss a few times on the way, keeps the best weights, and ends a training that gets no better."""

    def __init__(
        self,
        measure: Callable[[], float | None],
        reporter: Reporter,
        losses: Validations,
        keep: Callable[[int], None],
        times: int,
        steps: int,
    ) -> None:
        self._measure = measure
        self._reporter = reporter
        self._losses = losses
        self._keep = keep
        self.ended = False
        # The end is measured after the training, in any case.
        times = min(times, steps // STEPS_APART)
        self._at = {round(steps * part / (times + 1)) for part in range(1, times + 1)} - {0, steps}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Measure at the chosen steps."""
        if state.global_step not in self._at:
            return control
        began = time.perf_counter()
        loss = self._measure()
        if loss is None:
            return control
        # The weights first: a loss that is written down has its weights.
        if self._losses.is_better(loss):
            self._keep(state.global_step)
        self._losses.add(state.global_step, loss)
        self._reporter.validated(loss, state.global_step, time.perf_counter() - began)
        if self._losses.exhausted():
            self.ended = control.should_training_stop = control.should_save = True
        return control


def _check(losses: list[float], step: int, logs: dict[str, float]) -> None:
    """A loss that is no number, or has left where it was, ends the run with what was seen."""
    norm, rate = logs.get("grad_norm"), logs.get("learning_rate") or 0.0
    length = "" if norm is None else f", gradient norm {norm:.4g}"
    seen = f"step {step}, loss {losses[-1]:.4g}{length}, learning rate {rate:.2g}"
    fix = f"Train again with --learning_rate {rate / 3:.1g}, or a smaller max_grad_norm (--set max_grad_norm=0.3)."
    if not math.isfinite(losses[-1]) or (norm is not None and not math.isfinite(norm)):
        raise TrainingError(f"The training diverged: the loss or its gradient is no number any more ({seen}).", fix)
    apart = judge.diverged(losses)
    if apart:
        raise TrainingError(f"The training diverged: the mean loss of ten steps rose from {apart[0]:.2f} to {apart[1]:.2f} ({seen}).", fix)


class _Quiet:
    def add_scalar(self, *_: Any) -> None:
        """Nothing: of several processes the first one writes."""

    def close(self) -> None:
        """Nothing to close."""


def board(paths: Paths, run: Run, recipe: Recipe) -> Board:
    """What takes the figures of a run: TensorBoard files always, and what else was asked for."""
    if not processes.is_first():
        return _Quiet()
    return trackers.board(paths, runs.folder(paths, run.run), run.run, run.report_to, asdict(recipe))
