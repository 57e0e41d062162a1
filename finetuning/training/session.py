"""One training from its plan to its card: load, train or go on, prove, write the version. Runs in the trainer's own process."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from assistant.core import files
from assistant.core.errors import ModelError, TrainingError
from assistant.core.events import Notice, Step
from assistant.core.paths import Paths
from assistant.core.prompts import ChatFormat
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine import hf
from assistant.engine.base import Base, fits
from assistant.engine.networks import ADAPTER
from finetuning.training import dpo, finish, methods, preferences, processes, replay, sft, trial
from finetuning.training import plan as plans
from finetuning.training import rows as row_files
from finetuning.training import trainer as trainers
from finetuning.training.callbacks import Keeper, Reporter, Validator, board
from finetuning.training.judge import LEAST_GAIN, Validations
from finetuning.training.network import with_adapter
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import LORA
from finetuning.training.retreat import let_go
from finetuning.training.rows import Encoded
from finetuning.training.runs import Run
from finetuning.training.work import Outcome, Say, Stop, Work

START, VALIDATIONS = "start.json", "validations.json"


def train(paths: Paths, settings: Settings, run: Run, say: Say, stop: Stop) -> bool:
    """Train a run to the end and write its version; False when it was asked to stop on the way (it can be resumed)."""
    processes.begin()
    stop = _together(stop)
    work = load(paths, settings, run, say, stop)
    outcome = finish.kept(work)
    learns = outcome is None and not stop()
    if learns:
        outcome = learn(work)
    # What follows the training is the first process's alone.
    processes.end()
    if learns and outcome is not None and processes.is_first():
        let_go()
        outcome = finish.on_the_live_base(work, outcome) if work.plan.recipe.quantised else outcome
        finish.keep(work, outcome)
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
    if not processes.is_first():
        return True
    let_go()
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
    if not fits(base.name, base.sha256, plan.base, plan.base_sha256):
        raise ModelError(f"The base {base.name} is not the one this run was planned with.", f"Start a new training: `train {plan.model}`.")
    chat = hf.chat_format(base, paths)
    encode = preferences.encode if plan.recipe.prefers else row_files.encode
    rows = encode(paths.datasets / plan.train.path, chat, plan.model, plan.recipe.max_length)
    rows, judged = row_files.divided(rows, plan.recipe.share, plan.recipe.set_apart, plan.seed)
    if rows.cut:
        say(Notice(f"{rows.cut} of {len(rows.rows)} rows are longer than {plan.recipe.max_length} tokens; their ends are cut.", "warning"))
    if plan.validation and not judged:
        judged = encode(paths.datasets / plan.validation.path, chat, plan.model, plan.recipe.max_length).rows
    rows = row_files.opened(rows, plan.recipe.openings, plan.seed)
    rows = _with_replay(rows, paths, settings, plan, base, chat, say, stop)
    return Work(
        paths,
        settings,
        run,
        plan,
        base,
        chat,
        rows,
        tuple(trainers.validation_rows(judged, plan.recipe.validation_rows, plan.seed)),
        say,
        stop,
    )


def _with_replay(
    rows: Encoded, paths: Paths, settings: Settings, plan: TrainingPlan, base: Base, chat: ChatFormat, say: Say, stop: Stop
) -> Encoded:
    """The rows and, behind them, those against forgetting."""
    wanted = replay.count(plan.recipe, len(rows.rows))
    if not wanted or stop():
        return rows
    system = row_files.system(paths.datasets / plan.train.path, plan.model)
    if processes.is_first():
        say(Step("The base answers the general prompts that are replayed against forgetting (once a base)"))
        # What all are asked has to be asked by all; here only the first one works.
        replay.rows(paths, settings, base, chat, system, wanted, stop if processes.count() == 1 else lambda: False)
    processes.wait()
    more = tuple(replay.rows(paths, settings, base, chat, system, wanted, stop))
    return replace(rows, rows=rows.rows + more, replayed=len(more))


def learn(work: Work) -> Outcome | None:
    """Train, or go on from the last checkpoint; the adapter lies in the version's folder afterwards. None when it was stopped."""
    plan, kept = work.plan, work.kept
    if processes.is_first():
        kept.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept / ".part", ignore_errors=True)
    processes.wait()
    model = _model(work)
    writer = board(work.paths, work.run, plan.recipe)
    keeper = Keeper(plan.recipe, work.stop)
    trainer: Any = None
    reporter = Reporter(work.say, writer, lambda step: sum(work.rows.rows[row].tokens for row in _rows_of(trainer, plan, step)))
    tokenizer = trainers.tokenizer(work.base, work.chat, work.paths)
    kind = dpo.PreferenceTrainer if plan.recipe.prefers else sft.AnswerTrainer
    trainer = kind(model, plan, work.rows.rows, tokenizer, kept, [reporter, keeper], work.say, work.rows.replayed, work.stop)
    measured = Validations(kept / VALIDATIONS, plan.recipe.patience, _step(kept))
    if measured.points:
        reporter.validation = measured.points[-1].loss
    validator = Validator(
        lambda: trainer.validation_loss(work.judged, work.stop),
        reporter,
        measured,
        lambda step: _keep_best(trainer, work, step),
        plan.recipe.validations if work.judged else 0,
        trainer.steps,
    )
    trainer.add_callback(validator)
    latest = next(iter(trainers.checkpoints(kept)), None)
    start = _start(work, trainer, reporter, measured)
    if work.stop():
        return None
    work.say(Step(f"Going on from step {_step(kept)} of {trainer.steps}" if latest else f"Training {trainer.steps} steps{_on()}"))
    if ended := measured.exhausted():
        # Killed after its early end: nothing more is trained.
        trainer.end_at(_step(kept))
    trainer.train(resume_from_checkpoint=str(latest) if latest else None)
    if trainer.state.global_step < trainer.steps and not validator.ended:
        writer.close()
        return None
    return _trained(work, trainer, reporter, measured, writer, start, ended or validator.ended)


def _model(work: Work) -> Any:
    """The base with what is trained over it: fresh, or the weights of the version that is trained further."""
    plan = work.plan
    base = methods.load(work.base, work.paths, plan.recipe)
    if not plan.begins_with:
        return with_adapter(base, plan.recipe, plan.seed)
    folder = Store(work.paths).version_folder(plan.model, plan.begins_with)
    if preferences.weights(folder) != plan.begins_sha256:
        raise TrainingError(
            f"{plan.model} {plan.begins_with}, with which this run begins, is not there as it was.",
            "Start a new one.",
        )
    base.config.use_cache = False
    return PeftModel.from_pretrained(base, str(folder), is_trainable=True)


def _trained(
    work: Work, trainer: Any, reporter: Reporter, measured: Validations, writer: Any, start: dict[str, Any], ended: bool
) -> Outcome:
    """Write the best weights into the version's folder; what the training gave."""
    step, best = trainer.state.global_step, measured.best()
    if ended:
        after: float | None = measured.points[-1].loss
        work.say(Notice(f"Ended early at step {step}: the validation loss has not fallen in {len(measured.since_best())} measurements."))
    else:
        after = trainer.validation_loss(work.judged) if work.judged else None
        if after is not None:
            reporter.validated(after, step)
    writer.close()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [entry["loss"] for entry in history]
    best_folder = None
    if best is not None and after is not None and best.loss < after - LEAST_GAIN and _best(work, best.step).is_dir():
        best_folder, after = _best(work, best.step), best.loss
        work.say(Notice(f"The version has the weights of step {best.step}, whose validation loss was the lowest ({best.loss:.3f})."))
    _write_weights(trainer, work, best_folder)
    done = [row for batch in trainer.batches[: step * work.plan.recipe.accumulation] for row in batch]
    return Outcome(
        steps=step,
        tokens=sum(work.rows.rows[row].tokens for row in done),
        trained_tokens=sum(work.rows.rows[row].trained for row in done),
        seconds=round(history[-1]["seconds"], 1),
        cpu_seconds=round(history[-1].get("cpu_seconds", 0.0), 1),
        first_loss=losses[0],
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
        validation_before=start["validation_loss"],
        validation_after=after,
        peak_mb=reporter.peak_mb,
        best_step=best.step if best is not None and best_folder else None,
        ended_at=step if ended else None,
    )


def _start(work: Work, trainer: Any, reporter: Reporter, measured: Validations) -> dict[str, Any]:
    """The base's validation loss, measured once a run and kept for a resumed one."""
    path = work.kept / START
    if processes.agree(path.is_file()):
        return files.read_json(path)
    loss = None
    if work.judged:
        first = f"{work.plan.model} {work.plan.begins_with}" if work.plan.begins_with else "the base"
        work.say(Step(f"Measuring {first} on {len(work.judged)} validation rows"))
        with _bare(trainer.model):
            loss = trainer.validation_loss(work.judged, work.stop)
        if loss is not None:
            reporter.validated(loss, 0)
            measured.add(0, loss)
    start = {"validation_loss": loss}
    if not work.stop() and processes.is_first():
        files.write_json(path, start)
    return start


def _rows_of(trainer: Any, plan: TrainingPlan, step: int) -> list[int]:
    size = plan.recipe.accumulation
    return [row for batch in trainer.batches[(step - 1) * size : step * size] for row in batch]


def _best(work: Work, step: int) -> Path:
    return work.kept / f"best-{step}"


def _keep_best(trainer: Any, work: Work, step: int) -> None:
    """Keep the weights as they are now; only when they are whole the older ones go."""
    part, folder = work.kept / ".best", _best(work, step)
    _save_weights(trainer, work, part)
    if not processes.is_first():
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    for older in work.kept.glob("best-*"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)


def _write_weights(trainer: Any, work: Work, best: Path | None) -> None:
    """The weights, or those of the best step, into the version's folder. Every process has to come here."""
    part = work.version / ".part"
    if best is None:
        _save_weights(trainer, work, part)
    if not processes.is_first():
        return
    if best is not None:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(best, part)
    if work.plan.method in LORA:
        _halve(part / ADAPTER)
    for path in part.iterdir():
        path.chmod(0o644)
        os.replace(path, work.version / path.name)
    shutil.rmtree(part, ignore_errors=True)
    trial.write_gguf(work.version, trainer.model.config, work.base)


def _halve(path: Path) -> None:
    """An adapter is trained in 32 bits and used in 16: half the size in both forms (docs/LOG.md). What is proved is what is kept."""
    whole = load_file(path)
    half = {name: tensor.half() for name, tensor in whole.items()}
    if all(bool(tensor.isfinite().all()) for tensor in half.values()):
        save_file(half, path, {"format": "pt"})


def _save_weights(trainer: Any, work: Work, part: Path) -> None:
    """The adapter, or the whole network of the method ``full``. Every process has to come here."""
    divided = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if divided else None
    if not processes.is_first():
        return
    shutil.rmtree(part, ignore_errors=True)
    model = trainer.model
    if work.plan.method == "full":
        state = {name: tensor.to(torch.bfloat16) for name, tensor in (state or model.state_dict()).items()}
        model.config.dtype, model.config.use_cache = torch.bfloat16, True
        hf.save_tokenizer(work.base, work.chat, work.paths, part)
    trainers.save(model, part, state)
    (part / "README.md").unlink(missing_ok=True)


def _bare(model: Any) -> AbstractContextManager[Any]:
    """The base alone. Most fresh adapters change nothing; a fresh prompt does, and DoRA rounds the lengths of the weights."""
    config = model.active_peft_config if isinstance(model, PeftModel) else None
    changes = config is not None and (config.is_prompt_learning or getattr(config, "use_dora", False))
    return model.disable_adapter() if changes else nullcontext()


def _on() -> str:
    return f" on {processes.count()} processes" if processes.count() > 1 else ""


def _together(stop: Stop) -> Stop:
    """Asked by all processes at the same places, the question whether to stop has one answer."""
    return lambda: processes.agree(stop())


def _step(kept: Path) -> int:
    latest = next(iter(trainers.checkpoints(kept)), None)
    return int(latest.name.rpartition("-")[2]) if latest else 0
