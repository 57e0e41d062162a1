"""One training from its plan to its card: load, train or go on, prove, write the version. Runs in the trainer's own process."""

import ctypes
import gc
import os
import shutil
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from assistant.core import files
from assistant.core.errors import ModelError, TrainingError
from assistant.core.events import Notice, Step
from assistant.core.paths import Paths
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine import hf
from finetuning.training import finish, runs, sft, trial
from finetuning.training import plan as plans
from finetuning.training import rows as row_files
from finetuning.training.callbacks import Keeper, Reporter, Validator, board
from finetuning.training.network import with_adapter
from finetuning.training.plan import TrainingPlan
from finetuning.training.rows import Row
from finetuning.training.runs import Run
from finetuning.training.work import Outcome, Say, Stop, Work

START = "start.json"


def train(paths: Paths, settings: Settings, run: Run, say: Say, stop: Stop) -> bool:
    """Train a run to the end and write its version; False when it was asked to stop on the way (it can be resumed)."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    work = load(paths, settings, run, say, stop)
    outcome = finish.kept(work)
    if outcome is None and not stop():
        outcome = _train(work)
    if outcome is None:
        step = _step(work.kept)
        say(
            Notice(
                f"Cancelled. `jobs resume {run.run}` goes on from step {step}."
                if step
                else f"Cancelled before the first checkpoint. `jobs resume {run.run}` begins again."
            )
        )
        return False
    _let_go()
    if finish.finish(work, outcome):
        return True
    say(Notice(f"Cancelled after the training, during the proof. `jobs resume {run.run}` goes on with the proof."))
    return False


def load(paths: Paths, settings: Settings, run: Run, say: Say, stop: Stop) -> Work:
    """The plan, the base and the rows of a run, checked against what the plan was made for."""
    say(Step("Loading the base and the rows"))
    store = Store(paths)
    plan = plans.load(store.version_folder(run.model, run.version) / "plan.json")
    if run.version in store.versions(run.model):
        raise TrainingError(f"{run.run} is finished already.", f"`train {run.model}` makes a new version.")
    plans.check_data(plan, paths)
    base = engines.base_of(replace(settings, base=plan.base_source), paths)
    if base.sha256 != plan.base_sha256:
        raise ModelError(f"The base {base.name} is not the one this run was planned with.", f"Start a new training: `train {plan.model}`.")
    chat = hf.chat_format(base, paths)
    rows = row_files.encode(paths.datasets / plan.train.path, chat, plan.model, plan.recipe.max_length)
    if rows.cut:
        say(Notice(f"{rows.cut} of {len(rows.rows)} rows are longer than {plan.recipe.max_length} tokens; their ends are cut.", "warning"))
    judged: tuple[Row, ...] = ()
    if plan.validation:
        judged = row_files.encode(paths.datasets / plan.validation.path, chat, plan.model, plan.recipe.max_length).rows
    return Work(
        paths, settings, run, plan, base, chat, rows, tuple(sft.validation_rows(judged, plan.recipe.validation_rows, plan.seed)), say, stop
    )


def _train(work: Work) -> Outcome | None:
    """Train, or go on from the last checkpoint; the adapter lies in the version's folder afterwards. None when it was stopped."""
    plan, kept = work.plan, work.kept
    kept.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept / ".part", ignore_errors=True)
    model = with_adapter(hf.load_base(work.base, work.paths), plan.recipe, plan.seed)
    writer = board(runs.folder(work.paths, work.run.run))
    keeper = Keeper(plan.recipe, work.stop)
    trainer: Any = None
    reporter = Reporter(work.say, writer, lambda step: sum(len(work.rows.rows[row].ids) for row in _rows_of(trainer, plan, step)))
    trainer = sft.AnswerTrainer(model, plan, work.rows.rows, sft.tokenizer(work.base, work.chat, work.paths), kept, [reporter, keeper])
    trainer.add_callback(
        Validator(
            lambda: trainer.validation_loss(work.judged, work.stop), reporter, plan.recipe.validations if work.judged else 0, trainer.steps
        )
    )
    latest = next(iter(sft.checkpoints(kept)), None)
    start = _start(work, trainer, reporter)
    if work.stop():
        return None
    work.say(Step(f"Going on from step {_step(kept)} of {trainer.steps}" if latest else f"Training {trainer.steps} steps"))
    trainer.train(resume_from_checkpoint=str(latest) if latest else None)
    if trainer.state.global_step < trainer.steps:
        writer.close()
        return None
    after = trainer.validation_loss(work.judged) if work.judged else None
    if after is not None:
        reporter.validated(after, trainer.steps)
    writer.close()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [entry["loss"] for entry in history]
    _write_adapter(trainer.model, work)
    done = [row for batch in trainer.batches for row in batch]
    outcome = Outcome(
        steps=trainer.steps,
        tokens=sum(len(work.rows.rows[row].ids) for row in done),
        trained_tokens=sum(work.rows.rows[row].trained for row in done),
        seconds=round(history[-1]["seconds"], 1),
        cpu_seconds=round(history[-1].get("cpu_seconds", 0.0), 1),
        first_loss=losses[0],
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
        validation_before=start["validation_loss"],
        validation_after=after,
        peak_mb=reporter.peak_mb,
    )
    finish.keep(work, outcome)
    return outcome


def _start(work: Work, trainer: Any, reporter: Reporter) -> dict[str, Any]:
    """The base's validation loss, measured once a run and kept for a resumed one."""
    path = work.kept / START
    if path.is_file():
        return files.read_json(path)
    loss = None
    if work.judged:
        work.say(Step(f"Measuring the base on {len(work.judged)} validation rows"))
        loss = trainer.validation_loss(work.judged, work.stop)
        if loss is not None:
            reporter.validated(loss, 0)
    start = {"validation_loss": loss}
    if not work.stop():
        files.write_json(path, start)
    return start


def _rows_of(trainer: Any, plan: TrainingPlan, step: int) -> list[int]:
    size = plan.recipe.accumulation
    return [row for batch in trainer.batches[(step - 1) * size : step * size] for row in batch]


def _write_adapter(model: Any, work: Work) -> None:
    """The adapter into the version's folder, whole or not at all."""
    part = work.version / ".part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(str(part))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (part / name).chmod(0o644)
        os.replace(part / name, work.version / name)
    shutil.rmtree(part, ignore_errors=True)
    trial.write_gguf(work.version, model.config)


def _let_go() -> None:
    """Give the trained network's memory back before the engines of the proof are loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        # glibc keeps freed memory to itself otherwise: several GB after a training.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _step(kept: Path) -> int:
    latest = next(iter(sft.checkpoints(kept)), None)
    return int(latest.name.rpartition("-")[2]) if latest else 0
