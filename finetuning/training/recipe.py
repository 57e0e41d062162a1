"""How a model is trained: the section ``training`` of ``training_config.yaml``, and what a user changes of it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import yaml

from assistant.core.errors import ConfigError, UsageError
from assistant.core.paths import Paths
from assistant.core.settings import merge, nearest, read_yaml

CONFIG = "training_config.yaml"
METHODS = ("lora", "dora", "qlora", "lora_8bit", "ia3", "prompt_tuning", "full")
QUANTISED = ("qlora", "lora_8bit")
# What `prefer` does: not chosen by a flag of `train`.
PREFERENCE = "dpo"
LORA = ("lora", "dora", *QUANTISED, PREFERENCE)
SCHEDULES = ("cosine", "linear", "constant")
PRESETS = ("fast", "balanced", "quality", "memory_efficient")
Scale = Literal["small", "large"]
# SPEC's line between the two sets of presets.
LARGE_PARAMETERS = 1_000_000_000
# Tokens of a step where no batch size is given: fewer learn more of each token and take longer for it (docs/LOG.md).
STEP_TOKENS = 330
MOST_ROWS = 32
# A small dataset is repeated until it has had so many steps: fewer hardly move the weights.
LEAST_STEPS, MOST_EPOCHS = 160, 20.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every hyper-parameter of a run; ``training_config.yaml`` says what each one trades."""

    method: str = "lora"
    share: float = 1.0
    exposures: float = 11.0
    openings: float = 0.0
    epochs: float = 1.0
    max_steps: int = 0
    learning_rate: float = 2e-3
    batch_size: int = 8
    accumulation: int = 1
    max_length: int = 1024
    lora_r: int = 16
    lora_alpha: int = 16
    rank_stabilised: bool = True
    lora_dropout: float = 0.0
    frozen_share: float = 0.0
    whitened: bool = False
    prompt_tokens: int = 20
    replay: float = 0.07
    beta: float = 0.1
    neftune_alpha: float = 0.0
    packing: bool = False
    weight_decay: float = 0.0
    warmup_share: float = 0.05
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    liger: bool = False
    flash_attention: bool = False
    tokens_at_once: int = 0
    validations: int = 4
    patience: int = 3
    validation_rows: int = 64
    checkpoint_steps: int = 25
    checkpoint_seconds: int = 120
    proof_rows: int = 120
    proof_general: int = 0

    def sized(self, rows: int, answers: int, tokens: int) -> "Recipe":
        """With a batch size and epochs for so many rows, different answers and tokens, where none are given."""
        batch = self.batch_size or max(1, min(MOST_ROWS, round(STEP_TOKENS * rows / tokens)))
        seen = self.exposures * answers / rows
        steps = LEAST_STEPS * batch * self.accumulation / rows
        return replace(self, batch_size=batch, epochs=self.epochs or round(max(seen, min(steps, MOST_EPOCHS)), 2))

    @property
    def quantised(self) -> bool:
        """Whether the base is held in 4 or 8 bits while it is trained."""
        return self.method in QUANTISED

    @property
    def set_apart(self) -> int:
        """How many wordings are set apart to judge on; preference pairs are divided beforehand."""
        return 0 if self.prefers else self.validation_rows

    @property
    def whitens(self) -> bool:
        """Whether the steps of the adapters are whitened."""
        return self.whitened and self.method in LORA and not self.prefers

    @property
    def prefers(self) -> bool:
        """Whether pairs of answers are trained instead of answers."""
        return self.method == PREFERENCE


@dataclass(frozen=True, slots=True)
class _Presets:
    fast: Recipe = field(default_factory=Recipe)
    balanced: Recipe = field(default_factory=Recipe)
    quality: Recipe = field(default_factory=Recipe)
    memory_efficient: Recipe = field(default_factory=Recipe)


def recipe(paths: Paths, preset: str, scale: Scale, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a preset with a user's changes over it. Every wrong key or value is named in one error."""
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}'.", f"Presets: {', '.join(PRESETS)}.")
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    faults: list[str] = []
    presets, methods = _configured(paths, scale)
    base = getattr(presets, preset)
    base = merge(base, methods.get(given.get("method", base.method), {}), "", faults)
    changed = merge(base, given, "", faults)
    faults += _out_of_range(changed, "") or _conflicts(changed)
    if faults:
        raise UsageError(
            "This training cannot be planned: " + " ".join(faults), "Correct the value; training_config.yaml says what each one does."
        )
    return changed


def names() -> list[str]:
    """The fields of a recipe: what `--set` takes."""
    return [item.name for item in fields(Recipe)]


def assignments(words: Sequence[str]) -> dict[str, Any]:
    """Fields from words like ``lora_alpha=32`` or ``packing=true``; a word without a value is a UsageError."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value.strip():
            raise UsageError(f"'{word}' is not KEY=VALUE.", "Write for example --set lora_alpha=32 packing=true.")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"'{value}' cannot be read as a value of '{key}'.", "Write a number, true, false, or a word.") from error
        # YAML reads 1e-4 as a word.
        if isinstance(found[key.strip()], str):
            with suppress(ValueError):
                found[key.strip()] = float(value)
    return found


def _configured(paths: Paths, scale: Scale) -> tuple[_Presets, dict[str, dict[str, Any]]]:
    """The presets, and what each method needs otherwise."""
    path = paths.configs / CONFIG
    document = read_yaml(path).get("training", {}) if path.is_file() else {}
    faults: list[str] = []
    groups = ("all", "small", "large", "methods")
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: 'training' holds no keys.", "Write the groups all, small, large and methods under it.")
    faults += [f"there is no key 'training.{key}'; {nearest(str(key), list(groups))}" for key in document if key not in groups]
    parts = {group: document.get(group) or {} for group in groups}
    faults += [f"'training.{group}' holds a group of keys, not {part!r}." for group, part in parts.items() if not isinstance(part, dict)]
    parts = {group: part if isinstance(part, dict) else {} for group, part in parts.items()}
    common = merge(Recipe(), parts["all"], "training.all.", faults)
    found = {
        group: merge(_Presets(common, common, common, common), parts[group], f"training.{group}.", faults) for group in ("small", "large")
    }
    faults += _out_of_range(common, "training.all.")
    for group, presets in found.items():
        for item in fields(presets):
            wrong = _out_of_range(getattr(presets, item.name), f"training.{group}.{item.name}.")
            faults += [fault for fault in wrong if fault.replace(f"{group}.{item.name}.", "all.") not in faults]
    methods = _methods(parts["methods"], common, faults)
    if faults:
        raise ConfigError(f"{path}: " + " ".join(faults), "Correct the file; its comments say what each key means.")
    return found[scale], methods


def _methods(part: dict[str, Any], common: Recipe, faults: list[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for method, changes in part.items():
        if method not in (*METHODS, PREFERENCE):
            known = [*METHODS, PREFERENCE]
            faults.append(f"there is no key 'training.methods.{method}'; {nearest(str(method), known)}")
        elif not isinstance(changes, dict):
            faults.append(f"'training.methods.{method}' holds a group of keys, not {changes!r}.")
        else:
            where = f"training.methods.{method}."
            wrong = _out_of_range(merge(common, changes, where, faults), where)
            faults += [fault for fault in wrong if fault.replace(where, "training.all.") not in faults]
            found[method] = changes
    return found


def _conflicts(value: Recipe) -> list[str]:
    """What cannot go together, each with the reason."""
    checks = [
        (
            value.packing and value.method == "prompt_tuning",
            "'packing' cannot go with prompt_tuning: only the first of the joined rows would see the prompt.",
        ),
        (
            value.lora_dropout > 0 and value.method not in LORA,
            f"'lora_dropout' has no meaning for {value.method}: it leaves out inputs of a LoRA adapter.",
        ),
    ]
    if value.prefers:
        checks += [
            (value.packing, "'packing' cannot go with preference pairs."),
            (value.neftune_alpha > 0, "'neftune_alpha' cannot go with preference pairs."),
            (value.openings > 0, "'openings' cannot go with preference pairs."),
            (value.replay > 0, "'replay' cannot go with preference pairs: its rows are answers, not pairs."),
            (value.tokens_at_once > 0, "'tokens_at_once' cannot go with preference pairs; use a smaller batch_size with accumulation."),
        ]
    return [sentence for wrong, sentence in checks if wrong]


def _out_of_range(value: Recipe, where: str) -> list[str]:
    instead = "it is what `prefer` does; " if value.prefers else ""
    checks = [
        # `prefer` alone chooses it, for its own run.
        (value.method in METHODS or (value.prefers and not where), "method", f"{instead}use one of {', '.join(METHODS)}."),
        (value.schedule in SCHEDULES, "schedule", f"use one of {', '.join(SCHEDULES)}."),
        (0 < value.share <= 1, "share", "above 0, at most 1."),
        (0 < value.exposures <= 1000, "exposures", "above 0, at most 1000."),
        (0 <= value.openings < 1, "openings", "from 0, below 1."),
        (0 <= value.epochs <= 100, "epochs", "from 0 to 100 (0: as `exposures` says)."),
        (value.max_steps >= 0, "max_steps", "at least 1 (0: no limit)."),
        (0 < value.learning_rate <= 1, "learning_rate", "above 0, at most 1."),
        (0 <= value.batch_size <= 1024, "batch_size", "from 1 to 1024 (0: chosen by the length of the rows)."),
        (1 <= value.accumulation <= 1024, "accumulation", "from 1 to 1024."),
        (32 <= value.max_length <= 131072, "max_length", "from 32 to 131072 tokens."),
        (1 <= value.lora_r <= 512, "lora_r", "from 1 to 512."),
        (1 <= value.lora_alpha <= 4096, "lora_alpha", "from 1 to 4096."),
        (0 <= value.lora_dropout < 1, "lora_dropout", "at least 0, below 1."),
        (0 <= value.frozen_share < 1, "frozen_share", "from 0, below 1."),
        (1 <= value.prompt_tokens <= 512, "prompt_tokens", "from 1 to 512."),
        (0 <= value.neftune_alpha <= 100, "neftune_alpha", "from 0 to 100 (0: no noise)."),
        (0 <= value.replay <= 1, "replay", "from 0 to 1."),
        (0 < value.beta <= 10, "beta", "above 0, at most 10."),
        (0 <= value.weight_decay <= 1, "weight_decay", "from 0 to 1."),
        (0 <= value.warmup_share <= 1, "warmup_share", "from 0 to 1."),
        (value.max_grad_norm > 0, "max_grad_norm", "above 0."),
        (value.tokens_at_once >= 0, "tokens_at_once", "at least 1 (0: chosen by the machine)."),
        (0 <= value.patience <= 1000, "patience", "from 0 to 1000 (0: never)."),
        (0 <= value.validations <= 1000, "validations", "from 0 to 1000."),
        (value.validation_rows >= 1, "validation_rows", "at least 1."),
        (1 <= value.checkpoint_steps <= 25, "checkpoint_steps", "from 1 to 25: more would be lost by a kill."),
        (1 <= value.checkpoint_seconds <= 120, "checkpoint_seconds", "from 1 to 120: more would be lost by a kill."),
        (value.proof_rows >= 1, "proof_rows", "at least 1."),
        (value.proof_general >= 0, "proof_general", "at least 1 (0: all there are)."),
    ]
    return [f"'{where}{name}' is {getattr(value, name)!r}; {sentence}" for right, name, sentence in checks if not right]
