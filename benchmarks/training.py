"""Measure training: PZ2's trainer beside trl's SFTTrainer on the same rows in one run.

    python benchmarks/training.py [--root DIR] [--model unified|qna|technical] [--steps 12] [--rounds 2] [--json]

The baseline is trl as it comes (bf16 base, its own collator, order and loss) with gradient checkpointing off and the same adapter,
batch size, learning rate and number of steps. Both train the same batches' worth of rows from the same start; the rounds alternate,
because machines are noisy: read the ratio. Needs the training packages and a generated dataset.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("PYTHONWARNINGS", "ignore")
PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import spinning  # noqa: E402

os.environ.update(spinning.shortly(os.environ))

import torch  # noqa: E402
from transformers import PrinterCallback, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.engine import hf  # noqa: E402
from datasets import Dataset, disable_progress_bars  # noqa: E402
from finetuning.training import plan as plans  # noqa: E402
from finetuning.training import rows as row_files  # noqa: E402
from finetuning.training import sft  # noqa: E402
from finetuning.training import trainer as trainers  # noqa: E402
from finetuning.training.network import IGNORED, with_adapter  # noqa: E402
from finetuning.training.recipe import recipe  # noqa: E402
from finetuning.training.rows import Row  # noqa: E402

# The first steps allocate memory and choose kernels; they are not timed.
WARM_UP = 2
# Rows that neither trains; the loss on them says whether both learn the same.
HELD_OUT = 32


class Clock(TrainerCallback):
    """Notes when each step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.worked: list[float] = []
        self.losses: list[float] = []
        self.tokens: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time, and the processor's."""
        self.ends.append(time.perf_counter())
        self.worked.append(time.process_time())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Note the loss."""
        if "loss" in (logs or {}):
            self.losses.append(logs["loss"])  # type: ignore[index]
            self.tokens.append(logs.get("num_tokens", 0.0))  # type: ignore[union-attr]


def main() -> None:
    """Measure both and print the result."""
    given = _arguments()
    disable_progress_bars()
    paths = places.resolve(given.root)
    settings = configuration.load(paths)
    base = engines.base_of(settings, paths)
    chat = hf.chat_format(base, paths)
    changes = {"batch_size": 8, "max_steps": given.steps, "warmup_share": 0.0, "schedule": "constant"}
    chosen = recipe(paths, "balanced", plans.scale(plans.parameters(base)), changes)
    data = plans.dataset(paths, given.model)
    plan = plans.sealed(
        plans.TrainingPlan(
            given.model, base.name, settings.base, base.sha256, plans.parameters(base), *data, "balanced", chosen, plans.SEED
        )
    )
    everything = row_files.encode(paths.datasets / data[1].path, chat, given.model, chosen.max_length).rows
    # Exactly the rows that these steps hold, so that both see each row once.
    drawn = random.Random(plan.seed).sample(list(everything), chosen.batch_size * given.steps + HELD_OUT)
    rows, held_out = drawn[HELD_OUT:], drawn[:HELD_OUT]
    tokenizer = trainers.tokenizer(base, chat, paths)
    measured: dict[str, list[dict[str, float]]] = {"trl": [], "pz2": []}
    for number in range(given.rounds):
        for name in ("trl", "pz2") if number % 2 == 0 else ("pz2", "trl"):
            with tempfile.TemporaryDirectory() as folder:
                model = with_adapter(hf.load_base(base, paths), chosen, plan.seed)
                make = _ours if name == "pz2" else _theirs
                measured[name].append(_measure(make(model, plan, rows, tokenizer, Path(folder)), rows, given.steps, held_out))
                if not given.json:
                    shown = measured[name][-1]
                    print(f"{name}: {shown['tokens_per_second']:.0f} tokens/s, held-out loss {shown['loss']:.3f}", flush=True)
    _print(_result(measured, rows, given), given.json)


def _ours(model: Any, plan: plans.TrainingPlan, rows: list[Row], tokenizer: Any, folder: Path) -> Any:
    return sft.AnswerTrainer(model, plan, rows, tokenizer, folder, [])


def _theirs(model: Any, plan: plans.TrainingPlan, rows: list[Row], tokenizer: Any, folder: Path) -> Any:
    data = [{"input_ids": list(row.ids), "labels": [IGNORED] * row.prompt + list(row.ids[row.prompt :])} for row in rows]
    arguments = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=plan.recipe.batch_size,
        learning_rate=plan.recipe.learning_rate,
        lr_scheduler_type=plan.recipe.schedule,
        max_steps=plan.recipe.max_steps,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=plan.seed,
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(data), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _measure(trainer: Any, rows: list[Row], steps: int, held_out: list[Row]) -> dict[str, float]:
    """Tokens of the rows a second, padding not counted, from the end of the warm-up to the last step."""
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    seconds = clock.ends[-1] - clock.ends[WARM_UP - 1]
    if isinstance(trainer, sft.AnswerTrainer):
        tokens = sum(len(rows[row].ids) for batch in trainer.batches[WARM_UP:] for row in batch)
    else:
        tokens = clock.tokens[-1] - clock.tokens[WARM_UP - 1]
    return {
        "tokens_per_second": tokens / seconds,
        "tokens_per_processor_second": tokens / (clock.worked[-1] - clock.worked[WARM_UP - 1]),
        "seconds_a_step": seconds / (steps - WARM_UP),
        "loss": _loss(trainer.model, held_out),
    }


def _loss(model: Any, rows: list[Row]) -> float:
    """The mean loss of a trained token on rows that were not trained."""
    model.eval()
    total = 0.0
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16):
        for row in rows:
            ids = torch.tensor([row.ids], device=model.device)
            labels = ids.clone()
            labels[:, : row.prompt] = IGNORED
            total += float(model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss) * row.trained
    return total / sum(row.trained for row in rows)


def _result(measured: dict[str, list[dict[str, float]]], rows: list[Row], given: argparse.Namespace) -> dict[str, Any]:
    def best(name: str, figure: str, choose: Any) -> float:
        return choose(item[figure] for item in measured[name])

    ours, theirs = best("pz2", "tokens_per_second", max), best("trl", "tokens_per_second", max)
    return {
        "model": given.model,
        "rows": len(rows),
        "tokens": sum(len(row.ids) for row in rows),
        "steps": given.steps,
        "rounds": given.rounds,
        "threads": torch.get_num_threads(),
        "trl_tokens_per_second": round(theirs, 1),
        "pz2_tokens_per_second": round(ours, 1),
        "ratio": round(ours / theirs, 2),
        # Less disturbed by other programs than the clock on the wall.
        "processor_ratio": round(best("pz2", "tokens_per_processor_second", max) / best("trl", "tokens_per_processor_second", max), 2),
        "trl_loss": round(best("trl", "loss", min), 4),
        "pz2_loss": round(best("pz2", "loss", min), 4),
        "measured": measured,
    }


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"trl's SFTTrainer {result['trl_tokens_per_second']:.0f} tokens/s, held-out loss {result['trl_loss']:.3f}")
    print(f"PZ2              {result['pz2_tokens_per_second']:.0f} tokens/s, held-out loss {result['pz2_loss']:.3f}")
    print(f"ratio            {result['ratio']:.2f} (goal 2.5), by processor time {result['processor_ratio']:.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--model", default="unified")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
