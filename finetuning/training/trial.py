"""Try a trained version in both engines before it counts: it says one answer, and it must differ from the base."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core import files
from assistant.core.errors import TrainingError
from assistant.core.paths import Paths
from assistant.core.settings import Settings
from assistant.core.values import Adapter, Sampling, Token
from assistant.engine import base as engines
from assistant.engine import gguf_adapter
from assistant.engine.base import Base, Engine

ANSWER = Sampling(max_tokens=24)
FIRST = Sampling(max_tokens=1)
# Below this change of a first token's log-probability an adapter counts as one without effect; a true one moves them by tenths.
LEAST_EFFECT = 1e-3


@dataclass(frozen=True, slots=True)
class Trial:
    """What one engine did with a version: its words, the first token of each prompt, the largest change against the base."""

    engine: str
    said: str
    first: tuple[int, ...]
    effect: float


def write_gguf(folder: Path, config: object, base: Base) -> bool:
    """Write ``adapter.gguf`` beside the PEFT files; says whether that version has such a form on this base."""
    if base.gguf is None or not (folder / "adapter_config.json").is_file():
        return False
    if gguf_adapter.reason_without_form(files.read_json(folder / "adapter_config.json")):
        return False
    gguf_adapter.write(folder, config.num_attention_heads, config.num_key_value_heads)  # type: ignore[attr-defined]
    return True


def engines_to_try(settings: Settings, base: Base, has_gguf: bool) -> tuple[str, ...]:
    """The engines this version has to run on, here."""
    llama = has_gguf and base.gguf is not None and settings.engine != "hf" and importlib.util.find_spec("xllamacpp") is not None
    return ("hf", "llama") if llama else ("hf",)


def attempt(name: str, base: Base, settings: Settings, paths: Paths, adapter: Adapter, prompts: Sequence[Sequence[int]]) -> Trial:
    """Load a version into an engine, let it answer, and compare it with the base.

    One that says nothing or changes nothing is a TrainingError.
    """
    engine = engines.make(name, base, settings, paths)
    try:
        engine.set_adapters([adapter])
        said = "".join(token.text for token in engine.stream(prompts[0], adapter.key, ANSWER, lambda: False)).strip()
        first, effect = [], 0.0
        for prompt in prompts:
            with_it, without = _first(engine, prompt, adapter.key), _first(engine, prompt, None)
            first.append(with_it.id if with_it else -1)
            effect = max(effect, _difference(with_it, without))
    finally:
        engine.release()
    if not said:
        raise TrainingError(f"{adapter.key} says nothing on the {name} engine.", "Train with more steps or a lower learning rate.")
    if effect < LEAST_EFFECT:
        raise TrainingError(
            f"{adapter.key} changes nothing on the {name} engine: it answers exactly as the base.",
            "Train with more steps or a higher learning rate.",
        )
    return Trial(name, said, tuple(first), effect)


def agreement(trials: Sequence[Trial]) -> float | None:
    """The share of prompts whose first token is the same on all engines; None with one engine."""
    if len(trials) < 2:
        return None
    pairs = list(zip(*(trial.first for trial in trials), strict=True))
    return sum(len(set(pair)) == 1 for pair in pairs) / len(pairs)


def _first(engine: Engine, prompt: Sequence[int], adapter: str | None) -> Token | None:
    return next(iter(engine.stream(prompt, adapter, FIRST, lambda: False)), None)


def _difference(with_it: Token | None, without: Token | None) -> float:
    """How far the most likely first tokens moved, in log-probability; another token among them counts as a whole unit."""
    if with_it is None or without is None:
        return 0.0 if with_it is without else 1.0
    ours, base = dict(with_it.top), dict(without.top)
    return max((abs(value - base[token]) if token in base else 1.0 for token, value in ours.items()), default=0.0)
