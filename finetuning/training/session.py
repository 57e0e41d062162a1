"""One training from its plan to its card: load, train or go on, prove, write the version. Runs in the trainer's own process."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from assistant.core import files
from assistant.core.errors import ModelError, TrainingError
from assistant.core.events import Checked, Event, Lines, Notice, Report, Step, Switched, Table
from assistant.core.paths import Paths
from assistant.core.prompts import ChatFormat
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.core.values import Adapter, ModelCard
from assistant.engine import base as engines
from assistant.engine import hf
from assistant.engine.base import Base
from finetuning.training import plan as plans
from finetuning.training import rows as row_files
from finetuning.training import runs, sft, trial
from finetuning.training.callbacks import Keeper, Reporter, Validator, board
from finetuning.training.network import with_adapter
from finetuning.training.plan import TrainingPlan
from finetuning.training.rows import Encoded, Row
from finetuning.training.runs import Run

Say = Callable[[Event], None]
Stop = Callable[[], bool]
# Prompts on which the engines are compared.
TRIAL_PROMPTS = 8
START = "start.json"


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


def train(paths: Paths, settings: Settings, run: Run, say: Say, stop: Stop) -> bool:
    """Train a run to the end and write its version; False when it was asked to stop on the way (it can be resumed)."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    work = load(paths, settings, run, say, stop)
    outcome = None if stop() else _train(work)
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
    gc.collect()
    _finish(work, outcome, _prove(work))
    return True


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
    return Outcome(
        steps=trainer.steps,
        tokens=sum(len(work.rows.rows[row].ids) for row in done),
        trained_tokens=sum(work.rows.rows[row].trained for row in done),
        seconds=round(history[-1]["seconds"], 1),
        first_loss=losses[0],
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
        validation_before=start["validation_loss"],
        validation_after=after,
        peak_mb=reporter.peak_mb,
    )


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


def _prove(work: Work) -> list[trial.Trial]:
    """Try the version on every engine it has to run on."""
    adapter = Adapter(f"{work.plan.model}/{work.run.version}", work.version)
    source = work.plan.validation or work.plan.train
    prompts = row_files.prompts(work.paths.datasets / source.path, work.chat, work.plan.model, TRIAL_PROMPTS)
    longest = work.settings.chat.context_tokens - trial.ANSWER.max_tokens
    prompts = [prompt[-longest:] for prompt in prompts]
    trials = []
    for name in trial.engines_to_try(work.settings, work.base, (work.version / "adapter.gguf").is_file()):
        work.say(Step(f"Trying the new version on the {name} engine"))
        trials.append(trial.attempt(name, work.base, work.settings, work.paths, adapter, prompts))
        work.say(Checked(f"answers on {name}", True, f"“{' '.join(trials[-1].said.split())}”"))
    return trials


def _finish(work: Work, outcome: Outcome, trials: list[trial.Trial]) -> None:
    """Write the report, then the card, then make it live when that was asked for, then let the checkpoints go."""
    store, plan, version = Store(work.paths), work.plan, work.run.version
    report = _report(work, outcome, trials)
    files.write_json(work.version / "report.json", report)
    figures = {
        key: report[key]
        for key in ("validation_loss_before", "validation_loss_after", "tokens_per_second", "first_token_agreement", "memory_mb")
    }
    store.finish(
        ModelCard(
            model=plan.model,
            version=version,
            run=work.run.run,
            method=plan.method,
            base=plan.base,
            base_sha256=plan.base_sha256,
            dataset=plan.dataset,
            dataset_sha256=plan.train.sha256,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            steps=outcome.steps,
            trained_tokens=outcome.trained_tokens,
            seconds=outcome.seconds,
            final_loss=round(outcome.final_loss, 4),
            adapter_bytes=(work.version / "adapter_model.safetensors").stat().st_size,
            engines=tuple(item.engine for item in trials),
            system=row_files.system(work.paths.datasets / plan.train.path, plan.model),
            figures=figures,
        )
    )
    work.say(Report(f"{plan.model} {version} is trained", report, (_table(report), Lines("", (f"It lies in {work.version}",)))))
    if work.run.promote:
        before = store.make_live(plan.model, version)
        work.say(Switched(plan.model, version, before.version))
    shutil.rmtree(work.kept, ignore_errors=True)


def _report(work: Work, outcome: Outcome, trials: list[trial.Trial]) -> dict[str, Any]:
    shared = trial.agreement(trials)
    return {
        "run": work.run.run,
        "model": work.plan.model,
        "version": work.run.version,
        "plan": work.plan.hash,
        "preset": work.plan.preset,
        "steps": outcome.steps,
        "rows": len(work.rows.rows),
        "tokens": outcome.tokens,
        "trained_tokens": outcome.trained_tokens,
        "seconds": outcome.seconds,
        "tokens_per_second": round(outcome.tokens / outcome.seconds, 1) if outcome.seconds else None,
        "memory_mb": outcome.peak_mb,
        "loss_first": round(outcome.first_loss, 4),
        "loss_last": round(outcome.final_loss, 4),
        "validation_rows": len(work.judged),
        "validation_loss_before": _rounded(outcome.validation_before),
        "validation_loss_after": _rounded(outcome.validation_after),
        "first_token_agreement": shared,
        "trials": [{"engine": item.engine, "said": item.said, "effect": round(item.effect, 4)} for item in trials],
        "torch": torch.__version__,
    }


def _table(report: dict[str, Any]) -> Table:
    before, after = report["validation_loss_before"], report["validation_loss_after"]
    lines = [
        ("steps", f"{report['steps']:,}"),
        ("time", f"{report['seconds']:,.0f} s, {report['tokens_per_second'] or 0:,.0f} tokens/s"),
        ("memory", f"{report['memory_mb']:,} MB at most"),
        ("loss", f"{report['loss_first']:.3f} → {report['loss_last']:.3f}"),
        ("validation loss", f"{before:.3f} (base) → {after:.3f}" if before is not None and after is not None else "no validation rows"),
        ("engines", ", ".join(item["engine"] for item in report["trials"])),
    ]
    if report["first_token_agreement"] is not None:
        lines.append(("same first word", f"{report['first_token_agreement']:.0%} of {TRIAL_PROMPTS} prompts on both engines"))
    return Table(("figure", "value"), tuple(lines))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _step(kept: Path) -> int:
    latest = next(iter(sft.checkpoints(kept)), None)
    return int(latest.name.rpartition("-")[2]) if latest else 0
