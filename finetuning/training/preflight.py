"""Before a run: everything it needs, looked at together, and what it will cost. No torch."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from assistant.core import settings as configuration
from assistant.core.errors import PZ2Error
from assistant.core.events import Checked
from assistant.core.paths import Paths
from assistant.core.prompts import ChatML
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.training import plan as plans
from finetuning.training import recipe as recipes
from finetuning.training import rows, runs
from finetuning.training.order import batches
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Encoded, Row

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "filelock", "tensorboard")
# The trainer's process with its libraries and no model. Like the next figures measured on the embedded base, with batches of
# 2 and 8 rows, 64 to 320 tokens and ranks 16 and 64: the estimate was 10 to 21% above the peak of a bare step loop;
# a whole run went 10% over it (docs/LOG.md).
LIBRARIES_MB = 620
MARGIN = 1.07
# Kept for the backward pass, for one token of a batch and one parameter of the base.
ACTIVATION_BYTES = 0.0089
# Of that, when activations are computed twice instead of kept.
CHECKPOINTED = 0.35
# Adapter parameters a rank, as a share of the base's.
ADAPTER_SHARE = 0.00227
# 9 heads, 30 layers, float32 weights and their bf16 copy; above the limit another attention is used (network.py).
EMBEDDED_ATTENTION_BYTES = 9 * 30 * 6
PLAIN_ATTENTION_BYTES = 800_000_000
# Tokens a second on 2 cores, times parameters: what a run takes before this machine has shown better figures.
SPEED = 450 * 134_515_008
LOGIT_BYTES = 10
# A shorter run says nothing about the speed of a longer one.
TELLING_STEPS = 20
EMBEDDED_VOCABULARY = 49_152


@dataclass(slots=True)
class Look:
    """What was found: the plan when nothing stands against it."""

    plan: TrainingPlan | None = None
    failed: int = 0


def look(paths: Paths, model: str, preset: str, seed: int | None, changes: dict[str, Any], found: Look) -> Iterator[Checked]:
    """Every check as a line, all problems at once; ``found.plan`` is set when all are well."""
    lines = _Lines()
    yield from lines.show(_packages())
    settings = configuration.load(paths)
    base, line = _base(settings, paths)
    yield from lines.show(line)
    parameters = plans.parameters(base) if base else plans.EMBEDDED_PARAMETERS
    recipe = recipes.recipe(paths, preset, plans.scale(parameters), changes)
    data, line = _dataset(paths, model)
    yield from lines.show(line)
    encoded, line = _rows(paths, model, recipe, base, data)
    if line:
        yield from lines.show(line)
    if encoded and base:
        yield from lines.show(_memory(parameters, recipe, encoded))
        yield from lines.show(_disk(paths, base, recipe))
        yield from lines.show(_time(paths, parameters, recipe, encoded))
    yield from lines.show(_alone(paths))
    found.failed = lines.failed
    if base and data and not lines.failed:
        found.plan = plans.sealed(
            TrainingPlan(
                model, base.name, settings.base, base.sha256, parameters, *data, preset, recipe, plans.SEED if seed is None else seed
            )
        )


@dataclass(slots=True)
class _Lines:
    failed: int = 0

    def show(self, line: Checked) -> Iterator[Checked]:
        self.failed += not line.ok
        yield line


def _packages() -> Checked:
    missing = [package for package in PACKAGES if not engines.installed(package)]
    if missing:
        return Checked("packages", False, f"{', '.join(missing)} not installed. Run `./run_finetuning.sh setup` once.")
    return Checked("packages", True, "torch, transformers, peft and trl are installed")


def _base(settings: configuration.Settings, paths: Paths) -> tuple[Base | None, Checked]:
    try:
        base = engines.base_of(settings, paths)
    except PZ2Error as error:
        return None, Checked("base", False, f"{error.what} {error.fix}")
    checksum = f", checksum {base.sha256[:12]}…" if base.sha256 else ""
    return base, Checked("base", True, f"{base.name}, {plans.parameters(base) / 1e6:,.0f} million parameters{checksum}")


def _dataset(paths: Paths, model: str) -> tuple[Any, Checked]:
    try:
        data = plans.dataset(paths, model)
    except PZ2Error as error:
        return None, Checked("dataset", False, f"{error.what} {error.fix}")
    judged = "with validation rows" if data[2] else "without validation rows: the loss on new rows stays unknown"
    return data, Checked("dataset", True, f"{data[1].path}, {data[1].sha256[:12]}…, {judged}")


def _rows(paths: Paths, model: str, recipe: Recipe, base: Base | None, data: Any) -> tuple[Encoded | None, Checked | None]:
    """The rows as the trainer will see them; of a base whose tokenizer needs transformers they are counted by the trainer."""
    if data is None or base is None or base.tokenizer_json is None:
        return None, None
    try:
        encoded = rows.encode(paths.datasets / data[1].path, ChatML.load(base.tokenizer_json), model, recipe.max_length)
    except PZ2Error as error:
        return None, Checked("rows", False, f"{error.what} {error.fix}")
    cut = f", {encoded.cut} rows cut at {recipe.max_length} tokens" if encoded.cut else ""
    return encoded, Checked(
        "rows", True, f"{len(encoded.rows):,} rows, {encoded.tokens:,} tokens, {encoded.trained:,} of them trained{cut}"
    )


def memory_mb(parameters: int, recipe: Recipe, encoded: Encoded) -> int:
    """The most memory the trainer will take: libraries, weights in half precision, the adapter with its optimizer, the largest batch."""
    order = batches([len(row.ids) for row in encoded.rows], recipe.batch_size, recipe.epochs, 0, recipe.max_steps * recipe.accumulation)
    largest = max(_batch_bytes([encoded.rows[row] for row in batch], parameters, recipe) for batch in order)
    adapter = parameters * ADAPTER_SHARE * recipe.lora_r * 16
    return LIBRARIES_MB + round(MARGIN * (2 * parameters + adapter + largest) / 1e6)


def _batch_bytes(batch: list[Row], parameters: int, recipe: Recipe) -> float:
    """What one batch keeps for its backward pass: activations, attention weights, logits of the answers."""
    length = max(len(row.ids) for row in batch)
    logits = sum(row.trained for row in batch) * EMBEDDED_VOCABULARY * LOGIT_BYTES
    kept = len(batch) * length * parameters * ACTIVATION_BYTES
    if recipe.gradient_checkpointing:
        return kept * CHECKPOINTED + logits
    attention = len(batch) * length * length * EMBEDDED_ATTENTION_BYTES
    return kept + (attention if attention <= PLAIN_ATTENTION_BYTES else 0) + logits


def _memory(parameters: int, recipe: Recipe, encoded: Encoded) -> Checked:
    needed, free = memory_mb(parameters, recipe, encoded), psutil.virtual_memory().available // 1_000_000
    detail = f"about {needed:,} MB needed, {free:,} MB free"
    return (
        Checked("memory", True, detail)
        if needed <= free
        else Checked("memory", False, f"{detail}. Close programs, or use --preset memory_efficient or a smaller --batch_size.")
    )


def _disk(paths: Paths, base: Base, recipe: Recipe) -> Checked:
    adapter = plans.parameters(base) * ADAPTER_SHARE * recipe.lora_r * 4
    weights = 0 if base.gguf is None or (paths.base / "model.safetensors").is_file() else 2 * plans.parameters(base)
    # Two checkpoints (the old one goes when the new one is whole) of the adapter with its optimizer, and both forms of the adapter.
    parts = {paths.logs: 2 * 3 * adapter, paths.models: 2 * adapter + weights}
    needed = round(sum(parts.values()) / 1e6) + 20
    free = min(shutil.disk_usage(folder).free // 1_000_000 for folder in parts)
    detail = f"about {needed:,} MB needed, {free:,} MB free"
    if needed > free:
        return Checked("disk", False, f"{detail}. Free some space, or choose another folder with --root DIR.")
    return Checked("disk", True, detail)


def _time(paths: Paths, parameters: int, recipe: Recipe, encoded: Encoded) -> Checked:
    order = batches([len(row.ids) for row in encoded.rows], recipe.batch_size, recipe.epochs, 0, recipe.max_steps * recipe.accumulation)
    tokens = sum(len(encoded.rows[row].ids) for batch in order for row in batch)
    steps = -(-len(order) // recipe.accumulation)
    measured = _last_speed(paths)
    minutes = tokens / (measured or SPEED / parameters) / 60
    source = "as fast as the last run here" if measured else "on 2 cores"
    return Checked("time", True, f"{steps:,} steps, {tokens:,} tokens, about {max(1, round(minutes))} min {source}")


def _last_speed(paths: Paths) -> float | None:
    """Tokens a second of the newest finished version here, if there is one."""
    from assistant.core.store import Store

    store = Store(paths)
    speeds: list[tuple[str, float]] = []
    for model in store.models():
        for version in store.versions(model):
            try:
                card = store.card(model, version)
            except PZ2Error:
                continue
            if card.steps >= TELLING_STEPS and card.figures.get("tokens_per_second"):
                speeds.append((card.created, card.figures["tokens_per_second"]))
    return max(speeds)[1] if speeds else None


def _alone(paths: Paths) -> Checked:
    other = runs.active(paths)
    if other is None:
        return Checked("other trainings", True, "none is running")
    since = round((time.time() - other.run.created) / 60)
    return Checked(
        "other trainings", False, f"{other.run.run} is running since {since} min. Wait for it (`jobs follow`) or end it (`jobs cancel`)."
    )
