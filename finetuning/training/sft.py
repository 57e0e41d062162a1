"""trl's SFTTrainer, made fast on a CPU: answers only, no needless padding."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import transformers
from trl import SFTConfig, SFTTrainer

from assistant.core.events import Event, Step
from finetuning.training import hardware, network, order, packing, whitened
from finetuning.training.memory import BELOW_BYTES
from finetuning.training.network import IGNORED
from finetuning.training.plan import TrainingPlan
from finetuning.training.retreat import InParts
from finetuning.training.rows import Row, shared_prefix
from finetuning.training.trainer import RunTrainer, arguments

# Rows that whitening is measured on, some 15,000 tokens; the trials in docs/LOG.md had 88 and 193 rows.
WHITENING_ROWS = 128


class AnswerTrainer(InParts, RunTrainer, SFTTrainer):
    """Trains an adapter on rows that are already token ids."""

    # The loss is divided by the trained tokens of all batches of a step, so it needs no further scaling.
    loss_is_scaled_for_ga = True

    def configured(self, plan: TrainingPlan, folder: Path) -> SFTConfig:
        """What trl is told."""
        liger = plan.recipe.liger and not hardware.liger_missing()
        return SFTConfig(**arguments(plan, folder, self.steps), use_liger_kernel=liger, dataset_kwargs={"skip_prepare_dataset": True})

    def sample(self, row: Row) -> dict[str, list[int]]:
        """A row as trl has them."""
        return {"input_ids": list(row.ids), "labels": list(row.ids)}

    def ready(self, folder: Path, say: Callable[[Event], None]) -> None:
        """Put the fast pass in place."""
        self.model_accepts_loss_kwargs = True
        divided = self.is_fsdp_enabled or self.is_deepspeed_enabled
        prefix = self.rows[0].ids[: shared_prefix(self.rows)]
        self.shared = len(prefix)
        # What is seen once need not be kept.
        room = BELOW_BYTES if self.recipe.epochs > 1 else 0
        network.prepare(self.model, prefix, self.recipe.neftune_alpha, divided, room)
        self.prepare_parts(self.recipe, folder, say)
        if self.recipe.whitens and not divided:
            say(Step("Measuring what the adapted layers read of general text"))
            self._whiten()

    def _whiten(self) -> None:
        """On the rows that are replayed, and on what is learned where these are few. The adapter is as it begins, also of a resumed run."""
        learned = len(self.rows) - self.replayed
        sample = [*self.rows[learned:], *self.rows[:learned]][:WHITENING_ROWS]

        def feed(row: Row) -> None:
            self.compute_loss(self.model, self._prepare_inputs(self.collate([row])))

        # A run that is asked to stop here trains nothing with what was measured.
        whitening = whitened.measured(self.model, feed, takewhile(lambda row: not self.stop(), sample))
        chosen = {id(one) for one, _ in whitening}
        others = [one for one in self.model.parameters() if one.requires_grad and id(one) not in chosen]
        options = {"lr": self.args.learning_rate, "weight_decay": self.args.weight_decay, "fused": True}
        self.optimizer = whitened.WhitenedAdamW(whitening, others, self.trained, **options)

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Rows as tensors, as wide as the longest of them; packed ones one after the other."""
        # Where a batch has fewer rows than there are processes, this one goes through the step with a row that counts nothing.
        rows = rows or [replace(self.rows[0], prompt=len(self.rows[0].ids))]
        if self.packed:
            return self._joined(rows)
        width = order.width(max(len(row.ids) for row in rows), self.shared)
        pad = self.processing_class.pad_token_id or 0
        ids = torch.full((len(rows), width), pad)
        labels = torch.full((len(rows), width), IGNORED)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            length = len(row.ids)
            ids[place, :length] = torch.tensor(row.ids)
            labels[place, row.prompt : length] = ids[place, row.prompt : length]
            mask[place, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "keys": torch.tensor([hash(row.ids) for row in rows])}

    def _joined(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Packed rows: each begins at position 0, which keeps its attention to itself; the mask of padding is not needed."""
        sequences = packing.joined([len(row.ids) for row in rows], self.packed)
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

    def weight(self, rows: Sequence[Row]) -> int:
        """What the mean loss of these rows stands for: their trained tokens."""
        return sum(row.trained for row in rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand the figures to the callbacks; trl's own are not computed."""
        transformers.Trainer.log(self, {**logs, **self.spent()}, start_time)
