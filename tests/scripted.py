"""An engine that says what a test wrote for it, through the same protocol as the real ones."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from assistant.core.errors import ModelError
from assistant.core.values import Adapter, Message, Sampling, Token
from assistant.engine import base as engines
from assistant.engine.base import Base, Generated, Stop

DEFAULT = "I have no line for that."
Script = Mapping[str, str] | Callable[[str], str]


class ScriptedFormat:
    """Every letter is a token; control tokens have numbers that no letter has."""

    OPEN, CLOSE = 0x110001, 0x110002
    end_ids = (CLOSE,)

    def encode(self, messages: Sequence[Message], answer: bool = True) -> list[int]:
        """A conversation, open for the answer when ``answer``."""
        ids: list[int] = []
        for message in messages:
            ids += [self.OPEN, *map(ord, f"{message.role}\n{message.content}"), self.CLOSE]
        return [*ids, self.OPEN, *map(ord, "assistant\n")] if answer else ids

    def encode_answer(self, text: str) -> list[int]:
        """An answer and its end."""
        return [*map(ord, text), self.CLOSE]

    def encode_open(self, system: str) -> list[int]:
        """A conversation up to where its user begins to write."""
        return [self.OPEN, *map(ord, f"system\n{system}"), self.CLOSE, self.OPEN, *map(ord, "user\n")]

    def decode(self, ids: Sequence[int]) -> str:
        """The letters."""
        return "".join(chr(number) for number in ids if number <= 0x10FFFF)


@dataclass
class ScriptedEngine:
    """Answers a question with the text written for it (``answers``: question → answer, or a function).

    ``token_seconds`` and ``prefill_seconds`` slow it down. ``said`` keeps every question with the adapter it was asked with,
    ``closed`` counts answers that were stopped from outside.
    """

    answers: Script = field(default_factory=dict)
    token_seconds: float = 0.0
    prefill_seconds: float = 0.0
    state: Sequence[float] = (1.0, 0.0)
    name: str = "scripted"
    context_tokens: int = 4096
    format: ScriptedFormat = field(default_factory=ScriptedFormat)
    said: list[tuple[str, str | None]] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    closed: int = 0

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Remember them; one whose folder is missing is refused."""
        for adapter in adapters:
            if not Path(adapter.folder).is_dir():
                raise ModelError(f"{adapter.folder} does not exist.", "Use another version.")
        self.adapters = [adapter.key for adapter in adapters]

    def stream(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling, stop: Stop) -> Iterator[Token]:
        """The answer in small pieces."""
        question = self._question(prompt)
        self.said.append((question, adapter))
        whole = False
        try:
            time.sleep(self.prefill_seconds)
            for letter in self._answer(question)[: sampling.max_tokens]:
                if stop():
                    return
                time.sleep(self.token_seconds)
                yield Token(ord(letter), letter, -0.1)
            whole = True
        finally:
            self.closed += not whole

    def batch(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling, scored: bool = True) -> list[Generated]:
        """Whole answers."""
        answers = []
        for prompt in prompts:
            tokens = list(self.stream(prompt, adapter, sampling, lambda: False))
            text = "".join(token.text for token in tokens)
            answers.append(Generated(text, tuple(token.id for token in tokens), tuple(token.logprob for token in tokens), "end"))
        return answers

    def embed(self, prompt: Sequence[int]) -> list[float]:
        """The same state for everything."""
        return list(self.state)

    def release(self) -> None:
        """There is nothing to give back."""

    def _question(self, prompt: Sequence[int]) -> str:
        text = self.format.decode(prompt).removesuffix("assistant\n")
        return text.rpartition("user\n")[2]

    def _answer(self, question: str) -> str:
        if callable(self.answers):
            return self.answers(question)
        return self.answers.get(question, DEFAULT)


def install(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, *, load_seconds: float = 0.0) -> None:
    """Let every ``Live`` of a test load this engine. It stands on a base without a classifier, so there is no category."""

    def make(*_: object) -> ScriptedEngine:
        time.sleep(load_seconds)
        return engine

    monkeypatch.setattr(engines, "base_of", lambda settings, paths: Base("scripted", "scripted"))
    monkeypatch.setattr(engines, "make", make)
