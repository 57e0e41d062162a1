"""What the trainers of rows and of preference pairs share: one fixed order of batches, whole checkpoints, seconds of all attempts."""

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, TrainerCallback

from assistant.core import files
from assistant.core.events import Event
from datasets import Dataset
from finetuning.training import packing, processes
from finetuning.training.order import batches
from finetuning.training.plan import TrainingPlan
from finetuning.training.rows import Row

# Rows of a validation batch, and tokens: long rows come few at a time, so that judging never takes more memory than training.
VALIDATION_BATCH, VALIDATION_TOKENS = 16, 4096


class RunTrainer:
    """Comes before one of trl's trainers. Every batch of the run is known before the first one.

    What comes after it says how trl is told (``configured``), what a row is for it (``sample``, ``collate``), how much the mean loss of
    some rows stands for (``weight``), and puts its own pass in place (``ready``).
    """

    validation_batch = VALIDATION_BATCH

    def __init__(
        self,
        model: Any,
        plan: TrainingPlan,
        rows: Sequence[Row],
        tokenizer: Any,
        folder: Path,
        callbacks: list[TrainerCallback],
        say: Callable[[Event], None] = lambda event: None,
        replayed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        trainer: Any = self
        recipe = plan.recipe
        # The last ``replayed`` rows are not what is learned but what must not be forgotten.
        self.rows, self.recipe, self.replayed, self.stop = rows, recipe, replayed, stop
        self.trained = bool(plan.begins_with)
        self.packed = recipe.max_length if recipe.packing else 0
        lengths, most = [row.tokens for row in rows], recipe.max_steps * recipe.accumulation
        if self.packed:
            self.batches = packing.batches(lengths, self.packed, recipe.batch_size, recipe.epochs, plan.seed, most)
        else:
            self.batches = batches(lengths, recipe.batch_size, recipe.epochs, plan.seed, most)
        self.steps = -(-len(self.batches) // recipe.accumulation)
        self._folder = folder
        self._began, self._worked, self._earlier = 0.0, 0.0, 0
        super().__init__(
            model=model,
            args=trainer.configured(plan, folder),
            # It asks for a dataset at its start; the rows come from `get_train_dataloader`.
            train_dataset=Dataset.from_list([trainer.sample(rows[0])]),
            processing_class=tokenizer,
            data_collator=trainer.collate,
            callbacks=callbacks,
        )
        # What reports progress elsewhere, or prints it, is replaced by the run's own events.
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.remove_callback(transformers.ProgressCallback)
        for parameter in trainer.model.parameters():
            # trl rounds the adapter over a quantised base to half precision, in which small steps are lost.
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        trainer.ready(folder, say)

    def get_train_dataloader(self) -> Any:
        """All batches of the run as one pass, so that a resumed run skips exactly what is done. Of several processes each gets its rows."""
        trainer: Any = self
        if processes.count() == 1:
            return trainer.accelerator.prepare(DataLoader(list(self.rows), batch_sampler=self.batches, collate_fn=trainer.collate))
        own = [processes.share(batch) for batch in self.batches]
        return DataLoader(list(self.rows), batch_sampler=own, collate_fn=trainer.collate)

    def spent(self) -> dict[str, float]:
        """The seconds passed, and those of the processor, of all attempts."""
        trainer: Any = self
        earlier = trainer.state.log_history[self._earlier - 1] if self._earlier else {}
        now = {"seconds": time.perf_counter() - self._began, "cpu_seconds": time.process_time() - self._worked}
        return {name: earlier.get(name, 0.0) + value for name, value in now.items()}

    def train(self, resume_from_checkpoint: Any = None, **more: Any) -> Any:
        """Train; from a checkpoint on when one is given."""
        self._began, self._worked = time.perf_counter(), time.process_time()
        if resume_from_checkpoint:
            self._earlier = len(files.read_json(Path(resume_from_checkpoint) / "trainer_state.json")["log_history"])
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)  # type: ignore[misc]

    def end_at(self, step: int) -> None:
        """Let the run be over after ``step``, which its checkpoint has reached."""
        trainer: Any = self
        self.batches = self.batches[: step * trainer.args.gradient_accumulation_steps]
        self.steps = trainer.args.max_steps = step

    def validation_loss(self, rows: Sequence[Row], stop: Callable[[], bool] = lambda: False) -> float | None:
        """The mean loss over ``rows``, each batch weighing what `weight` says; None when it was stopped."""
        trainer: Any = self
        model, was_training = trainer.model, trainer.model.training
        model.eval()
        total, weight = 0.0, 0
        ordered = sorted(rows, key=lambda row: row.tokens)
        try:
            with torch.no_grad(), trainer.compute_loss_context_manager():
                while ordered:
                    if stop():
                        return None
                    part = ordered[: self.validation_batch]
                    part = part[: max(1, VALIDATION_TOKENS // part[-1].tokens)]
                    ordered = ordered[len(part) :]
                    loss = float(trainer.compute_loss(model, trainer._prepare_inputs(trainer.collate(part))))
                    count = trainer.weight(part)
                    total, weight = total + loss * count, weight + count
        finally:
            model.train(was_training)
        return total / weight

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        trainer: Any = self
        if processes.is_first():
            save(trainer.model, output_dir or trainer.args.output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # peft refuses to load a trained prompt for further training.
        if self.recipe.method != "prompt_tuning":
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        trainer: Any = self
        set_peft_model_state_dict(trainer.model, load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors"))

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._folder / ".part")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint beside the last one, give it its name when it is whole, and only then remove the older ones."""
        staging = Path(self._get_output_dir(trial))
        if processes.is_first():
            shutil.rmtree(staging, ignore_errors=True)
        processes.wait()
        transformers.Trainer._save_checkpoint(self, model, trial)
        processes.wait()
        if processes.is_first():
            self._keep(staging)
        processes.wait()

    def _keep(self, staging: Path) -> None:
        trainer: Any = self
        name = f"checkpoint-{trainer.state.global_step}"
        # Divided weights lie in folders of their own.
        for path in filter(Path.is_file, (staging / name).rglob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        shutil.rmtree(self._folder / name, ignore_errors=True)
        os.replace(staging / name, self._folder / name)
        for older in checkpoints(self._folder):
            if older.name != name:
                shutil.rmtree(older, ignore_errors=True)


def save(model: Any, folder: str | Path, state: Any = None) -> None:
    """Write the trained adapter, or the whole network; a frozen copy that preferences are measured against is not written."""
    adapters = {"selected_adapters": ["default"]} if hasattr(model, "peft_config") else {}
    model.save_pretrained(str(folder), state_dict=state, **adapters)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, the latest first."""
    found = [
        path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit() and (path / "trainer_state.json").is_file()
    ]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def validation_rows(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """A fixed choice of rows to judge on."""
    return list(rows) if len(rows) <= count else random.Random(f"{seed}/validation").sample(list(rows), count)


def tokenizer(base: Any, chat: Any, paths: Any) -> PreTrainedTokenizerFast:
    """A transformers tokenizer for the trainer, which wants one; the rows were encoded by the chat format before."""
    if base.tokenizer_json is None:
        return chat.tokenizer
    end = chat.tokenizer.id_to_token(chat.end_id)
    return PreTrainedTokenizerFast(tokenizer_file=str(base.tokenizer_json), eos_token=end, pad_token=end)


def arguments(plan: TrainingPlan, folder: Path, steps: int) -> dict[str, Any]:
    """What transformers' trainer is told, for every kind of training."""
    recipe = plan.recipe
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulation,
        "max_steps": steps,
        "num_train_epochs": 1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule if recipe.schedule != "constant" or not recipe.warmup_share else "constant_with_warmup",
        "warmup_steps": int(steps * recipe.warmup_share),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "optim": "adamw_torch_fused",
        "max_length": None,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "bf16": True,
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
