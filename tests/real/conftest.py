"""Roots with the real embedded base, shared by the slow tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.core.paths import Paths, prepare
from assistant.engine import embedded


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``models/base`` with the verified GGUF file, its tokenizer and the materialised safetensors; made once."""
    paths = Paths(tmp_path_factory.mktemp("base"))
    prepare(paths)
    embedded.materialise(paths)
    return paths.base


@pytest.fixture
def real_root(base_folder: Path, paths: Paths) -> Paths:
    """A fresh root over the shared base (a link, as on a machine with little disk)."""
    paths.base.symlink_to(base_folder, target_is_directory=True)
    return paths


@pytest.fixture(scope="session")
def adapters(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Three small random LoRA adapters in both forms: nothing trained, but each changes the answers in its own way."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from assistant.engine import gguf_adapter

    folder = tmp_path_factory.mktemp("adapters")
    config = json.loads((base_folder / "config.json").read_text(encoding="utf-8"))
    made = []
    for number in range(3):
        torch.manual_seed(number)
        base = AutoModelForCausalLM.from_pretrained(str(base_folder), dtype=torch.bfloat16)
        model = get_peft_model(
            base, LoraConfig(r=8, lora_alpha=16, use_rslora=number == 1, target_modules="all-linear", init_lora_weights=False)
        )
        target = folder / f"a{number}"
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.mul_(0.35)
        model.save_pretrained(str(target))
        gguf_adapter.write(target, config["num_attention_heads"], config["num_key_value_heads"])
        made.append(target)
    yield made
