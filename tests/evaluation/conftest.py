"""A root with held-out rows and versions, and an engine whose models know different things."""

from dataclasses import asdict, dataclass, field

import pytest

from assistant.core import files
from assistant.core.store import Store
from assistant.core.values import ModelCard, Token
from assistant.engine.base import Base, Generated
from finetuning.evaluation import bench, compare, run, suites

GENERAL = {q.turns[0].user: q.turns[0].checks[0].wants["facts"] for q in suites.load(suites.GENERAL).questions[::2]}
FACTS = {f"key {number}": f"fact{number}" for number in range(40)}


class LetterFormat:
    """One token a letter."""

    end_ids = (0,)

    def encode(self, messages, answer=True):
        return [ord(letter) for message in messages for letter in f"{message.role}: {message.content}\n"]

    def encode_answer(self, text):
        return [*map(ord, text), 0]

    def decode(self, ids):
        return "".join(chr(number) for number in ids if number)


@dataclass
class KnowingEngine:
    """Answers by adapter: ``knows`` maps an adapter's key to a function from the question to the answer."""

    knows: dict
    name: str = "llama"
    format: LetterFormat = field(default_factory=LetterFormat)
    context_tokens: int = 4096
    asked: list = field(default_factory=list)
    answered: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    base_drifts: bool = False

    def set_adapters(self, adapters):
        self.loads.append([adapter.key for adapter in adapters])

    def answer(self, prompt, adapter):
        text = self.format.decode(prompt)
        question = text.rstrip("\n").rpartition("user: ")[2]
        self.asked.append((adapter, question))
        return self.knows[adapter](question)

    def batch(self, prompts, adapter, sampling):
        said = [self.answer(prompt, adapter)[: sampling.max_tokens] for prompt in prompts]
        self.answered += self.asked[-len(prompts) :]
        return [Generated(text, tuple(map(ord, text)), (-0.1,) * len(text), "end") for text in said]

    def stream(self, prompt, adapter, sampling, stop):
        for letter in self.answer(prompt, adapter)[: sampling.max_tokens]:
            drift = 1.0 if self.base_drifts and adapter is None and self.loads else 0.0
            yield Token(ord(letter), letter, -0.1 - drift, ((ord(letter), -0.1 - drift), (1, -3.0)))

    def score(self, pairs, adapter):
        """A reference the model would give itself is likely, any other is not."""
        scores = []
        for prompt, wanted in pairs:
            same = self.answer(prompt, adapter) == self.format.decode(wanted)
            scores.append((-0.1 if same else -2.0,) * len(wanted))
        return scores

    def embed(self, prompt):
        return [0.0] * 576

    def release(self):
        pass


def clever(question):
    return f"It is {FACTS[question]}." if question in FACTS else general(question)


def dull(question):
    return "Not known." if question in FACTS else general(question)


def forgetful(question):
    return f"It is {FACTS[question]}." if question in FACTS else "Fact, fact, fact."


def general(question):
    """Right on every second question of the general set."""
    facts = GENERAL.get(question, [])
    return " ".join(str(fact["any_of"][0]) if isinstance(fact, dict) else str(fact) for fact in facts) or "Hm."


@pytest.fixture
def root(paths):
    """A root with 40 held-out rows of the unified model, no wording of which says its answer."""
    rows = [
        {
            "input_text": f"System: You are PZ2, a friendly assistant. Answer briefly and in plain words.\n\nUser: {question}\nAssistant:",
            "target_text": f"It is {fact}.",
            "category": ("qna", "technical")[number % 2],
            "difficulty": ("basic", "advanced")[number % 3 == 0],
            "id": f"entry-{number}",
            "key_facts": [fact],
        }
        for number, (question, fact) in enumerate(FACTS.items())
    ]
    paths.processed.mkdir(parents=True)
    files.write_jsonl(paths.processed / "unified_test_phrasing.jsonl", rows)
    files.write_jsonl(paths.processed / "unified_test.jsonl", rows[:10])
    labels = [{"text": f"question {number}", "label": number % 3, "difficulty": "basic"} for number in range(12)]
    files.write_jsonl(paths.processed / "classification_test.jsonl", labels)
    return paths


def finish(paths, model, version):
    store = Store(paths)
    folder = store.version_folder(model, version)
    folder.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter.gguf"):
        (folder / name).write_bytes(f"{model} {version}".encode())
    about = ("lora", "scripted", "", "processed_english", "", "")
    card = ModelCard(model, version, f"{model}-{version}", *about, 1, 1, 1.0, 1.0, 1, ("llama",))
    files.write_json(folder / "card.json", asdict(card))
    return store.adapter(model, version)


@pytest.fixture
def versions(root):
    """Three versions of the unified model: 0001 clever, 0002 dull, 0003 clever and forgetful."""
    return [finish(root, "unified", version) for version in ("0001", "0002", "0003")]


@pytest.fixture
def engine(root, versions, monkeypatch):
    """The engine that every part of the evaluation gets, over a base of its own file."""
    weights = root.root / "base.gguf"
    weights.write_bytes(b"GGUF weights")
    made = KnowingEngine({None: dull, "unified/0001": clever, "unified/0002": dull, "unified/0003": forgetful})
    base = Base("scripted", "", files.sha256(weights), weights)
    monkeypatch.setattr(bench.engines, "make", lambda *_: made)
    monkeypatch.setattr(bench.engines, "engine_name", lambda *_: "llama")
    for module in (run, compare):
        monkeypatch.setattr(module.engines, "base_of", lambda *_: base)
    made.base = base
    return made
