"""The network that is trained: the base, what a method trains over it, and a forward pass that computes only what the loss needs."""

import types
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLinear
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import CausalLMOutput

from assistant.core.errors import TrainingError
from finetuning.training import loss, methods
from finetuning.training.below import Below
from finetuning.training.memory import BELOW_BYTES
from finetuning.training.recipe import Recipe
from finetuning.training.retreat import out_of_memory

IGNORED = -100
# On a CPU the plain attention is several times faster than the fused one (whose backward pass took a fifth of all time),
# and keeps its weights: used as long as these fit into so many bytes.
PLAIN_ATTENTION_BYTES = 800_000_000
# Two ways through one network are the same when their states lie no further apart, as a share of their length. Half precision alone
# makes 0.02 on processors with matrix units (docs/LOG.md); a network that is built otherwise is far beyond.
ROUNDING = 0.1
# Of a first batch, to see how a base computes.
TRIED_TOKENS = 16


def with_adapter(base: Any, recipe: Recipe, seed: int) -> Any:
    """The base with what the method trains over it, in float32; the base is frozen. For the method ``full`` the base itself."""
    torch.manual_seed(seed)
    base.config.use_cache = False
    config = methods.config(base, recipe)
    return base if config is None else get_peft_model(base, config)


def prepare(model: Any, prefix: Sequence[int] = (), noise: float = 0.0, divided: bool = False, room: int = BELOW_BYTES) -> None:
    """Put the fast forward pass in place. ``prefix`` are the first tokens that rows share: computed once a batch.

    With dropout, activations computed twice or a cache of another kind the rows are computed whole, as they are by a network that will be
    ``divided`` among processes, which is run once a step. ``noise`` is NEFTune's alpha (Jain et al. 2023, arXiv 2310.05914). ``room`` is
    how many bytes of states below the first adapter are kept.
    """
    fuse(model)
    network = model.get_base_model() if isinstance(model, PeftModel) else model
    repeatable = not noise and not any(isinstance(module, torch.nn.Dropout) and module.p for module in network.modules())
    repeatable = repeatable and not divided and _has_plain_cache(network)
    network.pz2_prefix = torch.tensor(list(prefix) if repeatable else [], dtype=torch.long, device=network.device)
    network.pz2_attention = network.config._attn_implementation
    network.pz2_plain_head = network.pz2_packs = None
    layers = methods.blocks(network)
    trained = [place for place, layer in enumerate(layers) if any(one.requires_grad for one in layer.parameters())]
    # Of the layers below the first trained one nothing is kept for the backward pass, and what they say of a row is computed once.
    network.pz2_kept_layers = len(layers) - trained[0] if trained else network.config.num_hidden_layers
    embeds = any(one.requires_grad for one in network.get_input_embeddings().parameters())
    below = bool(trained and trained[0]) and repeatable and not embeds
    network.pz2_below = Below(network, layers, trained[0], len(network.pz2_prefix), room) if below else None
    network.pz2_below_tried = False
    network.forward = types.MethodType(_forward, network)
    if noise:
        network.get_input_embeddings().register_forward_hook(_noise(noise))


def fuse(model: Any) -> None:
    """Let ordinary LoRA layers compute their two products and the base's as one step, which keeps less for the backward pass."""
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    if all(_is_plain(layer) for layer in layers):
        for layer in layers:
            layer.forward = types.MethodType(_lora_forward, layer)


def _forward(
    self: Any,
    input_ids: Any = None,
    attention_mask: Any = None,
    labels: Any = None,
    position_ids: Any = None,
    inputs_embeds: Any = None,
    num_items_in_batch: Any = None,
    keys: Any = None,
    **_: Any,
) -> CausalLMOutput:
    """The loss on the answers: hidden states of all tokens, logits only where a token is trained.

    Prompt tuning gives embeddings in the place of ids; packed rows come with the positions of each row and without a mask. ``keys``
    name the rows, whose states below the first adapter are kept.
    """
    given = input_ids if inputs_embeds is None else inputs_embeds
    self.set_attn_implementation(_attention(self, given))
    prefix = 0 if _recomputes(self) else len(self.pz2_prefix)
    if prefix and (input_ids is None or position_ids is not None or not bool((input_ids[:, :prefix] == self.pz2_prefix).all())):
        # Rows that begin otherwise (or come packed) are computed whole.
        prefix, keys = 0, None
    if keys is not None and _can_begin_above(self, input_ids, attention_mask, keys):
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        states = self.pz2_below.above(self.pz2_below.states(inputs, keys.tolist()), attention_mask)
        targets = labels[:, prefix + 1 :]
    elif prefix and len(given) > 1:
        states = _after_prefix(self, input_ids, attention_mask, prefix)
        # The state before a token predicts it; the last state of the prefix predicts nothing that is trained.
        targets = labels[:, prefix + 1 :]
    else:
        whole = position_ids is not None or bool(attention_mask.all())
        inputs = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": None if whole else attention_mask}
        if position_ids is not None:
            inputs["position_ids"] = position_ids
            _check_packing(self, input_ids, position_ids)
        states = _states(self, inputs)
        targets = labels[:, 1:]
    chosen = targets != IGNORED
    found = states[:, :-1][chosen]
    if self.pz2_plain_head:
        total = loss.summed(self.get_output_embeddings(), found, targets[chosen])
    else:
        total = F.cross_entropy(found.float(), targets[chosen], reduction="sum")
    return CausalLMOutput(loss=total / (chosen.sum() if num_items_in_batch is None else num_items_in_batch))


def _states(self: Any, inputs: dict[str, Any]) -> Any:
    """Hidden states; of a base whose output layer does more than multiply (a cap, a scale, a bias of its own) its logits."""
    if self.pz2_plain_head is None:
        self.pz2_plain_head = _has_plain_head(self, inputs)
    if self.pz2_plain_head:
        return self.base_model(**inputs, use_cache=False).last_hidden_state
    return type(self).forward(self, **inputs, use_cache=False).logits


def _has_plain_head(self: Any, inputs: dict[str, Any]) -> bool:
    """Whether the output layer over the hidden states gives the base's own logits; tried on the first batch's beginning."""
    training = self.training
    self.eval()
    try:
        with torch.no_grad():
            start = {name: value[:1, :TRIED_TOKENS] for name, value in inputs.items() if value is not None}
            states = self.base_model(**start, use_cache=False).last_hidden_state
            own = type(self).forward(self, **start, use_cache=False).logits
            return torch.allclose(self.get_output_embeddings()(states).float(), own.float(), rtol=1e-2, atol=1e-2)
    finally:
        self.train(training)


def _can_begin_above(self: Any, input_ids: Any, attention_mask: Any, keys: Any) -> bool:
    """Whether kept states give what the whole network does; tried once, on the first batch."""
    if self.pz2_below is None or _recomputes(self):
        return False
    if not self.pz2_below_tried:
        if self.pz2_plain_head is None:
            self.pz2_plain_head = _has_plain_head(self, {"input_ids": input_ids})
        if not self.pz2_plain_head or not _agrees_above(self, input_ids, attention_mask, keys):
            self.pz2_below = None
        self.pz2_below_tried = True
    return self.pz2_below is not None


def _agrees_above(self: Any, input_ids: Any, attention_mask: Any, keys: Any) -> bool:
    training, below = self.training, self.pz2_below
    self.eval()
    try:
        with torch.no_grad():
            states = below.states({"input_ids": input_ids, "attention_mask": attention_mask}, keys.tolist())
            found = below.above(states, attention_mask)
            own = self.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state[:, below.prefix :]
    # A network that is built otherwise fails so where its lower blocks are left out.
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        return False
    finally:
        self.train(training)
        below.let_go()
    if found.shape != own.shape:
        return False
    there = attention_mask[:, below.prefix :].bool()
    return _same(found[there], own[there])


def _same(found: Any, own: Any) -> bool:
    """Whether two ways to the same states gave the same but for rounding."""
    return float((found.float() - own.float()).norm() / own.float().norm()) < ROUNDING


def _check_packing(self: Any, input_ids: Any, position_ids: Any) -> None:
    """Refuse to pack on a base whose attention lets a row see the one before it; tried once, on the first packed rows."""
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    if self.pz2_packs is not None or len(starts) < 2 or starts[1] < 2:
        return
    begin, end = starts[1], min(starts[1] + TRIED_TOKENS, starts[2] if len(starts) > 2 else input_ids.shape[1])
    training = self.training
    self.eval()
    try:
        with torch.no_grad():
            alone = self.base_model(input_ids=input_ids[:1, begin:end], use_cache=False).last_hidden_state
            packed = self.base_model(input_ids=input_ids[:1, :end], position_ids=position_ids[:1, :end], use_cache=False)
    finally:
        self.train(training)
    self.pz2_packs = _same(packed.last_hidden_state[:, begin:], alone)
    if not self.pz2_packs:
        raise TrainingError("The attention of this base cannot keep packed rows apart.", "Train without --packing.")


def _noise(alpha: float) -> Any:
    def add(module: Any, _: Any, embedded: Any) -> Any:
        if not module.training:
            return embedded
        reach = alpha / (embedded.shape[1] * embedded.shape[2]) ** 0.5
        return embedded + torch.empty_like(embedded).uniform_(-reach, reach)

    return add


def _after_prefix(self: Any, input_ids: Any, attention_mask: Any, prefix: int) -> Any:
    """``_states`` of what follows the shared first tokens, which one row computes for all; gradients flow through it."""
    cache = DynamicCache(config=self.config)
    self.base_model(input_ids=input_ids[:1, :prefix], past_key_values=cache, use_cache=True)
    for layer in cache.layers:
        layer.keys = layer.keys.expand(len(input_ids), -1, -1, -1)
        layer.values = layer.values.expand(len(input_ids), -1, -1, -1)
    inputs = {"input_ids": input_ids[:, prefix:], "attention_mask": attention_mask, "past_key_values": cache, "use_cache": True}
    if self.pz2_plain_head is None:
        self.pz2_plain_head = _has_plain_head(self, {"input_ids": input_ids})
    return self.base_model(**inputs).last_hidden_state if self.pz2_plain_head else type(self).forward(self, **inputs).logits


def _recomputes(self: Any) -> bool:
    return self.training and getattr(self.base_model, "gradient_checkpointing", False)


def _attention(self: Any, given: Any) -> str:
    if given.device.type != "cpu" or _recomputes(self):
        return self.pz2_attention
    rows, length = given.shape[:2]
    # float32 weights of the softmax and their bf16 copy are kept for the backward pass of every layer.
    kept = rows * self.config.num_attention_heads * length * length * 6 * self.pz2_kept_layers
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
