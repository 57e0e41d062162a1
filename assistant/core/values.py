"""The values that pass between the rooms: small, frozen, without behaviour."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Category = Literal["qna", "technical", "general"]
Trigger = Literal["request", "complexity", "confidence", "pinned"]
Stopped = Literal["end", "length", "repetition", "user"]

CATEGORIES: tuple[Category, ...] = ("qna", "technical", "general")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy."""

    max_tokens: int = 400
    temperature: float = 0.0
    top_p: float = 0.9
    repeat_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    ``text`` may be empty while a character is incomplete; ``logprob`` is natural; ``top`` holds the most likely
    (token id, log-probability) pairs, best first.
    """

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Adapter:
    """The weights of one model version: ``folder`` holds the PEFT files, and ``adapter.gguf`` when it has that form.

    ``key`` names it for the engines, for example ``unified/0003``.
    """

    key: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the classifier makes of a question. ``probabilities`` by category, adding up to 1."""

    category: str
    probabilities: dict[str, float]
    complexity: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Which model answers, and why. ``trigger`` is None when the unified model answers by default."""

    model: str
    trigger: Trigger | None
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer with its figures: the document that ``--ask … --json`` prints. Fields of parts without a figure are None."""

    question: str
    answer: str
    model: str
    version: str | None
    category: str | None
    category_probabilities: dict[str, float] | None
    confidence: float | None
    complexity: float | None
    escalated: bool
    trigger: Trigger | None
    reason: str
    tokens: int
    first_token_seconds: float | None
    seconds: float
    tokens_per_second: float | None
    stopped: Stopped


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a finished version is; written last, as ``card.json``. ``system`` is the prompt it was trained and is asked with."""

    model: str
    version: str
    run: str
    method: str
    base: str
    base_sha256: str
    dataset: str
    dataset_sha256: str
    created: str
    steps: int
    trained_tokens: int
    seconds: float
    final_loss: float
    adapter_bytes: int
    engines: tuple[str, ...]
    system: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
