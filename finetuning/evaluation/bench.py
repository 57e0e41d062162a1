"""The bench: one base in the live engine (answers) and in transformers (likelihoods), and what was answered before."""

import hashlib
import json
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.core.errors import ModelError
from assistant.core.events import Progress
from assistant.core.paths import Paths
from assistant.core.settings import Settings
from assistant.core.values import Adapter, Message, Sampling, Token
from assistant.engine import base as engines
from assistant.engine.base import Base, Engine, Generated
from assistant.router import classifier, confidence
from finetuning.evaluation import kept
from finetuning.evaluation.subjects import Subject, sha256

# Prompts handed to an engine at once: enough to decode together where it can, few enough to show how far it is.
CHUNKS = {"hf": 48, "llama": 4}
SCORED = 32
# How far the base may come apart from itself: not at all in transformers; llama.cpp sums in another order (0.11 was seen).
SAME = {"hf": 1e-6, "llama": 0.25}
READING = ("What is the capital of France?", "How do I draw a line?")
# Counts up when answers kept from earlier could differ from new ones.
FORM = 3


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: its text, token ids, why it ended (``end`` or ``length``).

    ``features`` and ``early`` are what the router reads of its tokens, of all and of the first ones (assistant.router.confidence).
    """

    text: str
    ids: tuple[int, ...]
    stopped: str
    features: tuple[float, ...] = ()
    early: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers in the order of their prompts, and the seconds they took (when they were first given)."""

    said: tuple[Said, ...]
    seconds: float
    kept: bool = False

    @property
    def tokens_per_second(self) -> float | None:
        """The speed of the whole batch, prompts included in the time."""
        tokens = sum(len(one.ids) for one in self.said)
        return tokens / self.seconds if self.seconds else None


class Bench:
    """Loads the base once for all subjects. Answers are kept under ``logs/evaluations`` and used again for the same weights and prompts."""

    def __init__(
        self, paths: Paths, settings: Settings, base: Base, subjects: Sequence[Subject], engine: str = "auto", fresh: bool = False
    ) -> None:
        self.paths, self.settings, self.base = paths, settings, base
        self.subjects, self.fresh = tuple(subjects), fresh
        # By engine: how far the base's log-probabilities with all adapters resident are from those of the base alone.
        self.base_changes: dict[str, float] = {}
        self._name = engine_for(settings, base, subjects, engine)
        self._hashes: dict[str, str] = {}
        self._states: dict[str, list[float]] = {}
        self._engine: Engine | None = None
        self._scorer: Any = None
        self._adapters = [subject.adapter for subject in subjects if subject.adapter]

    @property
    def name(self) -> str:
        """The engine that answers."""
        return self._name

    @property
    def engine(self) -> Engine:
        """The engine that answers, with every subject's adapter resident."""
        if self._engine is None:
            self._engine = self._scorer if self._name == "hf" and self._scorer else self._load(self._name)
        return self._engine

    @property
    def scorer(self) -> Any:
        """The transformers engine, which gives likelihoods; on the GPU it is the live one too."""
        if self._scorer is None:
            self._scorer = self._engine if self._name == "hf" and self._engine else self._load("hf")
        return self._scorer

    def answers(
        self, subject: Subject, prompts: Sequence[Sequence[int]], sampling: Sampling, unit: str = "answers", again: bool = False
    ) -> Generator[Progress, None, Answers]:
        """Every prompt's answer by that subject; ``again`` asks anew and keeps nothing."""
        path = self._kept(subject, self.name, asdict(sampling))
        keys = [kept.key(prompt) for prompt in prompts]
        known = {} if again or self.fresh else kept.read(path)
        missing = [place for place, name in enumerate(keys) if name not in known]
        spent, tokens, size = 0.0, 0, CHUNKS[self.name]
        for start in range(0, len(missing), size):
            places = missing[start : start + size]
            began = time.perf_counter()
            said = self.engine.batch([prompts[place] for place in places], subject.key, sampling)
            seconds = time.perf_counter() - began
            spent, tokens = spent + seconds, tokens + sum(len(one.ids) for one in said)
            entries = [
                {"prompt": keys[place], **_entry(one), "seconds": seconds / len(places)} for place, one in zip(places, said, strict=True)
            ]
            known.update({entry["prompt"]: entry for entry in entries})
            if not again:
                kept.add(path, entries)
            left = len(missing) - start - len(places)
            speed = {"tokens_per_second": round(tokens / spent, 1)}
            yield Progress(len(prompts) - left, len(prompts), unit, speed, spent / (start + len(places)) * left)
        given = [known[name] for name in keys]
        answers = tuple(Said(one["text"], tuple(one["ids"]), one["stopped"], tuple(one["features"]), tuple(one["early"])) for one in given)
        return Answers(answers, sum(one["seconds"] for one in given), kept=not missing)

    def scores(
        self, subject: Subject, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], unit: str = "rows"
    ) -> Generator[Progress, None, list[tuple[float, ...]]]:
        """Every answer token's log-probability, by (prompt, answer) pair."""
        path = self._kept(subject, "scores", {})
        keys = [kept.key([*prompt, -1, *answer]) for prompt, answer in pairs]
        known = {} if self.fresh else kept.read(path)
        missing = [place for place, name in enumerate(keys) if name not in known]
        began = time.perf_counter()
        for start in range(0, len(missing), SCORED):
            places = missing[start : start + SCORED]
            found = self.scorer.score([pairs[place] for place in places], subject.key)
            entries = [
                {"prompt": keys[place], "scores": [round(value, 5) for value in row]} for place, row in zip(places, found, strict=True)
            ]
            known.update({entry["prompt"]: entry for entry in entries})
            kept.add(path, entries)
            left, done = len(missing) - start - len(places), start + len(places)
            yield Progress(len(pairs) - left, len(pairs), unit, {}, (time.perf_counter() - began) / done * left)
        return [tuple(known[name]["scores"]) for name in keys]

    def state(self, question: str) -> list[float]:
        """The bare base's state at the end of a question, which tells whether it lies within a version's scope."""
        if question not in self._states:
            self._states[question] = classifier.state(self.engine, question)
        return self._states[question]

    def release(self) -> None:
        """Give the memory back."""
        for engine in {id(one): one for one in (self._engine, self._scorer) if one is not None}.values():
            engine.release()
        self._engine = self._scorer = None

    def _load(self, name: str) -> Any:
        engine = engines.make(name, self.base, self.settings, self.paths)
        before = _reading(engine)
        engine.set_adapters(_unique(self._adapters))
        self.base_changes[name] = _apart(before, _reading(engine))
        if self.base_changes[name] > SAME[name]:
            raise ModelError(
                f"The base answers otherwise with adapters loaded (log-probabilities {self.base_changes[name]:.3f} apart on {name}).",
                "No figure against the base would be true. This is a fault of PZ2; please report it.",
            )
        return engine

    def _kept(self, subject: Subject, how: str, choice: dict[str, Any]) -> Path:
        asked_how = [self.base.sha256 or self.base.source, self._hash(subject), FORM, how, choice]
        return self.paths.logs / "evaluations" / f"{hashlib.sha256(json.dumps(asked_how).encode()).hexdigest()[:32]}.jsonl"

    def _hash(self, subject: Subject) -> str:
        if subject.label not in self._hashes:
            self._hashes[subject.label] = sha256(subject, self.base)
        return self._hashes[subject.label]


def engine_for(settings: Settings, base: Base, subjects: Sequence[Subject], wanted: str = "auto") -> str:
    """The live engine, or the wanted one; transformers where an adapter has no GGUF form."""
    without = [subject.label for subject in subjects if subject.adapter and not (subject.adapter.folder / "adapter.gguf").is_file()]
    if wanted == "llama":
        if base.gguf is None or without:
            named = ", ".join(without) or base.name
            raise ModelError(f"llama.cpp cannot run {named}: it has no GGUF form.", "Leave --engine out, or use hf.")
        return wanted
    live = wanted if wanted == "hf" else engines.engine_name(settings, base)
    return "hf" if without else live


def _entry(said: Generated) -> dict[str, Any]:
    """An answer as it is kept."""
    tops = said.tops or ((),) * len(said.ids)
    tokens = [Token(id, "", logprob, top) for id, logprob, top in zip(said.ids, said.logprobs, tops, strict=True)]
    whole, early = confidence.of_answer(tokens, said.stopped == "length")
    return {
        "text": said.text,
        "ids": said.ids,
        "stopped": said.stopped,
        "features": [round(value, 5) for value in whole],
        "early": [round(value, 5) for value in early],
    }


def _reading(engine: Engine) -> list[dict[int, float]]:
    """The bare base's likeliest first tokens on two questions."""
    tops = []
    for question in READING:
        prompt = engine.format.encode([Message("user", question)])
        tokens = list(engine.stream(prompt, None, Sampling(max_tokens=1), lambda: False))
        tops.append(dict(tokens[0].top) if tokens else {})
    return tops


def _apart(before: list[dict[int, float]], after: list[dict[int, float]]) -> float:
    # The last of the likeliest may change places with the next one, so the three first are looked at.
    pairs = list(zip(before, after, strict=True))
    return max((abs(one[token] - other.get(token, one[token] - 1)) for one, other in pairs for token in list(one)[:3]), default=0.0)


def _unique(adapters: Sequence[Adapter]) -> list[Adapter]:
    return list({adapter.key: adapter for adapter in adapters}.values())
