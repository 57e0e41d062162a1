"""The loss on the answers, a few tokens at a time: logits over the whole vocabulary never lie in memory together."""

from typing import Any

import torch
import torch.nn.functional as F

# Tokens whose logits are computed together; 256 over 49,152 words are 50 MB in float32.
CHUNK = 256
# Tokens come in multiples of it, so that few sizes of product have to be prepared (order.py, `width`).
STEP = 64


class _AnswerLoss(torch.autograd.Function):
    """Cross-entropy summed over tokens, with the gradient of the hidden states computed on the way (the output layer is frozen)."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any) -> Any:
        wanted, real = ctx.needs_input_grad[0], len(hidden)
        hidden, targets = F.pad(hidden, (0, 0, 0, -real % STEP)), F.pad(targets, (0, -real % STEP))
        gradient = torch.empty_like(hidden) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            target = targets[start : start + CHUNK, None]
            logits = _room(weight, len(target)).copy_(hidden[start : start + CHUNK] @ weight.t())
            logits.sub_(logits.amax(1, keepdim=True))
            right = logits.gather(1, target)
            sums = logits.exp_().sum(1, keepdim=True)
            total += (sums.log() - right)[: max(0, real - start)].sum()
            if gradient is not None:
                logits.div_(sums).scatter_add_(1, target, torch.full_like(right, -1.0))
                torch.mm(logits.to(hidden.dtype), weight, out=gradient[start : start + CHUNK])
        ctx.save_for_backward(None if gradient is None else gradient[:real])
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.to(gradient.dtype), None, None


_rooms: dict[tuple[int, Any], Any] = {}


def _room(weight: Any, tokens: int) -> Any:
    """Where the logits of a chunk are computed in float32; fresh memory comes page by page, which cost more than what is done in it."""
    key = len(weight), weight.device
    if key not in _rooms:
        _rooms[key] = torch.empty(CHUNK, len(weight), dtype=torch.float32, device=weight.device)
    return _rooms[key][:tokens]


def summed(head: Any, hidden: Any, targets: Any) -> Any:
    """The cross-entropy of ``targets`` (tokens) after ``hidden`` (tokens, size), summed. ``head`` is the output layer."""
    weight = getattr(head, "weight", None)
    frozen = type(head) is torch.nn.Linear and head.bias is None and not weight.requires_grad and weight.dtype is torch.bfloat16
    if not frozen:
        return F.cross_entropy(head(hidden).float(), targets, reduction="sum")
    return _AnswerLoss.apply(hidden.to(weight.dtype), weight, targets)
