"""The protocol both engines keep, the base model they share, and how one of them is chosen."""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from assistant.core.errors import ConfigError, ModelError
from assistant.core.paths import Paths, find
from assistant.core.prompts import ChatFormat
from assistant.core.settings import Settings
from assistant.core.values import Adapter, Sampling, Token

Stop = Callable[[], bool]
# Of every weights file of a folder so many pieces of so many bytes are read for its checksum: the whole of it is gigabytes.
SAMPLES, SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: ``source`` is a folder or a Hugging Face id; ``gguf`` and ``tokenizer_json`` exist for the embedded one.

    ``sha256`` is "" where it is not known, of an id; of a folder it stands for what `checksum` reads.
    """

    name: str
    source: str
    sha256: str = ""
    gguf: Path | None = None
    tokenizer_json: Path | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """A whole answer of ``batch``: its text, token ids, each token's log-probability, and the likeliest tokens at its place."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: str
    tops: tuple[tuple[tuple[int, float], ...], ...] = ()


class Engine(Protocol):
    """One base with adapters over it. Calls come one at a time; ``stream`` may be closed at any moment."""

    name: str
    format: ChatFormat
    context_tokens: int

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Make exactly these adapters resident; a broken one is a ModelError and leaves everything as it was."""

    def stream(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling, stop: Stop) -> Iterator[Token]:
        """The answer's tokens as they come, the end token left out. ``adapter`` is a resident key, None the bare base."""

    def batch(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling, scored: bool = True) -> list[Generated]:
        """Whole answers, in the order of the prompts; without ``scored`` an engine may leave the log-probabilities out."""

    def embed(self, prompt: Sequence[int]) -> list[float]:
        """The bare base's last hidden state at the last token, scaled to length 1."""

    def release(self) -> None:
        """Give the memory back."""


def base_of(settings: Settings, paths: Paths) -> Base:
    """The base that ``model_config.yaml`` names."""
    if settings.base == "embedded":
        from assistant.engine import embedded

        return embedded.base(paths)
    folder = find(settings.base, paths)
    if folder.is_dir():
        if not any(folder.glob("*.safetensors")):
            raise ModelError(
                f"The base folder {folder} holds no .safetensors file.",
                "Give a folder in safetensors form; pickled weights are not loaded.",
            )
        return Base(folder.name, str(folder), checksum(folder))
    if settings.base.startswith((".", "/", "~")) or settings.base.count("/") > 1:
        raise ModelError(f"The base folder {settings.base} does not exist.", "Correct `base:` in model_config.yaml.")
    return Base(settings.base, settings.base)


def checksum(folder: Path) -> str:
    """The hash of a folder's configuration and of each weights file's name, size, header and samples; wherever the folder lies."""
    digest = hashlib.sha256()
    if (folder / "config.json").is_file():
        digest.update((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            # 8 bytes of length, the header, the numbers.
            header = min(int.from_bytes(file.read(8), "little"), size)
            digest.update(file.read(header))
            rest = max(0, size - header - SAMPLE_BYTES)
            for sample in range(SAMPLES):
                file.seek(header + rest * sample // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def fits(of: str, of_sha256: str, base: str, base_sha256: str) -> bool:
    """Whether what was made with one base is for another: by checksum where it has one, else by name."""
    return of_sha256 == base_sha256 if of_sha256 else of == base


def engine_name(settings: Settings, base: Base) -> str:
    """``llama`` or ``hf``: what ``engine:`` says, or for ``auto`` what this machine and base can run best."""
    has_llama = importlib.util.find_spec("xllamacpp") is not None
    if settings.engine == "llama":
        if not has_llama:
            raise ConfigError("`engine: llama` needs the package xllamacpp, which is not installed.", "Install it, or set `engine: hf`.")
        if base.gguf is None:
            raise ConfigError(f"`engine: llama` needs a base with a GGUF file; {base.name} has none.", "Set `engine: auto` or `hf`.")
        return "llama"
    if settings.engine == "hf" or base.gguf is None or not has_llama:
        return "hf"
    return "hf" if has_gpu() else "llama"


def transformers_only(folder: Path) -> bool:
    """Whether a version's weights have a form that llama.cpp cannot run: a whole network, DoRA, IA3, a trained prompt."""
    from assistant.core import files
    from assistant.engine import gguf_adapter

    config = folder / "adapter_config.json"
    if config.is_file():
        return bool(gguf_adapter.reason_without_form(files.read_json(config)))
    return (folder / "config.json").is_file()


def engine_for(settings: Settings, base: Base, folders: Sequence[Path]) -> str:
    """``engine_name``, or ``hf`` under ``auto`` when one of these versions needs it; where it cannot be used that is a ModelError."""
    name = engine_name(settings, base)
    if name == "hf" or not any(map(transformers_only, folders)):
        return name
    if settings.engine == "llama":
        raise ModelError("It was trained by a method that runs on transformers only.", "Set `engine: auto` in model_config.yaml.")
    if not installed("torch"):
        raise ModelError("It runs on transformers only, which is not installed.", "Run `./run_finetuning.sh setup` once.")
    return "hf"


def engine_at_start(settings: Settings, base: Base, folders: Sequence[Path]) -> str:
    """The engine that a chat with these live versions begins with; a version that cannot be run there has to be replaced at its turn."""
    try:
        return engine_for(settings, base, folders)
    except ModelError:
        return engine_name(settings, base)


def make(name: str, base: Base, settings: Settings, paths: Paths) -> Engine:
    """The engine of that name, loaded with the base alone."""
    if name == "llama":
        from assistant.engine.llama import LlamaEngine

        return LlamaEngine(base, settings.chat.context_tokens)
    if not installed("torch"):
        raise ModelError("This base runs on transformers, which is not installed.", "Run `./run_finetuning.sh setup` once.")
    from assistant.engine.hf import HfEngine

    return HfEngine(base, settings.chat.context_tokens, paths)


def installed(package: str) -> bool:
    """Whether a package is installed. The metadata is asked because our data folder `datasets/` answers to find_spec."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def has_gpu() -> bool:
    """Whether there is a CUDA GPU that torch can use."""
    # Asking torch costs seconds, so it is asked only where a driver is present.
    if not (Path("/proc/driver/nvidia/version").exists() or Path("C:/Windows/System32/nvcuda.dll").exists()):
        return False
    if not installed("torch"):
        return False
    import torch

    return bool(torch.cuda.is_available())
