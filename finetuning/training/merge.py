"""A version's weights in the base, as a network of its own or as one GGUF file, and the trial of what was written."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jinja2 import TemplateError
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from assistant.core import files
from assistant.core.errors import ModelError
from assistant.core.paths import Paths
from assistant.core.settings import Settings
from assistant.core.values import Adapter, Message, Sampling, Token
from assistant.engine import base as engines
from assistant.engine import hf
from assistant.engine.base import Base, Engine
from finetuning.training import gguf_file
from finetuning.training.export import PUBLIC_NAME, TRIAL_FILES, Source

ANSWER = Sampling(max_tokens=24)


def _merged(source: Source, paths: Paths, part: Path) -> Base:
    network = _network(source, paths).to(torch.bfloat16)
    network.config.dtype = torch.bfloat16
    network.save_pretrained(str(part))
    _save_tokenizer(source, paths, part)
    return Base(source.card.model, str(part))


def _adapter(source: Source, paths: Paths, part: Path) -> Adapter:
    if source.whole:
        raise ModelError(f"{source.card.model} {source.card.version} is a whole network without an adapter.", "Use --format merged.")
    for name in ("adapter_model.safetensors", "adapter.gguf"):
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, part / name)
    config = files.read_json(source.folder / "adapter_config.json")
    config["base_model_name_or_path"] = PUBLIC_NAME if source.base.gguf else source.base.source
    files.write_json(part / "adapter_config.json", config)
    return Adapter("export", part)


def _gguf(source: Source, paths: Paths, part: Path) -> Base:
    network = _network(source, paths)
    if reason := gguf_file.reason_without_form(network.config):
        raise ModelError(f"This version has no GGUF form: {reason}.", "Use --format merged.")
    target = part / f"{source.card.model}_{source.card.version}.gguf"
    tokenizer = _save_tokenizer(source, paths, part / TRIAL_FILES)
    folder = Path(source.base.source) if Path(source.base.source).is_dir() else part / TRIAL_FILES
    name = f"{source.card.base} {source.card.model} {source.card.version}"
    gguf_file.write(network, target, name, tokenizer.chat_template, source.base.gguf, folder)
    return Base(source.card.model, str(part), gguf=target, tokenizer_json=part / TRIAL_FILES / "tokenizer.json")


WRITERS = {"merged": _merged, "adapter": _adapter, "gguf": _gguf}


def _network(source: Source, paths: Paths) -> Any:
    """The base with the version's weights in it, in float32: one rounding at the end."""
    if source.whole:
        return AutoModelForCausalLM.from_pretrained(str(source.folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
    if source.base.gguf is not None:
        # Straight from the file that llama.cpp answers with.
        network = AutoModelForCausalLM.from_pretrained(
            str(source.base.gguf.parent), gguf_file=source.base.gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        network.hf_quantizer, network.is_quantized = None, False
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
    else:
        network = hf.load_base(source.base, paths).float()
    model = PeftModel.from_pretrained(network, str(source.folder))
    if model.active_peft_config.is_prompt_learning:
        raise ModelError("Trained prompts cannot be merged into weights.", "Use --format adapter.")
    return model.merge_and_unload(safe_merge=True)


def _save_tokenizer(source: Source, paths: Paths, folder: Path) -> Any:
    """The base's tokenizer; its template says the system prompt the version was trained with when a conversation brings none."""
    if source.base.gguf is not None:
        tokenizer = AutoTokenizer.from_pretrained(str(paths.base), trust_remote_code=False)
    else:
        tokenizer = hf.chat_format(source.base, paths).tokenizer  # type: ignore[attr-defined]
    prompt = json.dumps(source.system, ensure_ascii=False)
    head = (
        "{% if messages[0]['role'] != 'system' %}{% set messages = [{'role': 'system', 'content': " + prompt + "}] + messages %}{% endif %}"
    )
    own = tokenizer.chat_template
    tokenizer.chat_template = head + own
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    except TemplateError:
        # A template that refuses system messages stays as it is.
        tokenizer.chat_template = own
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def tried(source: Source, settings: Settings, paths: Paths, written: Base | Adapter, questions: Sequence[str]) -> tuple[float, str, str]:
    """How far the exported model's first words are from the version's, and what both say."""
    as_gguf = isinstance(written, Base) and written.gguf is not None
    live = "llama" if as_gguf and (source.folder / "adapter.gguf").is_file() else "hf"
    engine = engines.make(live, source.base, settings, paths)
    try:
        prompts = [engine.format.encode([Message("system", source.system), Message("user", question)]) for question in questions]
        before = _said(engine, source.adapter, prompts)
    finally:
        engine.release()
    exported = isinstance(written, Adapter)
    engine = engines.make("llama" if as_gguf else "hf", source.base if exported else written, settings, paths)  # type: ignore[arg-type]
    try:
        after = _said(engine, written if exported else None, prompts)  # type: ignore[arg-type]
    finally:
        engine.release()
    apart = fmean(_apart(one[:1], other[:1]) for one, other in zip(before, after, strict=True))
    return apart, _text(after[0]), _text(before[0])


def _said(engine: Engine, adapter: Adapter | None, prompts: Sequence[Sequence[int]]) -> list[list[Token]]:
    if adapter is not None:
        engine.set_adapters([adapter])
    key = adapter.key if adapter else None
    return [list(engine.stream(prompt, key, ANSWER, lambda: False)) for prompt in prompts]


def _apart(one: Sequence[Token], other: Sequence[Token]) -> float:
    """How far the three likeliest tokens of the first are from what the second gives them; one that it does not name counts whole."""
    if not one or not other:
        return 0.0 if not one and not other else math.inf
    ours, theirs = one[0].top[:3], dict(other[0].top)
    return fmean(abs(value - theirs[token]) if token in theirs else 1.0 for token, value in ours)


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens).strip()
