"""Give a version to other programs: merged safetensors, its adapter, or one GGUF file. Each is loaded again and tried before it counts."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.core import files
from assistant.core import paths as path_tools
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import ModelError, UsageError
from assistant.core.events import Checked, Event, Lines, Report, Step, Table
from assistant.core.paths import Paths
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import Adapter, ModelCard
from assistant.engine import base as engines
from assistant.engine.base import Base
from assistant.router import scope

QUESTIONS = ("Hello, who are you?", "What is the capital of France?", "How do I draw a line?", "I feel sad today.")
# How far the likeliest first tokens may move, in log-probability, as the mean over the questions: 16 and 8 bits round otherwise.
# A wrong order of rows or a forgotten adapter moves them by whole units.
CLOSE = 0.3
# What only the trial of a GGUF file needs beside it.
TRIAL_FILES = "tokenizer"
# What an exported version has no part of: who answers is decided in the chat.
UNSCOPED = "It answers everything itself, also what it was not trained on; in PZ2 the base answers that."
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
    # Only now, because torch takes seconds to load.
    from finetuning.training import merge

    yield Step(f"Writing {model} {source.card.version} as {format}")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        written = merge.WRITERS[format](source, paths, part)
        yield Step("Loading it again and asking it the same questions")
        apart, said, before = merge.tried(source, settings, paths, written, QUESTIONS)
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
        *([UNSCOPED] if (source.folder / scope.FILE).is_file() else []),
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
