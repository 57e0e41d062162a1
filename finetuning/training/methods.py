"""The methods of training: how the base is loaded for each one, and what is trained over it."""

from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig, PromptTuningInit
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as IA3_KNOWN
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from assistant.core.errors import TrainingError
from assistant.core.paths import Paths
from assistant.engine import hf
from assistant.engine.base import Base
from finetuning.training import hardware
from finetuning.training.recipe import Recipe

# For architectures that peft has no list for: how Llama and its many relatives call these layers.
IA3_COMMON = ("k_proj", "v_proj", "down_proj")


def load(base: Base, paths: Paths, recipe: Recipe) -> Any:
    """The base as a method trains over it: quantised, in half precision, or (full) in float32, whose small steps half precision loses."""
    options: dict[str, Any] = {}
    if recipe.flash_attention and not hardware.flash_attention_missing():
        options["attn_implementation"] = "flash_attention_2"
    if recipe.quantised:
        options["quantization_config"] = _quantisation(recipe)
        options["device_map"] = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    network = hf.load_base(base, paths, **options)
    return network.float() if recipe.method == "full" else network


def config(network: Any, recipe: Recipe) -> PeftConfig | None:
    """What peft shall train; None when the network itself is trained.

    On arXiv: LoRA 2106.09685, rank-stabilised 2312.03732, DoRA 2402.09353, QLoRA 2305.14314, IA3 2205.05638, prompt tuning 2104.08691.
    """
    match recipe.method:
        case "full":
            return None
        case "ia3":
            return _ia3(network)
        case "prompt_tuning":
            return PromptTuningConfig(
                num_virtual_tokens=recipe.prompt_tokens, prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB, task_type="CAUSAL_LM"
            )
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        use_rslora=recipe.rank_stabilised,
        use_dora=recipe.method == "dora",
        task_type="CAUSAL_LM",
        **_places(network, recipe.frozen_share),
    )


def _places(network: Any, frozen: float) -> dict[str, Any]:
    """Which layers get an adapter: all linear ones but the output layer, or those of the blocks above the frozen share of them.

    Nothing is computed backward through blocks below the first adapter, and their activations are not kept.
    """
    layers = blocks(network)
    first = int(len(layers) * frozen)
    if not first:
        return {"target_modules": "all-linear"}
    names = {name.rpartition(".")[2] for name, one in layers.named_modules() if isinstance(one, (torch.nn.Linear, Conv1D))}
    return {"target_modules": sorted(names), "layers_to_transform": list(range(first, len(layers)))}


def blocks(network: Any) -> Any:
    """The transformer blocks of a network, in order; none where they are not found."""
    count = getattr(network.config.get_text_config(), "num_hidden_layers", 0)
    lists = (one for one in network.modules() if isinstance(one, torch.nn.ModuleList) and len(one) == count)
    return next(lists, torch.nn.ModuleList())


def _quantisation(recipe: Recipe) -> BitsAndBytesConfig:
    if recipe.method == "lora_8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )


def _ia3(network: Any) -> IA3Config:
    if network.config.model_type in IA3_KNOWN:
        return IA3Config(task_type="CAUSAL_LM")
    there = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    if not there.issuperset(IA3_COMMON):
        raise TrainingError(
            f"IA3 knows no layers of this base ({network.config.model_type}).", "Train with --method lora, which finds them by itself."
        )
    return IA3Config(task_type="CAUSAL_LM", target_modules=list(IA3_COMMON), feedforward_modules=[IA3_COMMON[-1]])
