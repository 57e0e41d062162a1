"""`train reward`: a scalar head and an adapter over the base, fitted with trl's RewardTrainer on pairs that are made honestly.

The loss is that of Bradley and Terry (Ouyang et al. 2022, arXiv 2203.02155, 3.5); rewards are kept near 0 (Eisenstein et al. 2023,
arXiv 2312.09244).
"""

import queue
import shutil
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, TaskType, get_peft_model
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Checked, Event, Notice, Progress, Report, Step, Switched, Table
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.core.values import ModelCard, Sampling
from assistant.engine import base as engines
from assistant.engine.base import Base
from datasets import Dataset
from finetuning.synthetic import pairs as pairing
from finetuning.synthetic.pairs import Pair
from finetuning.synthetic.rewards import LEAST_ACCURACY, MODEL
from finetuning.training import network, ordering, scorer, trainer

TRAINED, HELD = 480, 160
# So many questions are put to the base, whose wrong answers become pairs.
ASKED_SHARE = 0.2
ANSWER = Sampling(max_tokens=96)
CHUNK = 16


@dataclass(frozen=True, slots=True)
class _Recipe:
    epochs: float = 2.0
    max_steps: int = 0
    batch_size: int = 8
    learning_rate: float = 5e-4
    lora_r: int = 16


def train(context: Context, promote: bool, seed: int | None = None, **changes: Any) -> Iterator[Event]:
    """Make pairs, fit, judge on held-out pairs, and make it the reward model that scores when it is right often enough."""
    recipe, seed = _recipe(changes), 42 if seed is None else seed
    paths, store = context.paths, Store(context.paths)
    own = configuration.load(paths)
    base = engines.base_of(own, paths)
    trained, held = yield from _pairs(paths, own, base, seed)
    version = store.reserve(MODEL, {"model": MODEL, "method": "reward", "base": base.name, "base_sha256": base.sha256, "seed": seed})
    folder, started = store.version_folder(MODEL, version), time.perf_counter()
    try:
        found = yield from _fitted(paths, base, folder, trained, held, recipe, seed)
        document = {"model": MODEL, "version": version, "base": base.name, "pairs": len(trained), **found}
        files.write_json(folder / "report.json", document)
        store.finish(_card(base, version, folder, found, time.perf_counter() - started))
    finally:
        if version not in store.versions(MODEL):
            shutil.rmtree(folder, ignore_errors=True)
    yield _report(document)
    good = found["accuracy"] >= LEAST_ACCURACY
    yield Checked(
        "held-out pairs in the right order", good, f"{found['accuracy']:.1%} of {found['held_out']}; {LEAST_ACCURACY:.0%} are needed"
    )
    if good or promote:
        yield Switched(MODEL, version, store.make_live(MODEL, version).version)
    else:
        yield Notice(f"{MODEL} {version} is held; `synthesize --stage preference --force` uses it all the same.", "warning")


def load(base: Base, paths: Paths, folder: Path, name: str) -> scorer.Scorer:
    """A version, loaded to score."""
    return scorer.trained(base, paths, scorer.chat_of(base, paths), folder, name)


def _recipe(changes: dict[str, Any]) -> _Recipe:
    names = {name: value for name, value in changes.items() if value not in (None, False, [], ())}
    unknown = sorted(set(names) - set(_Recipe.__dataclass_fields__))
    if unknown:
        raise UsageError(
            f"--{unknown[0]} has no meaning for the reward model.", f"It takes {', '.join(_Recipe.__dataclass_fields__)} and seed."
        )
    return _Recipe(**names)


def _pairs(paths: Paths, own: Any, base: Base, seed: int) -> Generator[Event, None, tuple[list[Pair], list[Pair]]]:
    """The pairs that are trained, and those that judge: of other questions."""
    found = []
    for name, wanted in (("train", TRAINED), ("validation", HELD)):
        path = paths.processed / f"unified_{name}.jsonl"
        if not path.is_file():
            raise DataError(f"{path} does not exist.", "Write the training files first: `generate`.")
        rows = pairing.one_a_question(path, seed)
        asked = int(min(wanted, len(rows)) * ASKED_SHARE)
        yield Step(f"Making pairs of {path.name}; the base answers {asked} questions itself")
        answers = yield from _answers(paths, own, base, rows[:asked])
        made = list(pairing.own(rows[:asked], answers))
        made += pairing.curated(rows[asked:], wanted - len(made), seed)
        found.append(made)
    picks = pairing.picked(paths)
    # Every fifth pick judges.
    found[0] += [pair for place, pair in enumerate(picks) if place % 5 != 4]
    found[1] += picks[4::5]
    if len(found[0]) < 2 or not found[1]:
        raise DataError("There are too few rows to make pairs of.", "Write the training files of all categories: `generate`.")
    return found[0], found[1]


def _answers(paths: Paths, own: Any, base: Base, rows: Sequence[dict[str, Any]]) -> Generator[Event, None, list[str]]:
    engine = engines.make("hf", base, own, paths)
    said: list[str] = []
    try:
        prompts = [engine.format.encode(pairing.prompt_of(row)) for row in rows]
        for start in range(0, len(prompts), CHUNK):
            part = engine.batch(prompts[start : start + CHUNK], None, ANSWER, scored=False)
            said += [answer.text for answer in part]
            yield Progress(len(said), len(prompts), "answers")
    finally:
        engine.release()
    return said


def _fitted(
    paths: Paths, base: Base, folder: Path, trained: list[Pair], held: list[Pair], recipe: _Recipe, seed: int
) -> Generator[Event, None, dict[str, Any]]:
    """Fit the network, write it, and judge it."""
    yield Step(f"Fitting a reward model on {len(trained)} pairs over {base.name}")
    torch.manual_seed(seed)
    chat, plain = scorer.chat_of(base, paths), scorer.network(base, paths)
    pad = scorer.padding(chat)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=recipe.lora_r, lora_alpha=recipe.lora_r, target_modules="all-linear", modules_to_save=["score"]
    )
    model = get_peft_model(plain, config)
    network.fuse(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    tokenizer = trainer.tokenizer(base, chat, paths)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    rows = {
        "chosen_ids": [scorer.encoded(chat, pair.prompt, pair.chosen) for pair in trained],
        "rejected_ids": [scorer.encoded(chat, pair.prompt, pair.rejected) for pair in trained],
    }
    losses = yield from _steps(model, tokenizer, Dataset.from_dict(rows), folder, recipe, seed)
    shutil.rmtree(folder / ".trainer", ignore_errors=True)
    model.save_pretrained(str(folder))
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / "README.md").unlink(missing_ok=True)
    judge = scorer.of_network(MODEL, model, chat, pad)
    yield Step(f"Judging it on {len(held)} pairs of other questions")
    found = yield from ordering.judged(judge, held)
    return {"held_out": len(held), "loss_first": losses[0], "loss_last": losses[-1], "steps": len(losses), **found}


class _Told(TrainerCallback):
    """Puts every step's figures into a queue, and ends the training after its step when it was asked to."""

    def __init__(self, told: "queue.Queue[dict[str, float] | Exception | None]", stop: threading.Event) -> None:
        self.told, self.stop = told, stop

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The figures of one step."""
        if logs and "loss" in logs:
            self.told.put({**logs, "step": state.global_step, "steps": state.max_steps})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Whether to end."""
        if self.stop.is_set():
            control.should_training_stop = True


def _steps(model: Any, tokenizer: Any, rows: Any, folder: Path, recipe: _Recipe, seed: int) -> Generator[Event, None, list[float]]:
    """Train on a thread of its own, so that its figures are shown as they come; returns the loss of each step."""
    told: queue.Queue[dict[str, float] | Exception | None] = queue.Queue()
    stop = threading.Event()
    fitter = RewardTrainer(
        model, _arguments(folder, recipe, seed), train_dataset=rows, processing_class=tokenizer, callbacks=[_Told(told, stop)]
    )
    fitter.remove_callback(transformers.PrinterCallback)
    fitter.remove_callback(transformers.ProgressCallback)

    def work() -> None:
        try:
            fitter.train()
            told.put(None)
        except Exception as error:  # noqa: BLE001 - crosses the thread's end: raised again by whoever reads
            told.put(error)

    thread, losses, began = threading.Thread(target=work, daemon=True), [], time.perf_counter()
    thread.start()
    try:
        while (said := told.get()) is not None:
            if isinstance(said, Exception):
                raise said
            losses.append(round(float(said["loss"]), 4))
            done, total = int(said["step"]), int(said["steps"])
            figures = {name: round(float(said[name]), 3) for name in ("loss", "accuracy", "margin") if name in said}
            yield Progress(done, total, "steps", dict(figures), (time.perf_counter() - began) / done * (total - done))
    finally:
        stop.set()
        thread.join()
    return losses


def _arguments(folder: Path, recipe: _Recipe, seed: int) -> RewardConfig:
    gpu = torch.cuda.is_available()
    return RewardConfig(
        output_dir=str(folder / ".trainer"),
        per_device_train_batch_size=recipe.batch_size,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        center_rewards_coefficient=0.01,
        max_length=None,
        # Few widths: oneDNN prepares programs for each (order.py).
        pad_to_multiple_of=16,
        seed=seed,
        data_seed=seed,
        bf16=True,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _card(base: Base, version: str, folder: Path, found: dict[str, Any], seconds: float) -> ModelCard:
    return ModelCard(
        model=MODEL,
        version=version,
        run="",
        method="reward",
        base=base.name,
        base_sha256=base.sha256,
        dataset="processed_english",
        dataset_sha256="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=found["steps"],
        trained_tokens=0,
        seconds=round(seconds, 1),
        final_loss=found["loss_last"],
        adapter_bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        engines=("hf",),
        figures={"accuracy": round(found["accuracy"], 4), "held_out": found["held_out"]},
    )


def _report(document: dict[str, Any]) -> Report:
    rows = tuple((kind, str(one["pairs"]), f"{one['accuracy']:.1%}") for kind, one in document["by_kind"].items())
    title = f"{MODEL} {document['version']}: {document['accuracy']:.1%} of {document['held_out']} held-out pairs in the right order"
    return Report(title, document, (Table(("rejected because", "pairs", "right"), rows),))
