"""AdamW for adapters whose inputs are whitened: a step moves what general text seldom does as readily as what it always does.

What a layer reads has a few strong directions that every text shares. Plain steps on an adapter's first matrix follow these, so they
change everything a model says, and learn slowly what sets one question apart. Here that matrix is trained in coordinates in which
general text is spread evenly: with C the mean of x·xᵀ over its inputs x, A = Z·C^(-1/2) and Z is what AdamW moves. The same
idea, a layer's inputs as metric of its steps, is in K-FAC (Martens and Grosse 2015, arXiv 1503.05671) and in MEMIT (Meng et al.
2022, arXiv 2210.07229). Measured in docs/LOG.md.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer

from finetuning.training.memory import WIDEST

# Of the mean eigenvalue, added to all: the weakest directions are not stretched without end. 0.1 did nearly as well (docs/LOG.md).
# Directions by tokens come to it, because few tokens say little of many directions: on a handful of rows the steps are AdamW's own.
DAMPING = 0.01

Whitening = list[tuple[Any, Any]]


class WhitenedAdamW(torch.optim.AdamW):
    """AdamW that moves some parameters in whitened coordinates.

    ``whitening``: pairs of a parameter (rank, inputs) and its symmetric matrix (inputs, inputs). ``others`` are moved as they are.
    Fresh parameters are taken as whitened coordinates, and changed to what they stand for; ``trained`` ones stay what they are.
    """

    def __init__(self, whitening: Whitening, others: Iterable[Any], trained: bool = False, **options: Any) -> None:
        self._pairs = [(one, torch.nn.Parameter(_coordinates(one.detach(), matrix, trained)), matrix) for one, matrix in whitening]
        super().__init__([*(inner for _, inner, _ in self._pairs), *others], **options)
        self._write()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the gradients lie with the parameters themselves."""
        for one, inner, matrix in self._pairs:
            inner.grad = None if one.grad is None else one.grad @ matrix
        done = super().step(closure)  # type: ignore[arg-type]
        self._write()
        return done

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        super().zero_grad(set_to_none)
        for one, _, _ in self._pairs:
            one.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, the whitened coordinates among it."""
        return {**super().state_dict(), "whitened": [inner.detach() for _, inner, _ in self._pairs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "whitened"})
        with torch.no_grad():
            for (_, inner, _), kept in zip(self._pairs, state_dict["whitened"], strict=True):
                inner.copy_(kept)
        self._write()

    def _write(self) -> None:
        with torch.no_grad():
            for one, inner, matrix in self._pairs:
                torch.mm(inner, matrix, out=one.data)


def measured(model: Any, feed: Callable[[Any], Any], rows: Iterable[Any]) -> Whitening:
    """The matrices that whiten what the trained LoRA layers of a model read when it is fed these rows, one by one.

    Inputs wider than ``WIDEST`` are left as they are: their matrices would take more than they give.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer) and _first(module) is not None]
    layers = [module for module in layers if _first(module).shape[1] <= WIDEST]
    reads = _Reads()
    handles = [module.register_forward_pre_hook(reads.note) for module in layers]
    try:
        with torch.no_grad():
            for row in rows:
                feed(row)
    finally:
        for handle in handles:
            handle.remove()
    matrices = {name: _inverse_root(total / count, DAMPING + len(total) / count) for name, (total, count) in reads.found.items()}
    return [(_first(module), matrices[reads.of[id(module)]]) for module in layers if id(module) in reads.of]


class _Reads:
    """Sums of x·xᵀ over what layers read; layers that read the same (query, key and value) share one sum."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, int]] = {}
        self.of: dict[int, int] = {}
        self._last: tuple[Any, int] = (None, 0)

    def note(self, module: Any, inputs: tuple[Any, ...]) -> None:
        own = id(module)
        if self._last[0] is not inputs[0]:
            self._last = inputs[0], self.of.setdefault(own, own)
            if self.of[own] == own:
                self._add(own, inputs[0])
        self.of.setdefault(own, self._last[1])

    def _add(self, name: int, values: Any) -> None:
        # Not in the half precision of a training around it.
        with torch.autocast(values.device.type, enabled=False):
            flat = values.detach().reshape(-1, values.shape[-1]).float()
            total, count = self.found.get(name, (0, 0))
            self.found[name] = total + flat.t() @ flat, count + len(flat)


def _coordinates(one: Any, matrix: Any, trained: bool) -> Any:
    """Z of A = Z·M, M symmetric."""
    return torch.linalg.solve(matrix, one.t()).t().contiguous() if trained else one.clone()


def _inverse_root(covariance: Any, damping: float) -> Any:
    """C^(-1/2), damped, and scaled so that the mean squared length of an input stays what it was."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    scale = (values + damping * values.mean()).rsqrt()
    scale *= (values.sum() / (values * scale * scale).sum()).sqrt()
    return (vectors * scale) @ vectors.t()


def _first(module: Any) -> Any:
    """The trained first matrix of a LoRA layer; None where there is none."""
    matrix = next((module.lora_A[name] for name in module.active_adapters if name in module.lora_A), None)
    return matrix.weight if matrix is not None and matrix.weight.requires_grad else None
