"""The numbers of the classifier: linear probes fitted on a base's states, and a probe judged on them. No files, no engine.

Method: linear classifier probes (Alain & Bengio 2016, arXiv 1610.01644), fitted by L-BFGS with an L2 penalty.
"""

from dataclasses import dataclass
from typing import Any

import torch

from assistant.core.values import CATEGORIES
from assistant.router.classifier import Probe
from finetuning.evaluation import metrics, reliability
from finetuning.evaluation.bootstrap import interval

# Chosen on the validation split (docs/LOG.md).
L2 = 0.01
DIFFICULTY = {"basic": 0.0, "intermediate": 0.5, "advanced": 1.0}
# Pairs of difficulties that the complexity should tell apart.
PAIRS = (("basic", "advanced"), ("basic", "intermediate"), ("intermediate", "advanced"))


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions as the probe sees them: ``states`` (rows, width) of length 1, categories, and difficulties ("" where nobody said)."""

    states: torch.Tensor
    categories: tuple[str, ...]
    difficulties: tuple[str, ...]


def fit(rows: Labelled, base: str, base_sha256: str, l2: float = L2) -> Probe:
    """The probe that reads such states: a softmax over the categories, a logistic for the complexity."""
    mean, spread = rows.states.mean(0), rows.states.std(0) + 1e-4
    scaled = (rows.states - mean) / spread
    labels = torch.tensor([CATEGORIES.index(category) for category in rows.categories])
    wanted = torch.nn.functional.one_hot(labels, len(CATEGORIES)).float()
    category = _fit(scaled, wanted, _balance(labels), l2, softmax=True)

    known = [place for place, level in enumerate(rows.difficulties) if level in DIFFICULTY]
    levels = torch.tensor([[DIFFICULTY[rows.difficulties[place]]] for place in known])
    # Without any difficulty in the data the complexity stays at one half and decides nothing.
    complexity: tuple[float, ...] = (0.0,) * (rows.states.shape[1] + 1)
    if known:
        complexity = _unscaled(_fit(scaled[known], levels, torch.ones(len(known)), l2, softmax=False), 0, mean, spread)
    categories = {name: _unscaled(category, place, mean, spread) for place, name in enumerate(CATEGORIES)}
    return Probe(base, base_sha256, categories, complexity)


def document(probe: Probe) -> dict[str, Any]:
    """A probe as ``probe.json`` holds it."""
    return {
        "base": probe.base,
        "base_sha256": probe.base_sha256,
        "categories": {name: list(weights) for name, weights in probe.categories.items()},
        "complexity": list(probe.complexity),
    }


def read(probe: Probe, states: torch.Tensor) -> tuple[list[str], list[float]]:
    """The likeliest category and the complexity of each state."""
    scores = torch.stack([_apply(weights, states) for weights in probe.categories.values()], 1)
    names = list(probe.categories)
    return [names[place] for place in scores.argmax(1).tolist()], torch.sigmoid(_apply(probe.complexity, states)).tolist()


def right(probe: Probe, rows: Labelled) -> list[float]:
    """1.0 for each question whose category is right, 0.0 for the others."""
    said, _ = read(probe, rows.states)
    return [float(one == true) for one, true in zip(said, rows.categories, strict=True)]


def figures(probe: Probe, rows: Labelled) -> dict[str, Any]:
    """Accuracy with its interval, per-class F1, confusion, and how well the complexity tells difficulties apart."""
    said, complexity = read(probe, rows.states)
    given = right(probe, rows)
    found = interval(given)
    apart = {}
    for low, high in PAIRS:
        chosen = [place for place, level in enumerate(rows.difficulties) if level in (low, high)]
        apart[f"{low}_{high}"] = _rounded(
            reliability.auroc([complexity[place] for place in chosen], [rows.difficulties[place] == high for place in chosen])
        )
    by_level = {
        level: _rounded(metrics.mean([one for one, other in zip(complexity, rows.difficulties, strict=True) if other == level]))
        for level in DIFFICULTY
    }
    return {
        **metrics.classification(said, list(rows.categories), CATEGORIES),
        "accuracy_interval": {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4)},
        "complexity_by_difficulty": by_level,
        "complexity_auroc": apart,
    }


def _fit(states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, l2: float, softmax: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of a (multinomial) logistic regression with an L2 penalty."""
    slope = torch.zeros(states.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        scores = states @ slope + bias
        if softmax:
            each = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
        else:
            each = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")[:, 0]
        loss = (each * weights).mean() + l2 * slope.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return slope.detach(), bias.detach()


def _balance(labels: torch.Tensor) -> torch.Tensor:
    counts = torch.bincount(labels, minlength=len(CATEGORIES)).float().clamp(min=1)
    return (len(labels) / len(CATEGORIES) / counts)[labels]


def _unscaled(fitted: tuple[torch.Tensor, torch.Tensor], column: int, mean: torch.Tensor, spread: torch.Tensor) -> tuple[float, ...]:
    """Weights for the state as it comes, the bias last."""
    slope = fitted[0][:, column] / spread
    return tuple(round(value, 5) for value in [*slope.tolist(), float(fitted[1][column] - (slope * mean).sum())])


def _apply(weights: tuple[float, ...], states: torch.Tensor) -> torch.Tensor:
    return states @ torch.tensor(weights[:-1]) + weights[-1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
