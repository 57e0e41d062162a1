"""Write a network of the Llama family as one GGUF file, with its tokenizer and chat template."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from assistant.core import files
from assistant.core.errors import ModelError

# Half the size of 16 bits and nearly as exact; what does not divide into its blocks of 32 stays at 16 bits.
STORED = GGMLQuantizationType.Q8_0
BLOCK = 32
FAMILY = ("llama", "mistral")
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
_KEY = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
# Written anew, or about the file that was read.
_OWN = ("GGUF.", "general.architecture", "general.name", "general.file_type", "general.quantization_version", "tokenizer.chat_template")
_ELSE = "Export it as merged: llama.cpp's convert_hf_to_gguf.py knows more kinds."


def reason_without_form(config: Any) -> str:
    """Why a network has no GGUF form here, or "" when it has one."""
    if config.model_type not in FAMILY:
        return f"{config.model_type} is not of the Llama family"
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") != "default":
        return f"its positions are scaled ({config.rope_parameters['rope_type']})"
    return ""


def write(network: Any, target: Path, name: str, template: str, source: Path | None, folder: Path) -> None:
    """Write ``network`` (float32) to ``target``; metadata and tokenizer come from the base's GGUF file, else from its ``folder``."""
    writer = GGUFWriter(target, "llama")
    writer.add_name(name)
    writer.add_chat_template(template)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if source is not None:
        _copy(writer, source)
    else:
        _describe(writer, network.config)
        _tokenizer(writer, folder, network.config.vocab_size)
    for key, values in _tensors(network):
        kind = GGMLQuantizationType.F32 if values.ndim == 1 else STORED if values.shape[-1] % BLOCK == 0 else GGMLQuantizationType.F16
        writer.add_tensor(key, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy(writer: GGUFWriter, source: Path) -> None:
    for key, field in GGUFReader(str(source)).fields.items():
        if not key.startswith(_OWN):
            kind = field.types[0]
            writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)


def _tensors(network: Any) -> Iterator[tuple[str, Any]]:
    """Every tensor under its GGUF name; the rows of q and k in GGUF's rotary order."""
    config = network.config
    tied = bool(config.tie_word_embeddings)
    for key, tensor in network.state_dict().items():
        if key == "lm_head.weight" and tied:
            continue
        match = _KEY.fullmatch(key)
        known = _WHOLE.get(key) or (match and match[2] in _LAYER and f"blk.{match[1]}.{_LAYER[match[2]]}.{match[3]}")
        if not known:
            raise ModelError(f"The base holds {key}, which has no GGUF name here.", _ELSE)
        values = tensor.detach().to(torch.float32).cpu().numpy()
        if match and match[2] in ("self_attn.q_proj", "self_attn.k_proj"):
            values = _permuted(values, config.num_attention_heads if match[2].endswith("q_proj") else config.num_key_value_heads)
        yield known, numpy.ascontiguousarray(values)


def _permuted(rows: Any, heads: int) -> Any:
    """Rows from transformers' rotary order (two halves of a head) to GGUF's (pairs side by side)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _describe(writer: GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim or config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base((config.rope_parameters or {}).get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _tokenizer(writer: GGUFWriter, folder: Path, size: int) -> None:
    if (folder / "tokenizer.model").is_file():
        vocabulary = gguf.vocab.SentencePieceVocab(folder)
        tokens, scores, kinds = (list(part) for part in zip(*vocabulary.all_tokens(), strict=True))
        spare = size - len(tokens)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([*tokens, *(f"[PAD{number}]".encode() for number in range(spare))])
        writer.add_token_scores([*scores, *[-1000.0] * spare])
        writer.add_token_types([*kinds, *[gguf.TokenType.UNUSED] * spare])
        _specials(writer, folder, size, pairs=False)
        return
    _byte_pairs(writer, folder, size)


def _byte_pairs(writer: GGUFWriter, folder: Path, size: int) -> None:
    document = files.read_json(folder / "tokenizer.json")
    known = {number: token for token, number in document["model"]["vocab"].items()}
    special = {item["id"]: item for item in document["added_tokens"]}
    tokens, kinds = [], []
    for number in range(size):
        item = special.get(number)
        tokens.append(item["content"] if item else known.get(number, f"[PAD{number}]"))
        used = gguf.TokenType.NORMAL if number in known else gguf.TokenType.UNUSED
        kinds.append(used if not item else gguf.TokenType.CONTROL if item["special"] else gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(document))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    _specials(writer, folder, size, pairs=True)


def _splitting(document: dict[str, Any]) -> str:
    """llama.cpp's name for how the tokenizer splits a text before its pairs are joined."""
    splitter = document.get("pre_tokenizer") or {}
    parts = splitter.get("pretokenizers", [splitter])
    names = [part.get("type") for part in parts]
    if names == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and parts[1].get("use_regex", True):
        return "smollm"
    if names == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if "Split" in names and r"\p{N}{1,3}" in str(parts[names.index("Split")].get("pattern")):
        return "llama-bpe"
    raise ModelError("How the base's tokenizer splits text is not known to this export.", _ELSE)


def _specials(writer: GGUFWriter, folder: Path, size: int, pairs: bool) -> None:
    special = gguf.SpecialVocab(folder, n_vocab=size, load_merges=pairs)
    # This version's template was written before; the base's own does not go over it.
    special.chat_template = None
    special.add_to_gguf(writer)
