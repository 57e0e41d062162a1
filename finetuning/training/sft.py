"""trl's SFTTrainer, made fast on a CPU: answers only, no needless padding, whole checkpoints, one fixed order of batches."""

import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

from assistant.core import files
from assistant.core.events import Event
from datasets import Dataset
from finetuning.training import hardware, network, packing, processes
from finetuning.training.network import IGNORED
from finetuning.training.order import batches
from finetuning.training.plan import TrainingPlan
from finetuning.training.retreat import InParts
from finetuning.training.rows import Row, shared_prefix

# Rows of a validation batch, and tokens: long rows come few at a time, so that judging never takes more memory than training.
VALIDATION_BATCH, VALIDATION_TOKENS = 16, 4096


class AnswerTrainer(InParts, SFTTrainer):
    """Trains an adapter on rows that are already token ids. Every batch of the run is known before the first one."""

    # The loss is divided by the trained tokens of all batches of a step, so it needs no further scaling.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        plan: TrainingPlan,
        rows: Sequence[Row],
        tokenizer: Any,
        folder: Path,
        callbacks: list[TrainerCallback],
        say: Callable[[Event], None] = lambda event: None,
    ) -> None:
        recipe = plan.recipe
        self.rows = rows
        self._packed = recipe.max_length if recipe.packing else 0
        lengths, most = [len(row.ids) for row in rows], recipe.max_steps * recipe.accumulation
        if self._packed:
            self.batches = packing.batches(lengths, self._packed, recipe.batch_size, recipe.epochs, plan.seed, most)
        else:
            self.batches = batches(lengths, recipe.batch_size, recipe.epochs, plan.seed, most)
        self.steps = -(-len(self.batches) // recipe.accumulation)
        self._folder = folder
        self._began, self._worked, self._earlier = 0.0, 0.0, 0
        # The trainer asks for a dataset at its start; the rows come from `get_train_dataloader`.
        sample = Dataset.from_dict({"input_ids": [list(rows[0].ids)], "labels": [list(rows[0].ids)]})
        super().__init__(
            model=model,
            args=_arguments(plan, folder, self.steps),
            train_dataset=sample,
            processing_class=tokenizer,
            data_collator=self.collate,
            callbacks=callbacks,
        )
        # What reports progress elsewhere, or prints it, is replaced by the run's own events.
        self.remove_callback(transformers.PrinterCallback)
        self.remove_callback(transformers.ProgressCallback)
        self.model_accepts_loss_kwargs = True
        for parameter in self.model.parameters():
            # trl rounds the adapter over a quantised base to half precision, in which small steps are lost.
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        # A network that is divided among processes is run once a step.
        self.prefix = 0 if self.is_fsdp_enabled or self.is_deepspeed_enabled else shared_prefix(rows)
        network.prepare(self.model, self.prefix, recipe.neftune_alpha)
        self.prepare_parts(recipe, folder, say)

    def get_train_dataloader(self) -> Any:
        """All batches of the run as one pass, so that a resumed run skips exactly what is done. Of several processes each gets its rows."""
        if processes.count() == 1:
            return self.accelerator.prepare(DataLoader(list(self.rows), batch_sampler=self.batches, collate_fn=self.collate))
        own = [processes.share(batch) for batch in self.batches]
        return DataLoader(list(self.rows), batch_sampler=own, collate_fn=self.collate)

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Rows as tensors, as wide as the longest of them; packed ones one after the other."""
        # Where a batch has fewer rows than there are processes, this one goes through the step with a row that counts nothing.
        rows = rows or [replace(self.rows[0], prompt=len(self.rows[0].ids))]
        if self._packed:
            return self._joined(rows)
        width = max(len(row.ids) for row in rows)
        pad = self.processing_class.pad_token_id or 0
        ids = torch.full((len(rows), width), pad)
        labels = torch.full((len(rows), width), IGNORED)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            length = len(row.ids)
            ids[place, :length] = torch.tensor(row.ids)
            labels[place, row.prompt : length] = ids[place, row.prompt : length]
            mask[place, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def _joined(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Packed rows: each begins at position 0, which keeps its attention to itself; the mask of padding is not needed."""
        sequences = packing.joined([len(row.ids) for row in rows], self._packed)
        width = max(sum(len(rows[place].ids) for place in sequence) for sequence in sequences)
        ids = torch.full((len(sequences), width), self.processing_class.pad_token_id or 0)
        labels = torch.full_like(ids, IGNORED)
        positions = torch.zeros_like(ids)
        for number, sequence in enumerate(sequences):
            start = 0
            for place in sequence:
                row = rows[place]
                end = start + len(row.ids)
                ids[number, start:end] = torch.tensor(row.ids)
                labels[number, start + row.prompt : end] = ids[number, start + row.prompt : end]
                positions[number, start:end] = torch.arange(len(row.ids))
                start = end
        return {"input_ids": ids, "position_ids": positions, "labels": labels}

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The mean loss of the trained tokens."""
        with self.accelerator.autocast():
            output = model(**inputs, num_items_in_batch=num_items_in_batch)
        # Gradients of several processes are averaged, and each loss is divided by the tokens of all.
        loss = output.loss if num_items_in_batch is None else output.loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand the figures to the callbacks, with the seconds (passed, and worked) of all attempts; trl's own are not computed."""
        earlier = self.state.log_history[self._earlier - 1] if self._earlier else {}
        spent = {"seconds": time.perf_counter() - self._began, "cpu_seconds": time.process_time() - self._worked}
        spent = {name: earlier.get(name, 0.0) + value for name, value in spent.items()}
        transformers.Trainer.log(self, {**logs, **spent}, start_time)

    def train(self, resume_from_checkpoint: Any = None, **more: Any) -> Any:
        """Train; from a checkpoint on when one is given."""
        self._began, self._worked = time.perf_counter(), time.process_time()
        if resume_from_checkpoint:
            self._earlier = len(files.read_json(Path(resume_from_checkpoint) / "trainer_state.json")["log_history"])
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)

    def end_at(self, step: int) -> None:
        """Let the run be over after ``step``, which its checkpoint has reached."""
        self.batches = self.batches[: step * self.args.gradient_accumulation_steps]
        self.steps = self.args.max_steps = step

    def validation_loss(self, rows: Sequence[Row], stop: Callable[[], bool] = lambda: False) -> float | None:
        """The mean loss of a trained token over ``rows``, None when it was stopped."""
        model, was_training = self.model, self.model.training
        model.eval()
        total, tokens = 0.0, 0
        ordered = sorted(rows, key=lambda row: len(row.ids))
        try:
            with torch.no_grad():
                while ordered:
                    if stop():
                        return None
                    part = ordered[:VALIDATION_BATCH]
                    part = part[: max(1, VALIDATION_TOKENS // len(part[-1].ids))]
                    ordered = ordered[len(part) :]
                    inputs = self._prepare_inputs(self.collate(part))
                    count = sum(row.trained for row in part)
                    total += float(self.compute_loss(model, inputs)) * count
                    tokens += count
        finally:
            model.train(was_training)
        return total / tokens

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if processes.is_first():
            self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # peft refuses to load a trained prompt for further training.
        if self._recipe.method != "prompt_tuning":
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        set_peft_model_state_dict(self.model, load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors"))

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
        name = f"checkpoint-{self.state.global_step}"
        # Divided weights lie in folders of their own.
        for path in filter(Path.is_file, (staging / name).rglob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        shutil.rmtree(self._folder / name, ignore_errors=True)
        os.replace(staging / name, self._folder / name)
        for older in checkpoints(self._folder):
            if older.name != name:
                shutil.rmtree(older, ignore_errors=True)


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


def _arguments(plan: TrainingPlan, folder: Path, steps: int) -> SFTConfig:
    recipe = plan.recipe
    gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        max_steps=steps,
        num_train_epochs=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule if recipe.schedule != "constant" or not recipe.warmup_share else "constant_with_warmup",
        warmup_steps=int(steps * recipe.warmup_share),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        gradient_checkpointing=recipe.gradient_checkpointing,
        use_liger_kernel=recipe.liger and not hardware.liger_missing(),
        optim="adamw_torch_fused",
        max_length=None,
        seed=plan.seed,
        data_seed=plan.seed,
        bf16=True,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
