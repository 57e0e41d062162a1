"""A base that writes requests by its topic, and a root whose `synthesize` it serves."""

import random
from dataclasses import dataclass, field, replace

import pytest

from assistant.engine import base as engines
from assistant.engine.base import Base, Generated
from finetuning.synthetic import config
from tests.scripted import ScriptedFormat

WORDS = (
    "river", "mountain", "planet", "engine", "window", "printer", "garden", "message", "recipe", "letter", "market", "island",
    "museum", "bridge", "castle", "forest", "harbour", "kitchen", "ladder", "mirror", "needle", "orange", "pencil", "quartz",
    "rocket", "saddle", "tunnel", "valley", "walnut", "yellow", "zipper", "anchor", "basket", "candle", "dragon",
)  # fmt: skip


@dataclass
class WritingEngine:
    """Where a user's turn is open it writes a request of seeded words, else an answer; ``stop_after`` batches it dies."""

    stop_after: int = 10**9
    released: int = 0
    batches: list = field(default_factory=list)
    name: str = "hf"
    context_tokens: int = 2048
    format: ScriptedFormat = field(default_factory=ScriptedFormat)

    def batch(self, prompts, adapter, sampling, scored=True):
        if len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(sampling)
        said = []
        for place, prompt in enumerate(prompts):
            text, draw = self.format.decode(prompt), random.Random(f"{sampling.seed}/{place}/{sampling.temperature}")
            words = draw.sample(WORDS, 5)
            if text.endswith("user\n"):
                text = f"What does the {words[0]} have to do with the {words[1]}, the {words[2]} and the {words[3]}?"
            else:
                text = f"It is the {words[0]} that moves the {words[1]}. The {words[2]} does the rest with a {words[3]} and a {words[4]}."
            said.append(Generated(text, tuple(map(ord, text)), (), "end"))
        return said

    def embed(self, prompt):
        return [1.0, 0.0]

    def release(self):
        self.released += 1


@pytest.fixture
def writing(monkeypatch):
    """The engine that every `synthesize` of a test loads; 16 rows are written together."""
    engine = WritingEngine()
    load = config.load
    monkeypatch.setattr(config, "load", lambda paths: replace(load(paths), batch=16))
    monkeypatch.setattr(engines, "base_of", lambda settings, paths: Base("scripted", "scripted", "abc"))
    monkeypatch.setattr(engines, "make", lambda *_: engine)
    return engine
