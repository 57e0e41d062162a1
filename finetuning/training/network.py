"""The network that is trained: the frozen base, float32 adapters over it, and a forward pass that computes only what the loss needs."""

import types
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLinear
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import CausalLMOutput

from finetuning.training.recipe import Recipe

IGNORED = -100
# On a CPU the plain attention is several times faster than the fused one (whose backward pass took a fifth of all time),
# and keeps its weights: used as long as these fit into so many bytes.
PLAIN_ATTENTION_BYTES = 800_000_000


def with_adapter(base: Any, recipe: Recipe, seed: int) -> PeftModel:
    """The base with a fresh adapter on all linear layers but the output layer: the base frozen, the adapter in float32."""
    torch.manual_seed(seed)
    base.config.use_cache = False
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        use_rslora=recipe.rank_stabilised,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def prepare(model: PeftModel, prefix: int = 0) -> None:
    """Put the fast forward pass in place. ``prefix`` is how many first tokens all rows share: they are computed once a batch.

    With dropout, activations computed twice or a cache of another kind the rows are computed whole.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    plain = all(_is_plain(layer) for layer in layers)
    if plain:
        for layer in layers:
            layer.forward = types.MethodType(_lora_forward, layer)
    network = model.get_base_model()
    network.pz2_prefix = prefix if plain and _has_plain_cache(network) else 0
    network.pz2_attention = network.config._attn_implementation
    network.forward = types.MethodType(_forward, network)


def _forward(self: Any, input_ids: Any, attention_mask: Any, labels: Any, num_items_in_batch: Any = None, **_: Any) -> CausalLMOutput:
    """The loss on the answers: hidden states of all tokens, logits only where a token is trained."""
    self.set_attn_implementation(_attention(self, input_ids))
    whole = bool(attention_mask.all())
    prefix = 0 if self.model.gradient_checkpointing and self.training else self.pz2_prefix
    if prefix and len(input_ids) > 1:
        hidden = _after_prefix(self, input_ids, attention_mask, prefix)
        # The state before a token predicts it; the last state of the prefix predicts nothing that is trained.
        targets = labels[:, prefix + 1 :]
    else:
        hidden = self.model(input_ids=input_ids, attention_mask=None if whole else attention_mask, use_cache=False).last_hidden_state
        targets = labels[:, 1:]
    chosen = targets != IGNORED
    logits = self.lm_head(hidden[:, :-1][chosen]).float()
    loss = F.cross_entropy(logits, targets[chosen], reduction="sum")
    return CausalLMOutput(loss=loss / (chosen.sum() if num_items_in_batch is None else num_items_in_batch))


def _after_prefix(self: Any, input_ids: Any, attention_mask: Any, prefix: int) -> Any:
    """Hidden states of what follows the shared first tokens, which one row computes for all; gradients flow through it."""
    cache = DynamicCache(config=self.config)
    self.model(input_ids=input_ids[:1, :prefix], past_key_values=cache, use_cache=True)
    for layer in cache.layers:
        layer.keys = layer.keys.expand(len(input_ids), -1, -1, -1)
        layer.values = layer.values.expand(len(input_ids), -1, -1, -1)
    return self.model(
        input_ids=input_ids[:, prefix:], attention_mask=attention_mask, past_key_values=cache, use_cache=True
    ).last_hidden_state


def _attention(self: Any, input_ids: Any) -> str:
    if input_ids.device.type != "cpu" or (self.model.gradient_checkpointing and self.training):
        return self.pz2_attention
    rows, length = input_ids.shape
    # float32 weights of the softmax and their bf16 copy are kept for the backward pass of every layer.
    kept = rows * self.config.num_attention_heads * length * length * 6 * self.config.num_hidden_layers
    return "eager" if kept <= PLAIN_ATTENTION_BYTES else self.pz2_attention


class _Lora(torch.autograd.Function):
    """x·Wᵀ + s·(x·Aᵀ)·Bᵀ with the gradients of A and B, in as few passes over memory as possible."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        a, b = a.to(x.dtype), (b * scale).to(x.dtype)
        inside = rows @ a.t()
        out = F.linear(rows, weight, bias)
        out.addmm_(inside, b.t())
        ctx.save_for_backward(rows, weight, a, b, inside)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
        rows, weight, a, b, inside = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        through = gradient @ b
        of_b = (gradient.t() @ inside).float().mul_(ctx.scale)
        of_a = (through.t() @ rows).float()
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ weight
            of_x.addmm_(through, a)
            of_x = of_x.view(ctx.shape)
        return of_x, None, None, of_a, of_b, None


def _lora_forward(self: LoraLinear, x: Any, *_: Any, **__: Any) -> Any:
    base = self.base_layer
    name = self.active_adapters[0]
    if self.disable_adapters:
        return base(x)
    return _Lora.apply(
        x.to(base.weight.dtype), base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    )


def _is_plain(layer: LoraLinear) -> bool:
    """Whether a layer is an ordinary LoRA over an ordinary linear layer of half precision, which is what ``_Lora`` computes."""
    return (
        type(layer.base_layer) is torch.nn.Linear
        and layer.base_layer.weight.dtype is torch.bfloat16
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and all(isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
    )


def _has_plain_cache(network: Any) -> bool:
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=network.config).layers)
