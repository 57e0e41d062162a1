"""Fit the built-in classifier: two linear probes on the base's last hidden state, from the classification files.

Run as ``python -m finetuning.training.probe [--root DIR] [--out FILE]``: it writes the probe that ships with PZ2 and prints how it does
on the validation and test splits. Method: linear classifier probes (Alain & Bengio 2016, arXiv 1610.01644).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from assistant.core import files, paths
from assistant.core import settings as configuration
from assistant.core.values import CATEGORIES
from assistant.engine.base import base_of
from assistant.engine.hf import HfEngine
from assistant.router import classifier

# Chosen on the validation split among 0.001, 0.003, 0.01 and 0.03 (docs/LOG.md).
L2 = 0.01
COMPLEXITY = {"basic": 0.0, "intermediate": 0.5, "advanced": 1.0}


def fit(root: paths.Paths) -> tuple[dict[str, Any], dict[str, Any]]:
    """The probe's document and its figures: accuracy, per-class F1 and confusion matrix by split."""
    settings = configuration.load(root)
    base = base_of(settings, root)
    engine = HfEngine(base, settings.chat.context_tokens, root)
    splits = {
        name: files.read_jsonl(root.processed / f"classification_{name}.jsonl") for name in ("train", "validation", "test", "test_phrasing")
    }
    states = {name: engine.states([engine.format.encode(classifier.reading(row["text"])) for row in rows]) for name, rows in splits.items()}
    mean, spread = states["train"].mean(0), states["train"].std(0) + 1e-4
    scaled = {name: (state - mean) / spread for name, state in states.items()}
    labels = {name: torch.tensor([row["label"] for row in rows]) for name, rows in splits.items()}
    category = _fit(scaled["train"], torch.nn.functional.one_hot(labels["train"], 3).float(), _balance(labels["train"]), softmax=True)
    difficulty = torch.tensor([[COMPLEXITY.get(row.get("difficulty", "basic"), 0.0)] for row in splits["train"]])
    complexity = _fit(scaled["train"], difficulty, torch.ones(len(difficulty)), softmax=False)
    figures = {name: _figures(scaled[name] @ category[0] + category[1], labels[name]) for name in splits}
    document = {
        "base_sha256": base.sha256,
        "categories": {name: _unscaled(category, place, mean, spread) for place, name in enumerate(CATEGORIES)},
        "complexity": _unscaled(complexity, 0, mean, spread),
    }
    engine.release()
    return document, figures


def main() -> int:
    """Fit and write the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root")
    parser.add_argument("--out", default=str(classifier.BUILT_IN))
    given = parser.parse_args()
    document, figures = fit(paths.resolve(given.root))
    files.write_text(Path(given.out), json.dumps(document) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def _fit(states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, softmax: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of a (multinomial) logistic regression with an L2 penalty, by L-BFGS."""
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
        loss = (each * weights).mean() + L2 * slope.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return slope.detach(), bias.detach()


def _balance(labels: torch.Tensor) -> torch.Tensor:
    counts = torch.bincount(labels, minlength=3).float()
    return (len(labels) / 3 / counts)[labels]


def _unscaled(fitted: tuple[torch.Tensor, torch.Tensor], column: int, mean: torch.Tensor, spread: torch.Tensor) -> list[float]:
    """Weights for the state as it comes, the bias last."""
    slope = fitted[0][:, column] / spread
    return [round(value, 5) for value in [*slope.tolist(), float(fitted[1][column] - (slope * mean).sum())]]


def _figures(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    said = scores.argmax(1)
    confusion = [[int(((labels == true) & (said == given)).sum()) for given in range(3)] for true in range(3)]
    f1 = {}
    for place, name in enumerate(CATEGORIES):
        right, claimed, there = confusion[place][place], sum(row[place] for row in confusion), sum(confusion[place])
        f1[name] = round(2 * right / max(1, claimed + there), 4)
    return {"rows": len(labels), "accuracy": round(float((said == labels).float().mean()), 4), "f1": f1, "confusion": confusion}


if __name__ == "__main__":
    sys.exit(main())
