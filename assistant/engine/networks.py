"""The networks of the transformers engine: one base, and over it every version in the form that its method left.

LoRA and DoRA adapters share the base and are switched. IA3 has a network of its own that shares the base's weights, because peft
mixes no kinds of adapters. A trained prompt is only a few embeddings. A fully trained network stands alone.
"""

import copy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from assistant.core import files
from assistant.core.errors import DataError, ModelError

ADAPTER, WHOLE = "adapter_model.safetensors", "config.json"


class Networks:
    """The base and the versions over it, by key."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._twin = _twin(plain)
        self._model: Any = plain
        self._names: dict[str, str] = {}
        self._own: dict[str, Any] = {}
        self._prompts: dict[str, Any] = {}

    @property
    def keys(self) -> list[str]:
        """The versions that are here."""
        return [*self._names, *self._own, *self._prompts]

    def add(self, key: str, folder: Path) -> None:
        """Load a version; a broken one is a ModelError."""
        whole = (folder / WHOLE).is_file() and not (folder / ADAPTER).is_file()
        if not whole and not (folder / ADAPTER).is_file():
            raise ModelError(f"{folder} holds no {ADAPTER}.", "Use another version, or train the model again.")
        try:
            if whole:
                self._own[key] = self._ready(_whole(folder))
                return
            match files.read_json(folder / "adapter_config.json").get("peft_type"):
                case "LORA":
                    self._switched(key, folder)
                case "PROMPT_TUNING":
                    self._prompts[key] = load_file(folder / ADAPTER)["prompt_embeddings"].to(self._plain.device)
                case _:
                    self._own[key] = self._ready(PeftModel.from_pretrained(_twin(self._twin), str(folder), is_trainable=False))
        except (SafetensorError, RuntimeError, ValueError, OSError, KeyError, DataError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            fix = "It is damaged or belongs to another base."
            raise ModelError(f"The adapter in {folder} could not be loaded ({first}).", fix) from error

    def drop(self, key: str) -> None:
        """Let a version go."""
        self._own.pop(key, None)
        self._prompts.pop(key, None)
        name = self._names.pop(key, None)
        if name is None:
            return
        if self._names:
            self._model.set_adapter(next(iter(self._names.values())), inference_mode=True)
            self._model.delete_adapter(name)
        else:
            self._model = self._plain = self._model.unload()

    def select(self, key: str | None) -> tuple[Any, Any]:
        """The network that answers for a version (None: the bare base), and its trained prompt: (tokens, size) or None."""
        if key in self._own:
            return self._own[key], None
        if key is None or key in self._prompts:
            if isinstance(self._model, PeftModel):
                self._model.base_model.disable_adapter_layers()
            return self._model, self._prompts.get(key) if key else None
        if key not in self._names:
            raise ModelError(f"The adapter {key} is not loaded.", "This is a fault of PZ2; please report it.")
        self._model.base_model.enable_adapter_layers()
        # inference_mode: without it set_adapter turns gradients on.
        self._model.set_adapter(self._names[key], inference_mode=True)
        return self._model, None

    def inner(self) -> Any:
        """The bare base below its output layer."""
        model, _ = self.select(None)
        return (model.get_base_model() if isinstance(model, PeftModel) else model).base_model

    def _switched(self, key: str, folder: Path) -> None:
        name = key.replace("/", "_").replace(".", "_")
        if isinstance(self._model, PeftModel):
            self._model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
        else:
            self._model = PeftModel.from_pretrained(self._plain, str(folder), adapter_name=name, is_trainable=False)
        self._ready(self._model)
        self._names[key] = name

    def _ready(self, model: Any) -> Any:
        return model.to(self._plain.device).eval().requires_grad_(False)


def given(model: Any, prompt: Any, ids: Any, mask: Any = None) -> dict[str, Any]:
    """The inputs of a forward pass over ``ids`` (rows, tokens): a trained prompt goes before them, as embeddings."""
    if prompt is None:
        return {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
    words = model.get_input_embeddings()(ids)
    embeds = torch.cat([prompt.to(words.dtype).expand(len(ids), -1, -1), words], dim=1)
    if mask is None:
        return {"inputs_embeds": embeds}
    return {"inputs_embeds": embeds, "attention_mask": torch.cat([mask.new_ones(len(ids), len(prompt)), mask], dim=1)}


def _twin(network: Any) -> Any:
    """The same network with modules of its own, so that they can be changed, over the same weights."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)


def _whole(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False)
