"""Figures of answers: overlap with a reference, health, classification, likelihood. Pure: texts and numbers in, numbers out."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from assistant.core.facts import normalise
from assistant.router.repetition import loop_length

# An answer of fewer words than this share of its reference's, or more than the inverse of it, has an unhealthy length.
LENGTH_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """How near an answer is to its reference, each from 0 to 1."""

    rouge_l: float
    chrf: float
    token_f1: float


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an answer goes round in circles, and whether its length is sound."""

    repeats: bool
    empty: bool
    too_short: bool
    too_long: bool

    @property
    def sound(self) -> bool:
        """Nothing is wrong with the answer's form."""
        return not (self.repeats or self.empty or self.too_short or self.too_long)


def overlaps(answers: Sequence[str], references: Sequence[str]) -> list[Overlap]:
    """ROUGE-L (Lin 2004; rouge-score), chrF (Popović 2015; sacrebleu, its defaults) and token-F1 (Rajpurkar et al. 2016) of each answer."""
    # Here, because the libraries take a second to load and most commands never need them.
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    rouge, chrf = RougeScorer(["rougeL"], use_stemmer=True), CHRF()
    return [
        Overlap(
            float(rouge.score(reference, answer)["rougeL"].fmeasure),
            float(chrf.sentence_score(answer, [reference]).score) / 100,
            token_f1(answer, reference),
        )
        for answer, reference in zip(answers, references, strict=True)
    ]


def token_f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall over the bare words two texts share."""
    given, wanted = Counter(normalise(answer).split()), Counter(normalise(reference).split())
    shared = sum((given & wanted).values())
    return 2 * shared / (sum(given.values()) + sum(wanted.values())) if shared else 0.0


def health(answer: str, ids: Sequence[int], reference: str = "", cut: bool = False) -> Health:
    """The soundness of an answer's form. ``cut`` says that it ran into the token limit."""
    length, wanted = len(answer.split()), len(reference.split())
    too_short = bool(wanted) and 0 < length < wanted * LENGTH_SHARE
    too_long = cut or (bool(wanted) and length > wanted / LENGTH_SHARE)
    return Health(loops(ids), not answer.strip(), too_short, too_long)


def loops(ids: Sequence[int]) -> bool:
    """Whether the tokens go round in circles anywhere, by the guard that ends such answers in the chat."""
    return any(loop_length(ids[:end]) for end in range(8, len(ids) + 1))


def distinct_pairs(answers: Sequence[str]) -> float:
    """The share of different word pairs among all word pairs of the answers (distinct-2, Li et al. 2016)."""
    pairs = [pair for answer in answers for pair in pairwise(normalise(answer).split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def perplexity(loss: float) -> float:
    """e to the loss, which is a mean negative log-probability a token; a loss too great for a number is infinite."""
    return math.exp(loss) if loss < 700 else math.inf


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is there, None when nothing is."""
    there = [float(value) for value in values if value is not None]
    return statistics.fmean(there) if there else None


def accuracy(given: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of labels that are right."""
    return sum(one == other for one, other in zip(given, wanted, strict=True)) / len(wanted) if wanted else 0.0


def confusion(given: Sequence[str], wanted: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each true label (outer) was read as each label (inner)."""
    counts = Counter(zip(wanted, given, strict=True))
    return {true: {read: counts[true, read] for read in labels} for true in labels}


def per_class(given: Sequence[str], wanted: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every label; a label nobody gave has precision 0."""
    figures: dict[str, dict[str, float]] = {}
    for label in labels:
        hit = sum(one == other == label for one, other in zip(given, wanted, strict=True))
        said, true = sum(one == label for one in given), sum(other == label for other in wanted)
        f1 = 2 * hit / (said + true) if said + true else 0.0
        figures[label] = {"precision": hit / said if said else 0.0, "recall": hit / true if true else 0.0, "f1": f1, "support": true}
    return figures


def classification(given: Sequence[str], wanted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-F1 (over labels that occur), per-class figures and the confusion matrix."""
    classes = per_class(given, wanted, labels)
    occurring = [figures["f1"] for figures in classes.values() if figures["support"]]
    everything = [*labels, *sorted(set(given) - set(labels))]
    return {
        "rows": len(wanted),
        "accuracy": accuracy(given, wanted),
        "macro_f1": mean(occurring) or 0.0,
        "classes": classes,
        "confusion": {true: counts for true, counts in confusion(given, wanted, everything).items() if true in labels},
    }
