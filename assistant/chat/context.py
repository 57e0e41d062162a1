"""What of a conversation still fits into the model's context."""

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.chat.history import Turn
from assistant.core.errors import UsageError
from assistant.core.prompts import ChatFormat
from assistant.core.values import Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as token ids, and how many of the oldest turns had to be left out."""

    ids: list[int]
    left_out: int


def build(chat: ChatFormat, system: str, turns: Sequence[Turn], question: str, room: int, first: int = 0) -> Prompt:
    """The prompt of a question after the turns from ``first`` on, in at most ``room`` tokens.

    When it does not fit, the oldest turns go until it fills at most half the room: trimming in large steps keeps the
    engine's cache of the beginning useful for many turns. A question too long by itself is a UsageError.
    """
    opening = [Message("system", system)]
    alone = chat.encode([*opening, Message("user", question)])
    if len(alone) > room:
        raise UsageError(
            f"The question has {len(alone)} tokens; {room} fit.",
            "Shorten it, or raise chat.context_tokens in model_config.yaml.",
        )
    sizes = [_size(chat, turn) for turn in turns]
    if len(alone) + sum(sizes[first:]) > room:
        first = next((start for start in range(first, len(sizes)) if len(alone) + sum(sizes[start:]) <= room // 2), len(sizes))
    messages = opening + [message for turn in turns[first:] for message in _messages(turn)]
    return Prompt(chat.encode([*messages, Message("user", question)]), first)


def _messages(turn: Turn) -> list[Message]:
    return [Message("user", turn.reply.question), Message("assistant", turn.reply.answer)]


def _size(chat: ChatFormat, turn: Turn) -> int:
    return len(chat.encode([Message("system", ""), *_messages(turn)], answer=False)) - len(
        chat.encode([Message("system", "")], answer=False)
    )
