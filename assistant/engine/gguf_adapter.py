"""Write a PEFT LoRA adapter as a GGUF adapter file, so that llama.cpp applies the same adapter."""

import re
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import ModelError

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight")


def reason_without_form(config: dict[str, Any]) -> str:
    """Why a PEFT adapter has no GGUF form, or "" when it has one."""
    if config.get("peft_type") != "LORA":
        return f"{config.get('peft_type')} has no GGUF form"
    if config.get("use_dora"):
        return "DoRA has no GGUF form"
    if config.get("bias", "none") != "none" or config.get("modules_to_save"):
        return "trained biases and whole modules have no GGUF form"
    return ""


def write(folder: Path, heads: int, key_value_heads: int) -> Path:
    """Write ``adapter.gguf`` beside the PEFT files in ``folder`` and return it.

    ``heads`` and ``key_value_heads`` are the base's: GGUF stores the rows of q and k in another order than transformers.
    llama.cpp scales by alpha/r, so a rank-stabilised adapter (alpha/√r; Kalajdzievski 2023, arXiv 2312.03732) is stored with alpha·√r.
    """
    import numpy
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = files.read_json(folder / "adapter_config.json")
    if reason := reason_without_form(config):
        raise ModelError(f"The adapter in {folder} cannot run on llama.cpp: {reason}.", "Use it with `engine: hf`.")
    alpha = config["lora_alpha"] * (config["r"] ** 0.5 if config.get("use_rslora") else 1.0)
    target = folder / "adapter.gguf"
    part = target.with_suffix(".gguf.part")
    writer = GGUFWriter(part, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for key, tensor in sorted(load_file(folder / "adapter_model.safetensors").items()):
        match = _KEY.fullmatch(key)
        if not match or match[2] not in _NAMES:
            raise ModelError(f"The adapter in {folder} holds {key}, which has no GGUF name.", "Train on attention and MLP layers only.")
        layer, module, side = match.groups()
        values = tensor if tensor.dtype == numpy.float16 else tensor.astype(numpy.float32)
        if side == "B" and module in ("self_attn.q_proj", "self_attn.k_proj"):
            values = _permute(values, heads if module.endswith("q_proj") else key_value_heads)
        writer.add_tensor(f"blk.{layer}.{_NAMES[module]}.weight.lora_{side.lower()}", numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(target)
    return target


def _permute(rows: Any, heads: int) -> Any:
    """Rows from transformers' rotary order (two halves) to GGUF's (pairs side by side)."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, shape[1]).swapaxes(1, 2).reshape(shape)
