"""trl's DPOTrainer on pairs that are token ids already, with the run's batches, checkpoints and figures.

Direct preference optimisation: Rafailov et al. 2023, arXiv 2305.18290. The version that is trained on stays beside it as the
reference, a frozen copy of its adapter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from finetuning.training import network
from finetuning.training.plan import TrainingPlan
from finetuning.training.rows import Row
from finetuning.training.trainer import RunTrainer, arguments

# Batches come in few widths, for each of which oneDNN prepares programs of its own (order.py).
PAIR_WIDTHS = 8
# What trl calls the figures that are shown live, and what they are called here.
SHOWN = {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}


class PreferenceTrainer(RunTrainer, DPOTrainer):
    """Trains an adapter to find each chosen answer likelier, against the rejected one, than its frozen copy does."""

    def configured(self, plan: TrainingPlan, folder: Path) -> DPOConfig:
        """What trl is told."""
        return DPOConfig(**arguments(plan, folder, self.steps), beta=plan.recipe.beta)

    def sample(self, row: Row) -> dict[str, list[int]]:
        """A pair as trl has them."""
        return {"prompt_ids": list(row.ids[: row.prompt]), "chosen_ids": list(row.ids[row.prompt :]), "rejected_ids": list(row.rejected)}

    def ready(self, *_: Any) -> None:
        """Fuse the adapter's layers, and freeze the copy of it."""
        # All logits of a batch lie in memory: judging shall take no more than training.
        self.validation_batch = self.recipe.batch_size
        network.fuse(self.model)
        for name, parameter in self.model.named_parameters():
            if ".ref." in name:
                parameter.requires_grad = False

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Pairs as tensors: the chosen answers, then the rejected ones."""
        return DataCollatorForPreference(self.processing_class.pad_token_id, pad_to_multiple_of=PAIR_WIDTHS)(
            [self.sample(row) for row in rows]
        )

    def weight(self, rows: Sequence[Row]) -> int:
        """What the mean loss of these pairs stands for: as many pairs."""
        return len(rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand the figures to the callbacks, margin and accuracy of the step among them."""
        found = self._metrics["train"]
        shown = {name: sum(found[key]) / len(found[key]) for key, name in SHOWN.items() if found.get(key)}
        for metrics in self._metrics.values():
            metrics.clear()
        transformers.Trainer.log(self, {**logs, **shown, **self.spent()}, start_time)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        # The pairs are token ids, by the chat format that answers.
        return dataset
