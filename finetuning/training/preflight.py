"""Before a run: everything it needs, looked at together, and what it will cost. No torch."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.errors import PZ2Error
from assistant.core.events import Checked
from assistant.core.paths import Paths
from assistant.core.prompts import ChatML
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.training import hardware, hub, memory, packing, preferences, replay, rows, runs
from finetuning.training import plan as plans
from finetuning.training import recipe as recipes
from finetuning.training.memory import Machine, Shape
from finetuning.training.order import batches
from finetuning.training.plan import TrainingPlan
from finetuning.training.preferences import Gathered
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Encoded, Row

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "filelock", "tensorboard")
# Tokens a second on 2 cores, times parameters: what a run takes before this machine has shown better figures.
SPEED = 500 * 134_515_008
# … and of preference pairs: 90 tokens a second on one core where answers had 350 (docs/LOG.md).
PAIRS = 0.26
# A shorter run says nothing about the speed of a longer one.
TELLING_STEPS = 20


@dataclass(frozen=True, slots=True)
class Beginning:
    """The version that is trained further ("": the base), the hash of its weights, and of a run on preferences its pairs."""

    version: str
    sha256: str
    pairs: Gathered | None = None


@dataclass(slots=True)
class Look:
    """What was found: the plan when nothing stands against it."""

    plan: TrainingPlan | None = None
    failed: int = 0


def look(
    paths: Paths,
    model: str,
    preset: str,
    seed: int | None,
    changes: dict[str, Any],
    found: Look,
    beginning: Beginning | None = None,
    processes: int = 1,
) -> Iterator[Checked]:
    """Every check as a line, all problems at once; ``found.plan`` is set when all are well. ``processes`` is 0 where a file says it."""
    lines = _Lines()
    yield from lines.show(_packages())
    settings = configuration.load(paths)
    base, line = _base(settings, paths)
    yield from lines.show(line)
    parameters = plans.parameters(base) if base else plans.EMBEDDED_PARAMETERS
    recipe = recipes.recipe(paths, preset, plans.scale(parameters), changes)
    data, line = _pairs(model, beginning, beginning.pairs) if beginning and beginning.pairs else _dataset(paths, model)
    yield from lines.show(line)
    if base and beginning and beginning.version:
        yield from lines.show(_begins(paths, model, beginning.version, base))
    if base:
        yield from lines.show(_template(base, paths))
        for line in hardware.lines(recipe):
            yield from lines.show(line)
    seed = plans.SEED if seed is None else seed
    encoded, line = _rows(paths, model, recipe, base, data, seed)
    if line:
        yield from lines.show(line)
    recipe = recipe.sized(len(encoded.rows), encoded.answers, encoded.tokens) if encoded else recipe
    encoded = rows.opened(encoded, recipe.openings, seed) if encoded else encoded
    encoded, line = _replay(paths, recipe, encoded)
    if line:
        yield from lines.show(line)
    if encoded and base:
        order = _batches(recipe, encoded, seed)
        recipe, line = _memory(memory.shape(base, paths, parameters), recipe, encoded, order, processes)
        yield from lines.show(line)
        yield from lines.show(_disk(paths, base, recipe))
        yield from lines.show(_time(paths, base, parameters, recipe, order))
    yield from lines.show(_alone(paths))
    found.failed = lines.failed
    if base and data and not lines.failed:
        begins = (beginning.version, beginning.sha256) if beginning else ("", "")
        plan = TrainingPlan(model, base.name, settings.base, base.sha256, parameters, *data, preset, recipe, seed, *begins)
        found.plan = plans.sealed(plan)


@dataclass(slots=True)
class _Lines:
    """Numbers the lines and counts those that say no."""

    failed: int = 0
    count: int = 0

    def show(self, line: Checked) -> Iterator[Checked]:
        self.failed += not line.ok
        self.count += 1
        yield replace(line, name=f"{self.count} {line.name}")


def _packages() -> Checked:
    missing = [package for package in PACKAGES if not engines.installed(package)]
    if missing:
        return Checked("packages", False, f"{', '.join(missing)} not installed. Run `./run_finetuning.sh setup` once.")
    return Checked("packages", True, "torch, transformers, peft and trl are installed")


def _base(settings: configuration.Settings, paths: Paths) -> tuple[Base | None, Checked]:
    try:
        base = engines.base_of(settings, paths)
        parameters = plans.parameters(base)
    except PZ2Error as error:
        return None, Checked("base", False, f"{error.what} {error.fix}")
    if fault := _out_of_reach(base, parameters):
        return None, Checked("base", False, fault)
    checksum = f", checksum {base.sha256[:12]}…" if base.sha256 else ""
    detail = f"{base.name}, {parameters / 1e6:,.0f} million parameters{checksum}"
    if not _is_here(base):
        detail += (
            "; not in the local Hugging Face cache, so it is fetched from huggingface.co first (how much that is cannot be known here)"
        )
    return base, Checked("base", True, detail)


def _out_of_reach(base: Base, parameters: int) -> str:
    """Why a base cannot be trained on, and what to do; "" where nothing is known against it."""
    if Path(base.source).is_dir():
        return "" if parameters else f"{base.source} lacks files that {hub.INDEX} names. Copy the folder again."
    if not engines.installed("huggingface_hub"):
        # The line of the packages says so.
        return ""
    if not hub.is_id(base.source):
        return f"{base.source} is neither a folder nor a Hugging Face id (OWNER/NAME). Correct `base:` in model_config.yaml."
    if _is_here(base):
        return ""
    missing = f"The weights of {base.source} are not in the local Hugging Face cache"
    fetch = f"`hf download {base.source}` fetches them, if that name is right (`base:` in model_config.yaml)."
    if hub.is_offline():
        return f"{missing}, and HF_HUB_OFFLINE is set. Without it {fetch}"
    return "" if parameters else f"{missing}, and the name does not say how many parameters there are. {fetch}"


def _is_here(base: Base) -> bool:
    """Whether the weights are on this machine."""
    folder = Path(base.source) if Path(base.source).is_dir() else hub.snapshot(base.source)
    return folder is not None and (base.gguf is not None or bool(hub.weights(folder)))


def _dataset(paths: Paths, model: str) -> tuple[Any, Checked]:
    try:
        data = plans.dataset(paths, model)
    except PZ2Error as error:
        return None, Checked("dataset", False, f"{error.what} {error.fix}")
    judged = "with validation rows" if data[2] else "without validation rows: the loss on new rows stays unknown"
    return data, Checked("dataset", True, f"{data[1].path}, {data[1].sha256[:12]}…, {judged}")


def _begins(paths: Paths, model: str, version: str, base: Base) -> Checked:
    """Whether the version that is trained further lies on this base."""
    card = Store(paths).card(model, version)
    if (card.base, card.base_sha256) != (base.name, base.sha256):
        return Checked(
            "begins with", False, f"{model} {version} was trained on {card.base}, another base. Train anew, or name another one."
        )
    return Checked("begins with", True, f"{model} {version}, {card.steps:,} steps on {card.dataset}")


def _pairs(model: str, beginning: Beginning, pairs: Gathered) -> tuple[Any, Checked]:
    """The pairs of a run on preferences, as its dataset."""
    sources = ", ".join(f"{count:,} {name}" for name, count in pairs.counts.items())
    over = f"{model} {beginning.version}" if beginning.version else "the base"
    equal = f" ({pairs.equal:,} more had two equal answers)" if pairs.equal else ""
    detail = f"{sources}{equal}, a fifth of the questions to judge; trained over {over}"
    return ("preference", pairs.train, pairs.validation), Checked("pairs", True, detail)


def _template(base: Base, paths: Paths) -> Checked:
    """Whose chat template the rows are written in."""
    folder = Path(base.source)
    if base.tokenizer_json is not None:
        return Checked("template", True, "the base's own (ChatML), the same as in the chat")
    if not folder.is_dir():
        return Checked("template", True, "the base's own where it has one; read when the base is loaded")
    own = (folder / "chat_template.jinja").is_file() or _has_key(folder / "tokenizer_config.json", "chat_template")
    return Checked("template", True, "the base's own" if own else "PZ2's: this base has none of its own")


def _has_key(path: Path, key: str) -> bool:
    try:
        return bool(files.read_json(path).get(key))
    except (OSError, PZ2Error, AttributeError):
        return False


def _rows(paths: Paths, model: str, recipe: Recipe, base: Base | None, data: Any, seed: int) -> tuple[Encoded | None, Checked | None]:
    """The rows as the trainer will see them; of a base whose tokenizer needs transformers their lengths are estimated."""
    if data is None or base is None:
        return None, None
    path = paths.datasets / data[1].path
    try:
        source = preferences if recipe.prefers else rows
        if base.tokenizer_json is not None:
            whole, about = source.encode(path, ChatML.load(base.tokenizer_json), model, recipe.max_length), ""
        else:
            whole, about = source.estimated(path, model, recipe.max_length), "about "
    except PZ2Error as error:
        return None, Checked("rows", False, f"{error.what} {error.fix}")
    encoded, judged = rows.divided(whole, recipe.share, recipe.set_apart, seed)
    cut = f", {encoded.cut} rows cut at {recipe.max_length} tokens" if encoded.cut else ""
    learned = encoded.answers / whole.answers if recipe.share < 1 else 1.0
    of = f" ({learned:.0%} of the answers)" if learned < 1 else ""
    held = f"; {len(judged)} more wordings of their answers judge" if judged else ""
    what = "pairs" if recipe.prefers else "rows"
    detail = f"{len(encoded.rows):,} {what}{of}, {about}{encoded.tokens:,} tokens, {about}{encoded.trained:,} of them trained{cut}{held}"
    return encoded, Checked("rows", True, detail)


def _replay(paths: Paths, recipe: Recipe, encoded: Encoded | None) -> tuple[Encoded | None, Checked | None]:
    """The rows with those that are replayed, whose answers the base has yet to give."""
    if encoded is None or not recipe.replay:
        return encoded, None
    count, prompts = replay.count(recipe, len(encoded.rows)), len(replay.prompts(paths))
    more = (Row((0,) * replay.TOKENS, replay.TOKENS // 3),) * count
    times = f", each {count / prompts:.1f} times" if count > prompts else ""
    detail = f"{min(count, prompts):,} general prompts with the base's own answers{times}, against forgetting"
    return replace(encoded, rows=encoded.rows + more), Checked("replay", True, detail)


def _batches(recipe: Recipe, encoded: Encoded, seed: int) -> list[list[tuple[int, int]]]:
    """Every batch of the run as the tokens and trained tokens of its rows, in the order that the trainer takes."""
    sizes = [(row.tokens, row.trained) for row in encoded.rows]
    most = recipe.max_steps * recipe.accumulation
    if recipe.packing:
        # Packed rows fill a sequence up to the limit.
        order = packing.batches([length for length, _ in sizes], recipe.max_length, recipe.batch_size, recipe.epochs, seed, most)
        full = [(recipe.max_length, recipe.max_length * encoded.trained // encoded.tokens)] * recipe.batch_size
        return [full for _ in order]
    order = batches([length for length, _ in sizes], recipe.batch_size, recipe.epochs, seed, most)
    return [[sizes[row] for row in batch] for batch in order]


def _memory(
    shape: Shape, recipe: Recipe, encoded: Encoded, order: list[list[tuple[int, int]]], processes: int = 1
) -> tuple[Recipe, Checked]:
    """What is needed beside what is free; where that is too little, the recipe in smaller parts or with activations computed twice."""
    gpu = memory.free_gpu_bytes()
    free = memory.free_bytes() if gpu is None else gpu
    at_once = recipe.tokens_at_once or (memory.CPU_TOKENS if gpu is None else 0)
    sizes = memory.distinct(memory.batch_of(batch) for batch in order)
    machine = Machine(gpu is not None, max(1, processes))
    needed = memory.peak_bytes(shape, recipe, sizes, at_once, encoded.tokens, machine)
    place = "free" if gpu is None else "free on the GPU"
    by = "" if processes == 1 else " by each process" if machine.gpu or not processes else f" by {processes} processes"
    detail = f"about {needed // 1_000_000:,} MB needed{by}, {free // 1_000_000:,} MB {place}"
    if needed <= free:
        return recipe, Checked("memory", True, detail)
    found = memory.fitted(shape, recipe, sizes, free, at_once, encoded.tokens, machine)
    if found is None:
        fewer = "" if machine.gpu or machine.processes == 1 else ", fewer --processes"
        least = f" Close programs, or use a smaller --max_length{fewer}" + ("." if recipe.method == "lora" else " or --method lora.")
        return recipe, Checked("memory", False, f"{detail}, and smaller parts do not help.{least}")
    smaller, needed = found
    how = [f"batches in parts of at most {smaller.tokens_at_once:,} tokens"] if smaller.tokens_at_once else []
    if smaller.gradient_checkpointing and not recipe.gradient_checkpointing:
        how.append("activations computed twice (a third slower)")
    return smaller, Checked("memory", True, f"{detail}; so {' and '.join(how)}: about {needed // 1_000_000:,} MB, the same result")


def _disk(paths: Paths, base: Base, recipe: Recipe) -> Checked:
    parameters = plans.parameters(base)
    whole = recipe.method == "full"
    trained = parameters if whole else memory.trained(memory.shape(base, paths, parameters), recipe)
    weights = 0 if base.gguf is None or (paths.base / "model.safetensors").is_file() else 2 * parameters
    version = trained * (2 if whole else 8)
    # Two checkpoints (the old one goes when the new one is whole) with their optimizer, two of the best weights, and the version itself.
    parts = {paths.logs: 2 * (16 if recipe.whitens else 12) * trained + 2 * trained * (2 if whole else 4), paths.models: version + weights}
    needed = round(sum(parts.values()) / 1e6) + 20
    free = min(shutil.disk_usage(folder).free // 1_000_000 for folder in parts)
    detail = f"about {needed:,} MB needed, {free:,} MB free"
    if needed > free:
        return Checked("disk", False, f"{detail}. Free some space, or choose another folder with --root DIR.")
    return Checked("disk", True, detail)


def _time(paths: Paths, base: Base, parameters: int, recipe: Recipe, order: list[list[tuple[int, int]]]) -> Checked:
    tokens = sum(length for batch in order for length, _ in batch)
    steps = -(-len(order) // recipe.accumulation)
    measured = _last_speed(paths, base, recipe)
    expected = SPEED / (parameters or plans.EMBEDDED_PARAMETERS) * (PAIRS if recipe.prefers else 1)
    minutes = max(1, round(tokens / (measured or expected) / 60))
    source = "if it is as fast as the last run here" if measured else "on 2 idle cores"
    detail = f"{steps:,} steps, {tokens:,} tokens: about {minutes} min {source}; measured in the first steps. The proof comes after that"
    return Checked("time", True, detail)


def _last_speed(paths: Paths, base: Base, recipe: Recipe) -> float | None:
    """Tokens a second of the newest version trained here on the same base by the same method, if there is one."""
    store = Store(paths)
    speeds: list[tuple[str, float]] = []
    for model in store.models():
        for version in store.versions(model):
            try:
                card = store.card(model, version)
            except PZ2Error:
                continue
            same = card.base == base.name and card.method == recipe.method
            if same and card.steps >= TELLING_STEPS and card.figures.get("tokens_per_second"):
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
