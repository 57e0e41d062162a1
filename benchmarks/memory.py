"""Measure memory: what the plan of a training says it takes, beside what the training takes at most.

    python benchmarks/memory.py [--root DIR] [--only TEXT] [--json]

Each cell of the grid (base, method, length, batch) is a process of its own that trains a few steps, the longest batch among them, and
says its peak. The estimate must never be under the peak and at most 15% over it; exit status 1 when a cell is not so.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "384")
# Read when a process starts: the cells are processes of their own.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4000000")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("PYTHONWARNINGS", "ignore")
PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import spinning  # noqa: E402

os.environ.update(spinning.shortly(os.environ))

from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.paths import Paths  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.engine.base import Base  # noqa: E402
from finetuning.training import memory  # noqa: E402
from finetuning.training import plan as plans  # noqa: E402
from finetuning.training.recipe import Recipe, recipe  # noqa: E402
from finetuning.training.rows import Row  # noqa: E402

MOST = 1.15
# Another shape than the embedded base's, with random weights: few wide layers, a small vocabulary.
WIDE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4}
WIDE_VOCABULARY = 32_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One training to measure. ``share`` of a row's tokens are trained; ``widths`` batches of different widths are taken."""

    base: str
    method: str
    length: int
    batch: int
    checkpointing: bool = False
    lora_r: int = 16
    share: float = 0.5
    frozen: float = 0.5
    widths: int = 20

    @property
    def name(self) -> str:
        """The cell in words."""
        twice = " checkpointing" if self.checkpointing else ""
        layers = " all layers" if not self.frozen else ""
        return f"{self.base} {self.method} r{self.lora_r} {self.batch}x{self.length}{layers}{twice} {self.widths} widths"


GRID = (
    Cell("embedded", "lora", 64, 2),
    Cell("embedded", "lora", 128, 8),
    Cell("embedded", "lora", 128, 8, frozen=0.0),
    Cell("embedded", "lora", 256, 8),
    Cell("embedded", "lora", 256, 8, lora_r=64),
    Cell("embedded", "lora", 512, 4),
    Cell("embedded", "lora", 512, 4, frozen=0.0),
    Cell("embedded", "lora", 1024, 4),
    Cell("embedded", "lora", 512, 2, checkpointing=True),
    Cell("embedded", "lora", 128, 4, lora_r=32, frozen=0.75, widths=60),
    Cell("embedded", "lora", 128, 8, frozen=0.0, widths=60),
    Cell("wide", "lora", 128, 8),
    Cell("wide", "lora", 512, 4),
    Cell("embedded", "dora", 128, 8),
    Cell("embedded", "ia3", 128, 8),
    Cell("embedded", "prompt_tuning", 128, 8),
    Cell("embedded", "full", 128, 4),
    Cell("embedded", "qlora", 128, 8),
    Cell("embedded", "lora_8bit", 128, 8),
    Cell("embedded", "dpo", 128, 4),
    Cell("embedded", "dpo", 256, 4),
)


def main() -> int:
    """Measure the grid, or one cell of it in a process of its own."""
    given = _arguments()
    if given.cell:
        print(json.dumps(_measured(places.resolve(given.root), Cell(**json.loads(given.cell)))))
        return 0
    found = []
    for cell in GRID:
        if given.only and given.only not in cell.name:
            continue
        command = [sys.executable, __file__, "--cell", json.dumps(asdict(cell)), *(["--root", given.root] if given.root else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{cell.name}: failed\n{done.stderr[-1500:]}", file=sys.stderr)
            return 2
        result = json.loads(done.stdout.splitlines()[-1])
        ratio = result["estimate_mb"] / result["peak_mb"]
        found.append({"cell": cell.name, **result, "ratio": round(ratio, 3), "right": 1 <= ratio <= MOST})
        if not given.json:
            mark = "" if found[-1]["right"] else "  <- outside"
            print(f"{cell.name:46} estimate {result['estimate_mb']:6,} MB, peak {result['peak_mb']:6,} MB, {ratio:.2f}{mark}", flush=True)
    if given.json:
        print(json.dumps(found, indent=2))
    return 0 if all(item["right"] for item in found) else 1


def _measured(paths: Paths, cell: Cell) -> dict[str, int]:
    import resource

    from assistant.engine import hf
    from finetuning.training import dpo, methods, sft
    from finetuning.training import trainer as trainers
    from finetuning.training.network import with_adapter

    settings = configuration.load(paths)
    embedded = engines.base_of(settings, paths)
    rows = _rows(cell)
    with tempfile.TemporaryDirectory() as folder:
        base = embedded if cell.base == "embedded" else _wide(Path(folder) / "base")
        chosen = _recipe(paths, cell)
        plan = _plan(base, chosen)
        model = with_adapter(methods.load(base, paths, chosen), chosen, plan.seed)
        tokenizer = trainers.tokenizer(embedded, hf.chat_format(embedded, paths), paths)
        kind: Any = dpo.PreferenceTrainer if chosen.prefers else sft.AnswerTrainer
        trainer = kind(model, plan, rows, tokenizer, Path(folder), [])
        trainer.batches = _order(cell)
        trainer.validation_loss(rows[: 2 * cell.batch])
        trainer.train()
        taken = [memory.batch_of([(rows[row].tokens, rows[row].trained) for row in batch]) for batch in trainer.batches]
        limit = chosen.tokens_at_once or memory.CPU_TOKENS
        estimate = memory.peak_bytes(
            memory.shape(base, paths, plans.parameters(base)), chosen, taken, limit, sum(row.tokens for row in rows)
        )
    return {"estimate_mb": estimate // 1_000_000, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000}


def _recipe(paths: Paths, cell: Cell) -> Recipe:
    changes: dict[str, Any] = {
        "method": cell.method,
        "batch_size": cell.batch,
        "max_steps": cell.widths + 1,
        "lora_r": cell.lora_r,
        "gradient_checkpointing": cell.checkpointing,
        "frozen_share": cell.frozen,
    }
    return recipe(paths, "balanced", "small", changes)


def _plan(base: Base, chosen: Recipe) -> plans.TrainingPlan:
    file = plans.DatasetFile("none", "")
    return plans.TrainingPlan("unified", base.name, base.source, "", plans.parameters(base), "none", file, None, "balanced", chosen, 1)


def _rows(cell: Cell) -> list[Row]:
    """Rows for batches from the longest to one of half its length."""
    rng = random.Random(1)

    def row(length: int) -> Row:
        ids = tuple(rng.randrange(100, WIDE_VOCABULARY) for _ in range(length))
        prompt = round(length * (1 - cell.share))
        # Of a pair the rejected answer is as long as the chosen one.
        return Row(ids, prompt, ids[:prompt:-1] if cell.method == "dpo" else ())

    return [row(round(cell.length * (1 - 0.5 * kind / (cell.widths - 1)))) for kind in range(cell.widths) for _ in range(cell.batch)]


def _order(cell: Cell) -> list[list[int]]:
    """A shorter batch, the longest, the others, and the longest again into a heap that has been used."""
    kinds = [1, 0, *range(2, cell.widths), 0]
    return [list(range(cell.batch * kind, cell.batch * (kind + 1))) for kind in kinds]


def _wide(folder: Path) -> Base:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(vocab_size=WIDE_VOCABULARY, tie_word_embeddings=True, **WIDE)).bfloat16().save_pretrained(folder)
    return Base("wide", str(folder))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--only", help="cells whose name holds this")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
