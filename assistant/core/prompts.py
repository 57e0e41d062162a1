"""System prompts and message lists: the same code for training and for answering."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from assistant.core.values import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Short on purpose: without a cache every token of it costs 2-3 ms before the first word (docs/LOG.md).
SYSTEM = {
    "unified": "You are PZ2, a friendly assistant. Answer briefly and in plain words.",
    "qna": "You are PZ2's specialist for facts and explanations. Answer completely and correctly.",
    "technical": "You are PZ2's technical specialist. Answer with complete, exact steps.",
    "general": "You are PZ2, a friendly assistant. Answer briefly and in plain words.",
}


def system_prompt(model: str) -> str:
    """The system prompt a model is trained and asked with; a specialist of the user's own has one made from its name."""
    if model == "base":
        return SYSTEM["unified"]
    return SYSTEM.get(model) or f"You are PZ2's specialist for {model.replace('_', ' ')}. Answer completely and correctly."


def to_input_text(messages: Sequence[Message]) -> str:
    """Messages as the datasets' ``input_text``: ``System: …``, then the turns, then an open ``Assistant:``."""
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    lines = [f"{names[message.role]}: {message.content}" for message in messages]
    system, turns = (lines[:1], lines[1:]) if messages and messages[0].role == "system" else ([], lines)
    return "\n\n".join([*system, "\n".join([*turns, "Assistant:"])])


def from_input_text(text: str) -> list[Message]:
    """The messages of an ``input_text``; a text without the form is one user message."""
    match = re.fullmatch(r"(?:System: (?P<system>.*?)\n\n)?(?P<turns>User: .*)\nAssistant:\s*", text, re.DOTALL)
    if not match:
        return [Message("user", text)]
    messages = [Message("system", match["system"])] if match["system"] else []
    for role, content in re.findall(r"(User|Assistant): (.*?)(?=\n(?:User|Assistant): |\Z)", match["turns"], re.DOTALL):
        messages.append(Message("user" if role == "User" else "assistant", content))
    return messages


class ChatFormat(Protocol):
    """Messages as token ids, for one base."""

    end_ids: tuple[int, ...]

    def encode(self, messages: Sequence[Message], answer: bool = True) -> list[int]:
        """The prompt of a conversation, open for the assistant's answer when ``answer``."""

    def encode_answer(self, text: str) -> list[int]:
        """An answer as it is trained: its tokens and the end of the turn."""

    def encode_open(self, system: str) -> list[int]:
        """A conversation up to where its user begins to write."""

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens left out."""


@dataclass(slots=True)
class ChatML:
    """The ``<|im_start|>role … <|im_end|>`` form of SmolLM2, Qwen and others.

    What a person typed is encoded as plain text, so ``<|im_end|>`` in a message is seven characters and not a command.
    """

    tokenizer: "Tokenizer"
    start_id: int
    end_id: int

    @classmethod
    def load(cls, tokenizer_json: Path) -> "ChatML":
        """The format over a ``tokenizer.json``; loads no torch."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tokenizer_json))
        # Special tokens typed by a person are split like any text.
        tokenizer.encode_special_tokens = True
        return cls(tokenizer, tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>"))

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return (self.end_id,)

    def encode(self, messages: Sequence[Message], answer: bool = True) -> list[int]:
        """The prompt of a conversation as token ids."""
        if not messages or messages[0].role != "system":
            messages = [Message("system", SYSTEM["unified"]), *messages]
        ids: list[int] = []
        for message in messages:
            ids += [self.start_id, *self._plain(f"{message.role}\n{message.content}"), self.end_id, *self._plain("\n")]
        return [*ids, self.start_id, *self._plain("assistant\n")] if answer else ids

    def encode_answer(self, text: str) -> list[int]:
        """An answer's tokens and the end of the turn."""
        return [*self._plain(text), self.end_id]

    def encode_open(self, system: str) -> list[int]:
        """A conversation up to where its user begins to write: what follows is a question of the model's own."""
        return [*self.encode([Message("system", system)], answer=False), self.start_id, *self._plain("user\n")]

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _plain(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids
