"""Give a version to other programs: merged safetensors, its adapter, or one GGUF file. Each is loaded again and tried before it counts."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from jinja2 import TemplateError
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from assistant.core import files
from assistant.core import paths as path_tools
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import ModelError, UsageError
from assistant.core.events import Checked, Event, Lines, Report, Step, Table
from assistant.core.paths import Paths
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import Adapter, Message, ModelCard, Sampling, Token
from assistant.engine import base as engines
from assistant.engine import hf
from assistant.engine.base import Base, Engine
from finetuning.training import gguf_file

QUESTIONS = ("Hello, who are you?", "What is the capital of France?", "How do I draw a line?", "I feel sad today.")
ANSWER = Sampling(max_tokens=24)
# How far the likeliest first tokens may move, in log-probability, as the mean over the questions: 16 and 8 bits round otherwise.
# A wrong order of rows or a forgotten adapter moves them by whole units.
CLOSE = 0.3
# What only the trial of a GGUF file needs beside it.
TRIAL_FILES = "tokenizer"
# Of the embedded base, whose folder nobody else has.
PUBLIC_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True, slots=True)
class Source:
    """The version that is given away, and the base under it."""

    card: ModelCard
    folder: Path
    base: Base
    system: str

    @property
    def adapter(self) -> Adapter:
        """Its weights, as the engines take them."""
        return Adapter(f"{self.card.model}/{self.card.version}", self.folder)

    @property
    def whole(self) -> bool:
        """Whether it is a network of its own (method ``full``) and no adapter."""
        return not (self.folder / "adapter_config.json").is_file()


def run(context: Context, model: str, version: str | None = None, to: str | None = None, format: str = "merged") -> Iterator[Event]:
    """Write a version into a folder in the form that was asked for, try it there, and only then give the folder its name."""
    paths = context.paths
    settings = configuration.load(paths)
    source = _source(paths, settings, model, version)
    name = f"{model}_{source.card.version}_{format}"
    target = path_tools.find(to, paths) if to else paths.models / "exports" / name
    _check_target(target, source, format)
    yield Step(f"Writing {model} {source.card.version} as {format}")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        written = _WRITERS[format](source, settings, paths, part)
        yield Step("Loading it again and asking it the same questions")
        apart, said, before = _tried(source, settings, paths, written)
        same = apart <= CLOSE and bool(said)
        yield Checked("answers as before", same, f"“{' '.join(said.split())}” ({apart:.3f} apart in log-probability)")
        if not same:
            raise ModelError(
                f"The exported model answers otherwise: “{said}” instead of “{before}” ({apart:.3f} apart).", "Nothing was written."
            )
        shutil.rmtree(part / TRIAL_FILES, ignore_errors=True)
        _describe(source, part, format)
        if target.is_dir():
            target.rmdir()
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    yield _report(source, target, format, apart, said)


def _source(paths: Paths, settings: configuration.Settings, model: str, version: str | None) -> Source:
    store = Store(paths)
    number = version.zfill(4) if version else store.current(model).version
    if number is None:
        known = ", ".join(store.versions(model))
        fix = f"Name one of {known}." if known else f"Train it first: `train {model}`."
        raise UsageError(f"The {model} model has no live version to export.", fix)
    card, folder = store.card(model, number), store.version_folder(model, number)
    plan = files.read_json(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    base = engines.base_of(replace(settings, base=plan.get("base_source") or settings.base), paths)
    if card.base_sha256 and base.sha256 and card.base_sha256 != base.sha256:
        raise ModelError(
            f"{model} {number} was trained on another base than {base.name}.", "Put that base back, or export another version."
        )
    return Source(card, folder, base, card.system or system_prompt(model))


def _check_target(target: Path, source: Source, form: str) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty.", "Name another folder with --to, or delete that one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    weights = sum(path.stat().st_size for path in source.folder.iterdir() if path.suffix in (".safetensors", ".gguf"))
    if form != "adapter":
        folder = Path(source.base.source)
        weights += sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else 0
    free = shutil.disk_usage(target.parent).free
    if free < 1.1 * weights + 20_000_000:
        raise ModelError(f"About {weights / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free.", "Free some space, or use --to.")


def _merged(source: Source, settings: configuration.Settings, paths: Paths, part: Path) -> Base:
    network = _network(source, paths).to(torch.bfloat16)
    network.config.dtype = torch.bfloat16
    network.save_pretrained(str(part))
    _save_tokenizer(source, paths, part)
    return Base(source.card.model, str(part))


def _adapter(source: Source, settings: configuration.Settings, paths: Paths, part: Path) -> Adapter:
    if source.whole:
        raise ModelError(f"{source.card.model} {source.card.version} is a whole network without an adapter.", "Use --format merged.")
    for name in ("adapter_model.safetensors", "adapter.gguf"):
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, part / name)
    config = files.read_json(source.folder / "adapter_config.json")
    config["base_model_name_or_path"] = PUBLIC_NAME if source.base.gguf else source.base.source
    files.write_json(part / "adapter_config.json", config)
    return Adapter("export", part)


def _gguf(source: Source, settings: configuration.Settings, paths: Paths, part: Path) -> Base:
    network = _network(source, paths)
    if reason := gguf_file.reason_without_form(network.config):
        raise ModelError(f"This version has no GGUF form: {reason}.", "Use --format merged.")
    target = part / f"{source.card.model}_{source.card.version}.gguf"
    tokenizer = _save_tokenizer(source, paths, part / TRIAL_FILES)
    folder = Path(source.base.source) if Path(source.base.source).is_dir() else part / TRIAL_FILES
    name = f"{source.card.base} {source.card.model} {source.card.version}"
    gguf_file.write(network, target, name, tokenizer.chat_template, source.base.gguf, folder)
    return Base(source.card.model, str(part), gguf=target, tokenizer_json=part / TRIAL_FILES / "tokenizer.json")


_WRITERS = {"merged": _merged, "adapter": _adapter, "gguf": _gguf}


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


def _tried(source: Source, settings: configuration.Settings, paths: Paths, written: Base | Adapter) -> tuple[float, str, str]:
    """How far the exported model's first words are from the version's, and what both say."""
    as_gguf = isinstance(written, Base) and written.gguf is not None
    live = "llama" if as_gguf and (source.folder / "adapter.gguf").is_file() else "hf"
    engine = engines.make(live, source.base, settings, paths)
    try:
        prompts = [engine.format.encode([Message("system", source.system), Message("user", question)]) for question in QUESTIONS]
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


def _describe(source: Source, part: Path, form: str) -> None:
    card, base = source.card, PUBLIC_NAME if source.base.gguf else source.base.source
    uses = {
        "merged": "Load it with `transformers.AutoModelForCausalLM.from_pretrained(FOLDER)` and `AutoTokenizer.from_pretrained(FOLDER)`.",
        "adapter": f"A PEFT adapter for {base}; `adapter.gguf`, where there is one, is the same for llama.cpp.",
        "gguf": "Load it with llama.cpp, Ollama or LM Studio; tokenizer and chat template are in the file.",
    }
    lines = [
        f"# {card.model} {card.version}",
        "",
        f"Trained by PZ2 with {card.method} on {card.base} from the dataset {card.dataset} ({card.steps} steps, {card.created}).",
        uses[form],
        "A conversation begins with this system prompt (the chat template adds it when there is none and the base knows such prompts):",
        "",
        f"> {source.system}",
        "",
    ]
    files.write_text(part / "README.md", "\n".join(lines))


def _report(source: Source, target: Path, form: str, apart: float, said: str) -> Report:
    written = sorted(path for path in target.rglob("*") if path.is_file())
    rows = tuple((str(path.relative_to(target)), f"{path.stat().st_size / 1e6:,.1f} MB") for path in written)
    data = {
        "model": source.card.model,
        "version": source.card.version,
        "format": form,
        "folder": str(target),
        "files": {str(path.relative_to(target)): path.stat().st_size for path in written},
        "apart": round(apart, 4),
        "said": said,
    }
    title = f"{source.card.model} {source.card.version} as {form} in {target}"
    return Report(title, data, (Table(("file", "size"), rows), Lines("", (f"Asked “{QUESTIONS[0]}” it says: {' '.join(said.split())}",))))
