"""Options that need certain hardware or packages: whether they are here, and the line that says so."""

from assistant.core.events import Checked
from assistant.engine import base as engines
from finetuning.training.recipe import Recipe


def lines(recipe: Recipe) -> list[Checked]:
    """What stands against the method, and which options will be left out."""
    found = []
    if recipe.quantised and not engines.installed("bitsandbytes"):
        found.append(Checked("method", False, f"{recipe.method} needs the package bitsandbytes. Run `./run_finetuning.sh setup` once."))
    elif recipe.quantised and not engines.has_gpu():
        found.append(Checked("method", True, f"{recipe.method} on a CPU is slower than lora and saves no memory on a small base"))
    if recipe.liger:
        found.append(_option("Liger", liger_missing()))
    if recipe.flash_attention:
        found.append(_option("FlashAttention 2", flash_attention_missing()))
    return found


def liger_missing() -> str:
    """Why the Liger kernels cannot be used here, or "" when they can."""
    if not engines.has_gpu():
        return "Liger needs a CUDA GPU; trained without it."
    return "" if engines.installed("liger-kernel") else "Liger needs the package liger-kernel; trained without it."


def flash_attention_missing() -> str:
    """Why FlashAttention 2 cannot be used here, or "" when it can."""
    if not engines.has_gpu():
        return "FlashAttention 2 needs a CUDA GPU; trained without it."
    return "" if engines.installed("flash-attn") else "FlashAttention 2 needs the package flash-attn; trained without it."


def _option(name: str, missing: str) -> Checked:
    return Checked(name, True, missing or "is used")
