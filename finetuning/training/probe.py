"""The numbers of the classifier: probes fitted on a base's states, and a probe judged on them. No files, no engine.

Method: classifier probes (Alain & Bengio 2016, arXiv 1610.01644). The category is read by a few small networks of one hidden layer
whose scores are averaged, which is one wider network; the complexity by logistic regression.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from assistant.core.values import CATEGORIES
from assistant.router.classifier import Probe
from finetuning.evaluation import metrics, reliability
from finetuning.evaluation.bootstrap import interval

# Chosen on the validation split (docs/LOG.md): networks, their hidden units, the penalty on weights, passes over the rows.
NETWORKS, UNITS, PENALTY, EPOCHS = 4, 32, 1.0, 25
BATCH, RATE = 200, 1e-3
# Penalty of the logistic regression.
L2 = 0.01
# Of a weight in the file: finer ones change no score by a thousandth.
DECIMALS = 4
DIFFICULTY = {"basic": 0.0, "intermediate": 0.5, "advanced": 1.0}
# Pairs of difficulties that the complexity should tell apart.
PAIRS = (("basic", "advanced"), ("basic", "intermediate"), ("intermediate", "advanced"))


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions as the probe sees them: ``states`` (rows, width) of length 1, categories, and difficulties ("" where nobody said)."""

    states: torch.Tensor
    categories: tuple[str, ...]
    difficulties: tuple[str, ...]


def fit(rows: Labelled, base: str, base_sha256: str) -> Probe:
    """The probe that reads such states; the same rows give the same probe."""
    labels = torch.tensor([CATEGORIES.index(category) for category in rows.categories])
    hidden, output = network(rows.states, labels, len(CATEGORIES))
    mean, spread = _scale(rows.states)
    scaled = (rows.states - mean) / spread
    known = [place for place, level in enumerate(rows.difficulties) if level in DIFFICULTY]
    # Without any difficulty in the data the complexity stays at one half and decides nothing.
    complexity: tuple[float, ...] = (0.0,) * (rows.states.shape[1] + 1)
    if known:
        levels = torch.tensor([[DIFFICULTY[rows.difficulties[place]]] for place in known])
        complexity = _unscaled(_logistic(scaled[known], levels), 0, mean, spread)
    return Probe(base, base_sha256, hidden, dict(zip(CATEGORIES, output, strict=True)), complexity)


def network(states: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """The hidden layer and the output layer that tell classes apart: for each unit a weight for each input, and the bias last."""
    mean, spread = _scale(states)
    networks = [_network((states - mean) / spread, labels, classes, seed) for seed in range(NETWORKS)]
    hidden = torch.cat([one[0] for one in networks], 1), torch.cat([one[1] for one in networks])
    output = torch.cat([one[2] for one in networks]) / NETWORKS, torch.stack([one[3] for one in networks]).mean(0)
    plain = torch.zeros(len(hidden[1])), torch.ones(len(hidden[1]))
    return (
        tuple(_unscaled(hidden, unit, mean, spread) for unit in range(len(hidden[1]))),
        tuple(_unscaled(output, place, *plain) for place in range(classes)),
    )


def document(probe: Probe) -> dict[str, Any]:
    """A probe as ``probe.json`` holds it."""
    return {
        "base": probe.base,
        "base_sha256": probe.base_sha256,
        "hidden": [list(weights) for weights in probe.hidden],
        "categories": {name: list(weights) for name, weights in probe.categories.items()},
        "complexity": list(probe.complexity),
    }


def read(probe: Probe, states: torch.Tensor) -> tuple[list[str], list[float]]:
    """The likeliest category and the complexity of each state."""
    features = _apply(probe.hidden, states).clamp(min=0) if probe.hidden else states
    scores = _apply(tuple(probe.categories.values()), features)
    names = list(probe.categories)
    return [names[place] for place in scores.argmax(1).tolist()], torch.sigmoid(_apply((probe.complexity,), states)[:, 0]).tolist()


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


def _scale(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return states.mean(0), states.std(0) + 1e-4


def _network(states: torch.Tensor, labels: torch.Tensor, classes: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Weights and biases of one network: (width, units), (units), (units, classes), (classes)."""
    chance = torch.Generator().manual_seed(seed)
    parameters = []
    for inputs, outputs in itertools.pairwise((states.shape[1], UNITS, classes)):
        bound = (6 / (inputs + outputs)) ** 0.5
        parameters += [(torch.rand(inputs, outputs, generator=chance) * 2 - 1) * bound, torch.zeros(outputs)]
    for one in parameters:
        one.requires_grad_()
    first, bias, second, shift = parameters
    optimiser, weights = torch.optim.Adam(parameters, lr=RATE), _balance(labels, classes)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(states), generator=chance).split(BATCH):
                scores = (states[chosen] @ first + bias).relu() @ second + shift
                each = torch.nn.functional.cross_entropy(scores, labels[chosen], reduction="none") * weights[chosen]
                penalty = PENALTY / 2 / len(chosen) * (first.square().sum() + second.square().sum())
                optimiser.zero_grad()
                (each.mean() + penalty).backward()
                optimiser.step()
    return tuple(one.detach() for one in parameters)


def _logistic(states: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of a logistic regression with an L2 penalty, by L-BFGS."""
    slope = torch.zeros(states.shape[1], 1, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(states @ slope + bias, targets) + L2 * slope.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return slope.detach(), bias.detach()


def _balance(labels: torch.Tensor, classes: int) -> torch.Tensor:
    counts = torch.bincount(labels, minlength=classes).float().clamp(min=1)
    return (len(labels) / classes / counts)[labels]


def _unscaled(fitted: tuple[torch.Tensor, torch.Tensor], column: int, mean: torch.Tensor, spread: torch.Tensor) -> tuple[float, ...]:
    """Weights for inputs as they come, the bias last."""
    slope = fitted[0][:, column] / spread
    return tuple(round(value, DECIMALS) for value in [*slope.tolist(), float(fitted[1][column] - (slope * mean).sum())])


def _apply(weights: tuple[tuple[float, ...], ...], inputs: torch.Tensor) -> torch.Tensor:
    table = torch.tensor(weights)
    return inputs @ table[:, :-1].T + table[:, -1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
