"""How much memory a training takes: from the shape of the base, the method, and the largest part of a batch. No torch."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from assistant.core.paths import Paths
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.training import hub
from finetuning.training.recipe import LORA, Recipe

# Fitted to what benchmarks/memory.py measures (docs/LOG.md): to be never under what was taken, and at most 15% over it.
# The trainer's process with its libraries and no model.
LIBRARIES_BYTES = 640_000_000
# What batches of many widths leave in the heap.
WIDTHS_BYTES = 330_000_000
# What a heap takes beyond what lies in it.
MARGIN = 1.06
# Batches of more tokens are computed in parts on a CPU: no slower (2,048 tokens: 9.6 s against 9.7 s), and 0.6 GB less.
CPU_TOKENS = 1024
# Weights of the softmax in float32 and their copy in half precision.
ATTENTION_BYTES = 6
# … and what one layer takes of them while it is passed, kept or not.
PASSED_BYTES = 12
# Plain attention keeps its weights; above so many bytes another one is used (network.py).
PLAIN_ATTENTION_BYTES = 800_000_000
# States below the first adapter are kept up to so much; rows beyond it are computed each time. 450,000 tokens of the embedded base.
BELOW_BYTES = 600_000_000
# Inputs of a layer up to this width are whitened (whitened.py): a matrix of that size each.
WIDEST = 2048
# Bytes a parameter of a quantised base on a GPU, its embeddings in half precision aside. Computed from the formats and not measured:
# nf4 with constants that are quantised as well is 4.13 bits (QLoRA, arXiv 2305.14314, section 3), int8 is 8, and some layers stay whole.
GPU_WEIGHT = {"qlora": 0.6, "lora_8bit": 1.1}
# Logits of one chunk of the loss, several times over (loss.py); of all trained tokens where the output layer is trained as well.
LOGIT_BYTES, LOSS_TOKENS = 14, 256


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a network decides its memory."""

    parameters: int
    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int

    @property
    def width(self) -> int:
        """Numbers that a layer computes for one token, about."""
        return 4 * self.hidden + self.inner


@dataclass(frozen=True, slots=True)
class Method:
    """What a method keeps. ``activation``: bytes for a token, a layer and a number of its width; ``weight``: bytes a parameter."""

    activation: float
    weight: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What of a batch decides its memory: its rows, the longest of them in tokens, and all their trained tokens."""

    rows: int
    width: int
    trained: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run is trained: on GPUs, one for each process, or on a CPU, whose memory all processes share."""

    gpu: bool = False
    processes: int = 1


METHODS = {
    "lora": Method(8.9, 2.0),
    "dora": Method(20.0, 2.0),
    "qlora": Method(13.5, 2.4),
    "lora_8bit": Method(20.0, 3.0),
    "ia3": Method(8.6, 2.0),
    "prompt_tuning": Method(6.8, 2.0),
    "full": Method(14.0, 16.0),
    "dpo": Method(14.0, 2.0),
}
EMBEDDED = Shape(134_515_008, 30, 576, 1536, 9, 49_152)


def shape(base: Base, paths: Paths, parameters: int) -> Shape:
    """The shape of a base from its config.json; where that is not here, of a usual network with so many parameters."""
    if base.gguf is not None:
        return EMBEDDED
    document = _config(base)
    if document is None:
        return _usual(parameters)
    text = document.get("text_config") or document
    hidden = int(text.get("hidden_size") or text.get("n_embd") or 0)
    layers = int(text.get("num_hidden_layers") or text.get("n_layer") or 0)
    if not hidden or not layers:
        return _usual(parameters)
    return Shape(
        parameters or EMBEDDED.parameters,
        layers,
        hidden,
        int(text.get("intermediate_size") or text.get("n_inner") or 4 * hidden),
        int(text.get("num_attention_heads") or text.get("n_head") or max(1, hidden // 64)),
        int(text.get("vocab_size") or EMBEDDED.vocabulary),
    )


def of_network(network: Any) -> Shape:
    """The shape of a network that is loaded."""
    config = network.config.get_text_config()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    return Shape(parameters, config.num_hidden_layers, hidden, inner, config.num_attention_heads, config.vocab_size)


def batch_of(rows: Sequence[tuple[int, int]]) -> Batch:
    """A batch from its rows as (tokens, trained tokens)."""
    return Batch(len(rows), max(tokens for tokens, _ in rows), sum(trained for _, trained in rows))


def distinct(batches: Iterable[Batch]) -> list[Batch]:
    """Of the batches of equal size the one with the most trained tokens."""
    found: dict[tuple[int, int], Batch] = {}
    for batch in batches:
        key = batch.rows, batch.width
        if key not in found or found[key].trained < batch.trained:
            found[key] = batch
    return list(found.values())


def peak_bytes(shape: Shape, recipe: Recipe, batches: Sequence[Batch], at_once: int, tokens: int = 0, machine: Machine = Machine()) -> int:
    """The most memory a run takes with these batches, of several GPUs each one; ``at_once`` is the limit of a part in tokens, 0 for none.

    Batches that are never divided are computed whole, whatever the limit. ``tokens`` are those of all rows, whose states below the first
    adapter are kept. Every process has libraries, weights and kept states of its own.
    """
    at_once = at_once if _divides(recipe, machine) else 0
    largest = max(part_bytes(shape, recipe, part(_share(batch, machine), at_once)) for batch in batches)
    kept = fixed_bytes(shape, recipe, machine.gpu) + below_bytes(shape, recipe, tokens)
    return round(LIBRARIES_BYTES + WIDTHS_BYTES + MARGIN * (kept + largest)) * (1 if machine.gpu else machine.processes)


def _divides(recipe: Recipe, machine: Machine) -> bool:
    """Whether batches are computed in parts: not those of preference pairs, nor where several processes divide them."""
    return not recipe.prefers and machine.processes == 1


def _share(batch: Batch, machine: Machine) -> Batch:
    """What the first of the processes has of a batch, with its longest row."""
    rows = -(-batch.rows // machine.processes)
    return Batch(rows, batch.width, -(-batch.trained * rows // batch.rows))


def below_bytes(shape: Shape, recipe: Recipe, tokens: int) -> int:
    """Kept states below the first adapter (below.py), of so many tokens."""
    again = recipe.epochs > 1 and not recipe.packing and not recipe.neftune_alpha and not recipe.prefers
    keeps = again and _trained_layers(shape, recipe) < shape.layers
    return min(BELOW_BYTES, tokens * shape.hidden * 2) if keeps else 0


def fixed_bytes(shape: Shape, recipe: Recipe, gpu: bool = False) -> float:
    """Weights, and what is trained with its gradient and the optimizer's two moments."""
    return _weight_bytes(shape, recipe, gpu) + 16 * trained(shape, recipe) + _whitened_bytes(shape, recipe)


def _weight_bytes(shape: Shape, recipe: Recipe, gpu: bool) -> float:
    """The base's weights: as measured on a CPU; quantised ones on a GPU as their formats say, which is not measured."""
    if not gpu or recipe.method not in GPU_WEIGHT:
        return METHODS[recipe.method].weight * shape.parameters
    embeddings = min(shape.vocabulary * shape.hidden, shape.parameters)
    return GPU_WEIGHT[recipe.method] * (shape.parameters - embeddings) + 2 * embeddings


def _whitened_bytes(shape: Shape, recipe: Recipe) -> float:
    """The matrices that whiten what each adapted layer reads, and the coordinates that are trained in the place of the adapter's own."""
    if not recipe.whitens:
        return 0
    # Query, key and value read the same, and so do gate and up.
    read = (shape.hidden, shape.hidden, shape.hidden, shape.inner)
    return _trained_layers(shape, recipe) * sum(4 * width * width for width in read if width <= WIDEST) + 4 * trained(shape, recipe)


def state_bytes(shape: Shape, recipe: Recipe) -> float:
    """What comes at the first step, with the weights loaded: the gradients and the optimizer's moments."""
    return 12 * (shape.parameters if recipe.method == "full" else trained(shape, recipe))


def trained(shape: Shape, recipe: Recipe) -> float:
    """How many numbers are trained beside the base's own."""
    match recipe.method:
        case "full":
            return 0
        case "ia3":
            return shape.layers * (2 * shape.hidden + shape.inner)
        case "prompt_tuning":
            return recipe.prompt_tokens * shape.hidden
    # q, k, v, o, gate, up and down, each with two sides; narrower keys and values make it less.
    return recipe.lora_r * _trained_layers(shape, recipe) * (11 * shape.hidden + 3 * shape.inner)


def _trained_layers(shape: Shape, recipe: Recipe) -> int:
    """How many layers have an adapter; below the first one nothing is kept for the backward pass."""
    frozen = recipe.frozen_share if recipe.method in LORA and not recipe.gradient_checkpointing else 0.0
    return shape.layers - int(shape.layers * frozen)


def part_bytes(shape: Shape, recipe: Recipe, part: Batch) -> float:
    """What one part of a batch keeps for its backward pass: activations, attention weights, logits."""
    method = METHODS[recipe.method]
    length = part.width + (recipe.prompt_tokens if recipe.method == "prompt_tuning" else 0)
    logits = _logits(recipe, part) * shape.vocabulary * LOGIT_BYTES
    layers = _trained_layers(shape, recipe)
    tokens = part.rows * length
    if recipe.gradient_checkpointing:
        # What enters each layer, with its gradient, and one layer as it is computed again.
        return tokens * (layers * shape.hidden * 4 + 2 * shape.width * method.activation) + logits
    kept = tokens * layers * shape.width * method.activation
    squares = tokens * length * shape.heads
    # Pairs go through trl's own pass, which takes the other attention.
    attention = 0 if recipe.prefers else squares * layers * ATTENTION_BYTES
    return kept + (attention if attention <= PLAIN_ATTENTION_BYTES else 0) + squares * PASSED_BYTES + logits


def _logits(recipe: Recipe, part: Batch) -> int:
    """Of how many tokens the logits lie in memory together."""
    if recipe.prefers:
        return part.rows * part.width
    return part.trained if recipe.method == "full" else min(part.trained, LOSS_TOKENS)


def part(batch: Batch, at_once: int) -> Batch:
    """The part of a batch that is computed at once; a row is never divided."""
    rows = rows_at_once(batch.rows, batch.width, at_once)
    return Batch(rows, batch.width, -(-batch.trained * rows // batch.rows))


def rows_at_once(rows: int, width: int, at_once: int) -> int:
    """How many rows of a batch are computed together, so that its parts are alike."""
    count = -(-rows // max(1, at_once // width)) if at_once else 1
    return -(-rows // count)


def fitted(
    shape: Shape,
    recipe: Recipe,
    batches: Sequence[Batch],
    free: int,
    at_once: int,
    tokens: int = 0,
    machine: Machine = Machine(),
) -> tuple[Recipe, int] | None:
    """The recipe that fits into so many bytes: in smaller parts, else with activations computed twice; with its need."""
    longest, divides = max(batch.width for batch in batches), _divides(recipe, machine)
    for twice in sorted({recipe.gradient_checkpointing, True}):
        limit = at_once or max(batch.rows * batch.width for batch in batches)
        while True:
            changed = replace(recipe, gradient_checkpointing=twice, tokens_at_once=limit if divides else 0)
            need = peak_bytes(shape, changed, batches, limit, tokens, machine)
            if need <= free:
                return changed, need
            if limit <= longest or not divides:
                break
            limit = max(longest, limit // 2)
    return None


def free_bytes() -> int:
    """Memory that can be taken now; in a container at most what its limit leaves."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, int(limit) - int(used) + int(statistics.get("inactive_file", 0)))
    except (OSError, ValueError):
        return free


def free_gpu_bytes() -> int | None:
    """The free memory of the first GPU, None where there is none."""
    if not engines.has_gpu():
        return None
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return int(said.splitlines()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _usual(parameters: int) -> Shape:
    """A network of the usual proportions: as deep as wide by 128, an inner size of 2.7 times its width."""
    parameters = parameters or EMBEDDED.parameters
    hidden = max(512, round((parameters * 128 / 12.1) ** (1 / 3) / 64) * 64)
    return Shape(parameters, max(1, round(hidden / 128)), hidden, round(2.7 * hidden), hidden // 64, 128_000)


def _config(base: Base) -> dict[str, Any] | None:
    folder = Path(base.source) if Path(base.source).is_dir() else hub.snapshot(base.source)
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else None
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
