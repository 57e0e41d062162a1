"""One conversation: ``say(text)`` yields the events of a turn."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from assistant.chat import context
from assistant.chat.history import History, Turn
from assistant.chat.live import Live, Speaker
from assistant.core import files
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Event, Notice, RouteChosen, TextDelta, TurnDone
from assistant.core.paths import Paths
from assistant.core.text import Cleaner, clean
from assistant.core.values import Judgement, Reply, Route, Sampling, Stopped, Token
from assistant.router import policy, repetition, triggers

# A retry at the chat's own, low temperature would say the same words again.
RETRY_TEMPERATURE = 0.7
KOREAN = "This base model knows no Korean, so it answers in English."


@dataclass(frozen=True, slots=True)
class Asked:
    """A message understood: the question it means, what the classifier makes of it, and the route."""

    question: str
    judgement: Judgement | None
    route: Route


@dataclass(slots=True)
class _Stream:
    """What has come of an answer so far."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    first: float | None = None
    stopped: Stopped = "end"


class Session:
    """A conversation with its turns; ``history`` None keeps nothing on disk (one question of ``--ask``)."""

    def __init__(
        self,
        paths: Paths,
        live: Live,
        history: History | None = None,
        *,
        greedy: bool = False,
        pinned: str | None = None,
        system: str | None = None,
    ) -> None:
        self.paths = paths
        self.live = live
        self.history = history
        self.id: int | None = None
        self.turns: list[Turn] = []
        self.pinned = pinned
        self.closed = False
        self._greedy = greedy
        self._system = system
        self._left_out = 0

    def say(self, text: str, *, expert: bool = False, at: int | None = None, again: bool = False) -> Iterator[Event]:
        """Answer a message. ``expert`` asks the specialist, ``again`` wants other words; ``at`` answers as if only so many turns had been.

        Closing the generator stops the answer; the turn is kept only when it is whole.
        """
        turns = self.turns if at is None else self.turns[:at]
        asked = self.decide(text, turns, expert)
        if turns and asked.question != cleaned(text):
            turns = turns[:-1]
        yield from self.live.follow()
        if triggers.is_korean(text) and self.live.settings.base == "embedded":
            yield Notice(KOREAN)
        speaker, notices = self.live.speaker(asked.route.model)
        yield from notices
        category = asked.judgement.category if asked.judgement else None
        yield RouteChosen(speaker.model, speaker.version, category, asked.route.trigger, asked.route.reason)
        prompt = self._prompt(self._system or speaker.system, turns, asked.question)
        if prompt.left_out > self._left_out:
            yield Notice(
                f"The conversation is longer than the model can read; its first {prompt.left_out} turns are left out from here on."
            )
        self._left_out = prompt.left_out
        stream, sampling, started = _Stream(), self._sampling(again), time.perf_counter()
        tokens = self.live.engine.stream(prompt.ids, speaker.adapter, sampling, lambda: False)
        try:
            yield from self._receive(tokens, stream, sampling, started)
        finally:
            tokens.close()
        reply = _reply(asked, speaker, stream, time.perf_counter() - started)
        self._keep(Turn(cleaned(text), reply), at)
        yield TurnDone(reply)

    def decide(self, text: str, turns: Sequence[Turn] = (), expert: bool = False) -> Asked:
        """What a message asks, and who shall answer it, without answering. A bare request for the expert means the last turn's question."""
        text = cleaned(text)
        if not text:
            raise UsageError("There is nothing to answer.", "Type a question.")
        question, requested = text, expert or triggers.asks_for_specialist(text)
        if turns and triggers.asks_only_for_specialist(text):
            question = turns[-1].reply.question
        judgement = self.live.judge(question)
        pin = self.pinned or pinned(self.paths)
        return Asked(question, judgement, policy.decide(judgement, pinned=pin, requested=requested, trained=self.live.trained()))

    def retry(self) -> Iterator[Event]:
        """Answer the last message once more; the old answer goes when the new one is whole."""
        last = self._last()
        yield from self.say(last.said, expert=last.reply.trigger == "request", at=len(self.turns) - 1, again=True)

    def edit(self, text: str) -> Iterator[Event]:
        """Replace the last message by another one and answer that."""
        self._last()
        yield from self.say(text, at=len(self.turns) - 1)

    def undo(self) -> Turn:
        """Take the last turn away and return it."""
        last = self._last()
        if self.history is not None and self.id is not None:
            self.history.drop_last(self.id)
        self.turns.pop()
        return last

    def new(self) -> None:
        """Begin a new conversation; the old one stays in the history."""
        self.id, self.turns, self._left_out = None, [], 0

    def open(self, number: int) -> None:
        """Go on with an earlier conversation."""
        if self.history is None:
            raise DataError("There is no history to open from.", "Start the chat with `python main.py`.")
        self.turns = self.history.turns(number)
        self.id, self._left_out = number, 0

    def _receive(self, tokens: Iterator[Token], stream: _Stream, sampling: Sampling, started: float) -> Iterator[Event]:
        cleaner = Cleaner()
        for token in tokens:
            if stream.first is None:
                stream.first = time.perf_counter() - started
            if token.id >= 0:
                stream.ids.append(token.id)
            text = cleaner.feed(token.text)
            stream.text += text
            if text:
                yield TextDelta(text)
            if loop := repetition.loop_length(stream.ids):
                stream.stopped = "repetition"
                kept = self.live.engine.format.decode(stream.ids[:-loop])
                stream.text = clean(kept)
                return
        if len(stream.ids) >= sampling.max_tokens:
            stream.stopped = "length"

    def _prompt(self, system: str, turns: Sequence[Turn], question: str) -> context.Prompt:
        room = self.live.engine.context_tokens - self._sampling().max_tokens
        return context.build(self.live.engine.format, system, turns, question, room, min(self._left_out, len(turns)))

    def _sampling(self, again: bool = False) -> Sampling:
        chat = self.live.settings.chat
        if self._greedy:
            return Sampling(max_tokens=chat.max_tokens)
        temperature = max(chat.temperature, RETRY_TEMPERATURE) if again else chat.temperature
        return Sampling(chat.max_tokens, temperature, chat.top_p, chat.repeat_penalty, random.getrandbits(31))

    def _keep(self, turn: Turn, at: int | None) -> None:
        """Save a whole turn; with ``at`` it takes the place of the turns after."""
        while at is not None and len(self.turns) > at:
            self.undo()
        self.turns.append(turn)
        if self.history is not None:
            self.id = self.history.add(self.id, turn)

    def _last(self) -> Turn:
        if not self.turns:
            raise UsageError("There is no turn yet.", "Ask something first.")
        return self.turns[-1]


def pinned(paths: Paths) -> str | None:
    """The model that ``switch`` pinned for this root, or None."""
    path = paths.models / "router.json"
    if not path.is_file():
        return None
    try:
        return files.read_json(path).get("pinned")
    except (DataError, AttributeError):
        return None


def pin(paths: Paths, model: str | None) -> None:
    """Pin a model for this root, in every process; None lets the router decide again."""
    files.write_json(paths.models / "router.json", {"pinned": model})


def cleaned(text: str) -> str:
    """A typed message without control characters and surrounding space."""
    return clean(text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _reply(asked: Asked, speaker: Speaker, stream: _Stream, seconds: float) -> Reply:
    decoding = seconds - (stream.first or 0.0)
    count, judgement, route = len(stream.ids), asked.judgement, asked.route
    return Reply(
        question=asked.question,
        answer=stream.text.strip(),
        model=speaker.model,
        version=speaker.version,
        category=judgement.category if judgement else None,
        category_probabilities=judgement.probabilities if judgement else None,
        confidence=None,
        complexity=judgement.complexity if judgement else None,
        escalated=route.trigger not in (None, "pinned") and speaker.model not in ("base", "unified"),
        trigger=route.trigger,
        reason=route.reason,
        tokens=count,
        first_token_seconds=stream.first,
        seconds=seconds,
        tokens_per_second=(count - 1) / decoding if count > 1 and decoding > 0 else None,
        stopped=stream.stopped,
    )
