"""A conversation over a scripted engine, and versions that look finished."""

import math
from dataclasses import asdict, dataclass, field

import pytest

from assistant.chat.history import History
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.errors import ModelError
from assistant.core.store import Store
from assistant.core.values import Judgement, ModelCard, Token
from assistant.router.confidence import FEATURES, Calibration, Curve
from tests.scripted import ScriptedEngine, ScriptedFormat


class WordFormat(ScriptedFormat):
    """One token a word."""

    def __init__(self):
        self.words = ["<end>"]

    end_ids = (0,)

    def encode(self, messages, answer=True):
        return [number for message in messages for number in self._ids(f"{message.role} {message.content}")]

    def encode_answer(self, text):
        return [*self._ids(text), 0]

    def decode(self, ids):
        return " ".join(self.words[number] for number in ids)

    def _ids(self, text):
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]


@dataclass
class AdapterEngine(ScriptedEngine):
    """Each adapter says its own line, word by word; the prompts are kept, and some adapters are broken."""

    lines: dict = field(default_factory=dict)
    prompts: list = field(default_factory=list)
    broken: set = field(default_factory=set)
    context_tokens: int = 2048
    format: WordFormat = field(default_factory=WordFormat)

    def set_adapters(self, adapters):
        for adapter in adapters:
            if adapter.key in self.broken:
                raise ModelError(f"{adapter.key} is damaged.", "Use another version.")
        self.adapters = [adapter.key for adapter in adapters]

    def stream(self, prompt, adapter, sampling, stop):
        # What is only read ahead in the background asks for a single token.
        if sampling.max_tokens > 1:
            self.prompts.append((adapter, self.format.decode(prompt)))
        whole = False
        try:
            for place, word in enumerate(self.lines.get(adapter, self.lines[None]).split()[: sampling.max_tokens]):
                yield Token(self.format.encode_answer(word)[0], word if place == 0 else f" {word}", -0.1)
            whole = True
        finally:
            self.closed += not whole


class ScriptedLive(Live):
    """The real bookkeeping over a scripted engine; the judgement is what the test says."""

    def __init__(self, paths, engine):
        super().__init__(paths, configuration.load(paths))
        self.judgement = Judgement("technical", {"qna": 0.1, "technical": 0.8, "general": 0.1}, 0.2)
        # By adapter (or "base"): how likely its answers are to be right, of whole ones and by the first words.
        self.confidences = {}
        self.early = {}
        self._engine = engine

    def start(self):
        self._announced = self._announced or {model: self.store.current(model).version for model in self.store.models()}

    @property
    def engine(self):
        return self._engine

    @property
    def ready(self):
        return True

    def judge(self, question):
        return self.judgement(question) if callable(self.judgement) else self.judgement

    def calibration(self, speaker):
        key = speaker.adapter or "base"
        if key not in self.confidences:
            return None
        whole = self.confidences[key]
        return Calibration("scripted", "", 100, constant(whole), constant(self.early.get(key, whole)))


def constant(share):
    """A curve that says the same of every answer."""
    zeros = (0.0,) * len(FEATURES)
    return Curve(zeros, (1.0,) * len(FEATURES), zeros, math.log(share / (1 - share)))


def card(model, version):
    return ModelCard(
        model, version, "run", "lora", "base", "", "data", "", "2026-01-01T00:00:00+00:00", 20, 1000, 1.0, 0.5, 10, ("llama", "hf")
    )


@pytest.fixture
def finish(paths):
    """Write a finished version of a model; returns its number."""

    def write(model):
        store = Store(paths)
        version = store.reserve(model, {"model": model})
        files.write_json(store.version_folder(model, version) / "card.json", asdict(card(model, version)))
        return version

    return write


@pytest.fixture
def engine():
    return AdapterEngine(lines={None: "Paris is the capital.", "unified/0001": "Unified says so.", "technical/0001": "1. Press L."})


@pytest.fixture
def live(paths, engine):
    return ScriptedLive(paths, engine)


@pytest.fixture
def session(paths, live):
    return Session(paths, live, History(paths.history))
