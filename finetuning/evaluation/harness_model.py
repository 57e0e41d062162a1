"""What needs lm-evaluation-harness itself: a model that answers from a record, and a judging without network. Imported only when used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from finetuning.evaluation.bench import Said


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a model says: the log-probability by (context, continuation), and the answer by prompt."""

    scores: dict[tuple[str, str], float] = field(default_factory=dict)
    answers: dict[str, Said] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the harness asked, and its samples by task."""

    asked_scores: list[tuple[str, str]]
    asked_answers: list[str]
    samples: dict[str, list[dict[str, Any]]]


class _Answering(LM):
    """Answers from a record; what is not in it is answered with nothing and noted."""

    def __init__(self, record: Recorded) -> None:
        super().__init__()
        self.record = record
        self.scores: dict[tuple[str, str], None] = {}
        self.answers: dict[str, None] = {}

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        self.scores |= dict.fromkeys(request.args for request in requests)
        return [(self.record.scores.get(request.args, 0.0), False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        raise NotImplementedError("No benchmark of ours asks for it.")

    def generate_until(self, requests: list[Any]) -> list[str]:
        self.answers |= dict.fromkeys(request.args[0] for request in requests)
        said = (self.record.answers.get(request.args[0]) for request in requests)
        return [one.text if one else "" for one in said]


def judge(tasks: list[str], folder: Path, record: Recorded, limit: int | None) -> Judged:
    """Run the harness on the tasks defined in a folder, the answers coming from the record."""
    model = _Answering(record)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    # Its own progress would land in the middle of ours, and so would git's complaint where it asks for a commit and there is none.
    unasked = patch("lm_eval.evaluator.get_git_commit_hash", return_value=None)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), unasked:
        found = lm_eval.simple_evaluate(
            model=model, tasks=list(tasks), num_fewshot=0, limit=limit, bootstrap_iters=0, task_manager=manager, log_samples=True
        )
    samples = {task: sorted(rows, key=lambda row: row["doc_id"]) for task, rows in found["samples"].items()}
    return Judged(list(model.scores), list(model.answers), samples)


@contextmanager
def offline(sentences: bool) -> Iterator[tuple[str, ...]]:
    """The harness without network; with ``sentences`` what it would fetch to count them is replaced, and the replacement is named."""
    with _environment("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "HF_EVALUATE_OFFLINE"):
        yield _without_sentence_model() if sentences else ()


@contextmanager
def _environment(*names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _without_sentence_model() -> tuple[str, ...]:
    import nltk
    from langdetect import DetectorFactory
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    # Its language guess is drawn at random unless it has a seed.
    DetectorFactory.seed = 0
    # Only the first of several processes fetches NLTK's sentence model while this is imported; LOCAL_RANK 1 is not the first.
    with _environment("LOCAL_RANK"):
        from lm_eval.tasks.ifeval import instructions_util

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        instructions_util._get_sentence_tokenizer = PunktSentenceTokenizer
        words = partial(nltk.word_tokenize, preserve_line=True)
        instructions_util.nltk = SimpleNamespace(word_tokenize=words, tokenize=nltk.tokenize)
        return ("sentences are counted by NLTK's Punkt without its English abbreviations (its model is not on this disk)",)
    return ()
