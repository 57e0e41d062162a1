"""One conversation: ``say(text)`` yields the events of a turn."""

import random
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from assistant.chat import context, notes
from assistant.chat.history import History, Turn
from assistant.chat.live import Live, Speaker
from assistant.chat.pins import pinned
from assistant.chat.speech import Speech, audition, speak
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Event, Notice, RouteChosen, TurnDone
from assistant.core.paths import Paths
from assistant.core.store import BUILT_IN
from assistant.core.text import clean
from assistant.core.values import Judgement, Reply, Route, Sampling
from assistant.router import korean, policy, triggers, usage
from assistant.router.complexity import complexity
from assistant.router.policy import Next

# A retry at the chat's own, low temperature would say the same words again.
RETRY_TEMPERATURE = 0.7
# At most so many models say their first words before one of them takes over.
AUDITIONS = 4
# A category this likely needs no earlier question to be understood.
CLEAR = 0.8


@dataclass(frozen=True, slots=True)
class Asked:
    """A message understood: the question it means, what the classifier makes of it, and the route."""

    question: str
    judgement: Judgement | None
    route: Route
    complexity: float | None = None
    # The trained models that the question is for, each with whether it was surely trained on such questions.
    able: Mapping[str, bool] = field(default_factory=dict)
    # The turns before it; without the last one where that one's question is asked again.
    turns: Sequence[Turn] = ()
    # The last answer, when an expert is to answer its question again.
    again: Reply | None = None

    def before(self, model: str) -> Sequence[Turn]:
        """The turns a model reads before the question: none where it was trained on such questions, which stand by themselves.

        With them a small model begins its answer like the last one (docs/LOG.md).
        """
        return () if self.able.get(model) else self.turns


@dataclass(frozen=True, slots=True)
class _Said:
    """A turn's answers: the one that counts, the draft it took over from, and what the policy made of it."""

    speech: Speech
    draft: Speech | None
    next: Next


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
        # The specialist that was offered under the last answer.
        self.offered: str | None = None
        self._greedy = greedy
        self._system = system
        self._left_out = 0
        self._habits: usage.Habits | None = None

    def say(self, text: str, *, expert: bool = False, at: int | None = None, again: bool = False) -> Iterator[Event]:
        """Answer a message. ``expert`` asks the specialist, ``again`` wants other words; ``at`` answers as if only so many turns had been.

        Closing the generator stops the answer; the turn is kept only when it is whole. Who asks the expert to answer again, and would hear
        the same model say the same, gets one line instead of a turn.
        """
        asked = self.decide(text, self.turns if at is None else self.turns[:at], expert)
        yield from self.live.follow()
        if asked.again and not again:
            there = self.live.prospect(asked.route.model)
            if notice := notes.instead(asked.route, there and there.version, asked.again):
                yield notice
                return
        if triggers.is_foreign(text, self.live.settings.base) and asked.route.model in (*BUILT_IN, "base"):
            yield Notice(notes.KOREAN)
        started = time.perf_counter()
        with self.live.residents.turn():
            said = yield from self._answered(asked, again)
            reply = _reply(asked, said, time.perf_counter() - started)
            draft = (
                _reply(asked, replace(said, speech=said.draft, draft=None, next=policy.KEEP), said.draft.seconds) if said.draft else None
            )
            self._keep(Turn(cleaned(text), reply, draft, said.speech.signs), at)
            yield TurnDone(reply)
        self.offered = said.next.model if said.next.step == "offer" else None
        confidence = said.draft.confidence if said.draft else None
        # Where nothing is trained the footer's confidence says enough: the base alone is seldom likely to be right.
        unlikely = self.live.settings.router.unlikely if self.live.trained() else 0.0
        yield from notes.under(asked.route, asked.judgement, said.next, confidence, reply, unlikely)
        self._learn(reply, asked.turns)
        self._ahead(asked)

    def decide(self, text: str, turns: Sequence[Turn] = (), expert: bool = False) -> Asked:
        """What a message asks, and who shall answer it first, without answering. A bare request for the expert means the last question."""
        text = cleaned(text)
        if not text:
            raise UsageError("There is nothing to answer.", "Type a question.")
        trained = self.live.trained()
        accepted = bool(turns and self.offered and triggers.accepts(text))
        named = self.offered if accepted else triggers.named(text, trained)
        question, requested = text, expert or named is not None or triggers.asks_for_specialist(text)
        if turns and (accepted or triggers.asks_only_for_specialist(triggers.without_name(text, named) if named else text)):
            question = turns[-1].reply.question
        last = turns[-1].reply if turns and requested and question == turns[-1].reply.question else None
        if last:
            turns = turns[:-1]
        follows = turns[-1].reply.model if turns and triggers.leans_on_the_last(question) else None
        judgement = self._judged(question, turns)
        pin = self.pinned or pinned(self.paths)
        self.live.residents.pins = frozenset(filter(None, [pin]))
        able = self.live.able(question, follows)
        route = policy.first(judgement, pinned=pin, requested=requested, trained=trained, able=able, named=named, follows=follows)
        return Asked(question, judgement, route, complexity(judgement, question), able, turns, last)

    def foreseen(self, asked: Asked) -> Next:
        """What would follow the first answer, as far as the question alone tells."""
        return policy.after(asked.route, asked.judgement, asked.complexity, None, asked.able, self.live.settings.router)

    def retry(self) -> Iterator[Event]:
        """Answer the last message once more; the old answer goes when the new one is whole."""
        last = self._last()
        if last.reply.trigger == "request" and triggers.accepts(last.said):
            self.offered = last.reply.model
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
        self.offered, self._left_out = None, 0
        return last

    def new(self) -> None:
        """Begin a new conversation; the old one stays in the history."""
        self.id, self.turns, self._left_out, self.offered = None, [], 0, None

    def open(self, number: int) -> None:
        """Go on with an earlier conversation."""
        if self.history is None:
            raise DataError("There is no history to open from.", "Start the chat with `python main.py`.")
        self.turns = self.history.turns(number)
        self.id, self._left_out, self.offered = number, 0, None

    def _answered(self, asked: Asked, again: bool) -> Generator[Event, None, _Said]:
        """The answer of the model that the route names, and of another one when the policy hands over."""
        settings, route = self.live.settings.router, asked.route
        speaker, notices = self.live.speaker(route.model)
        yield from notices
        found = self.live.found
        yield self._chosen(speaker, asked, route)
        speech, sampling = self._speech(speaker, asked), self._sampling(again)
        yield from self._left_out_notice(asked, speaker)
        by_itself = route.trigger is None and route.model in policy.DEFAULTS and policy.specialist_of(asked.judgement) is not None
        may_end = by_itself and settings.escalation == "auto" and bool(policy.candidates(asked.judgement, asked.able))
        yield from speak(self.live.engine, speech, sampling, (lambda share: share < settings.hopeless) if may_end else None)
        after = policy.after(route, asked.judgement, asked.complexity, speech.confidence, asked.able, settings)
        other: Speech | None = None
        if after.step == "hand over":
            other, notices, kept = self._successor(asked, after, speech, sampling)
            yield from notices
        else:
            self.live.found = found
        if other is None:
            # What was broken off after its first words is said to its end, when nobody takes over.
            if speech.hopeless:
                yield from speak(self.live.engine, speech, sampling)
            return _Said(speech, None, kept if after.step == "hand over" else after)
        taken = replace(after, model=other.speaker.model, reason=_reason(after, other.speaker.model))
        yield self._chosen(other.speaker, asked, Route(other.speaker.model, after.trigger, taken.reason))
        yield from speak(self.live.engine, other, sampling)
        return _Said(other, speech, taken)

    def _successor(self, asked: Asked, after: Next, draft: Speech, sampling: Sampling) -> tuple[Speech | None, list[Notice], Next]:
        """Who takes over by its first words, of a complex question the specialist, else whoever is likeliest right; or why nobody does."""
        names = [after.model] if after.trigger == "complexity" else policy.candidates(asked.judgement, asked.able)[:AUDITIONS]
        notices: list[Notice] = []
        ready: dict[str, Speech] = {}
        was_there: dict[str, bool] = {}
        for name in filter(None, names):
            speaker, told = self.live.speaker(name)
            notices += told
            if speaker.model == name and name != draft.speaker.model:
                ready[name], was_there[name] = self._speech(speaker, asked), self.live.found
        heard = {name: audition(self.live.engine, speech, sampling) for name, speech in ready.items()}
        chosen = policy.successor(after, draft.confidence, heard, self.live.settings.router.unlikely)
        if chosen is not None:
            # Several auditions may have pushed it out of the memory again; whether it had been there counts.
            notices += self.live.speaker(chosen)[1]
            self.live.found = was_there[chosen]
        return ready[chosen] if chosen else None, notices, policy.declined(heard)

    def _chosen(self, speaker: Speaker, asked: Asked, route: Route) -> RouteChosen:
        category = asked.judgement.category if asked.judgement else None
        return RouteChosen(speaker.model, speaker.version, category, route.trigger, route.reason)

    def _speech(self, speaker: Speaker, asked: Asked) -> Speech:
        prompt = self._prompt(speaker, asked.before(speaker.model), asked.question)
        calibration = self.live.calibration(speaker)
        state = self.live.state(asked.question) if calibration and calibration.reads_the_question else ()
        return Speech(speaker, prompt.ids, calibration, state)

    def _left_out_notice(self, asked: Asked, speaker: Speaker) -> Iterator[Event]:
        if not (turns := asked.before(speaker.model)):
            return
        left_out = self._prompt(speaker, turns, asked.question).left_out
        if left_out > self._left_out:
            yield Notice(f"The conversation is longer than the model can read; its first {left_out} turns are left out from here on.")
        self._left_out = left_out

    def _prompt(self, speaker: Speaker, turns: Sequence[Turn], question: str) -> context.Prompt:
        room = self.live.engine.context_tokens - self._sampling().max_tokens
        system = self._system or speaker.system
        return context.build(self.live.engine.format, system, turns, question, room, min(self._left_out, len(turns)))

    def _judged(self, question: str, turns: Sequence[Turn]) -> Judgement | None:
        """What the classifier makes of a question; one that leans on the question before it is read together with that."""
        by_words = korean.read(question) if triggers.is_foreign(question, self.live.settings.base) else None
        alone = by_words or self.live.judge(question)
        before = turns[-1].reply if turns else None
        if alone is None or before is None or before.question == question or before.category not in policy.SPECIALISTS:
            return alone
        if max(alone.probabilities.values()) >= CLEAR or not triggers.leans_on_the_last(question):
            return alone
        return self.live.judge(f"{before.question}\n{question}")

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

    def _learn(self, reply: Reply, turns: Sequence[Turn]) -> None:
        """Count who answered, for loading ahead."""
        if self.history is None or not self.live.settings.router.learn:
            return
        habits = usage.read(self.paths.usage)
        if reply.model not in policy.DEFAULTS:
            habits.looked_for(self.live.found)
        habits.seen(reply.model, turns[-1].reply.model if turns else None, datetime.now())
        usage.write(self.paths.usage, habits)
        self._habits = habits

    def _ahead(self, asked: Asked) -> None:
        """Load who is likely to be needed next, and let an offered specialist read the question already."""
        if self.history is None:
            return
        specialists = [model for model in self.live.trained() if model not in policy.DEFAULTS]
        likely = self._habits.wanted(specialists, self.turns[-1].reply.model, datetime.now()) if self._habits else []
        # A question of the same kind often follows.
        same = policy.specialist_of(asked.judgement)
        prospect = self.live.prospect(self.offered) if self.offered else None
        first = [model for model in (self.offered, same) if model in specialists]
        offered = (prospect.adapter, self._speech(prospect, asked).prompt) if prospect else None
        default = self.live.prospect("unified")
        spoken = (default.adapter, self._prompt(default, self.turns, "").ids) if default else None
        self.live.ahead(list(dict.fromkeys([*first, *likely])), offered, spoken)

    def _last(self) -> Turn:
        if not self.turns:
            raise UsageError("There is no turn yet.", "Ask something first.")
        return self.turns[-1]


def cleaned(text: str) -> str:
    """A typed message without control characters and surrounding space."""
    return clean(text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _reason(after: Next, model: str) -> str:
    return f"{after.reason}, so {'the untouched base is likelier to know it' if model == 'base' else f'the {model} specialist answers'}"


def _reply(asked: Asked, said: _Said, seconds: float) -> Reply:
    speech, judgement = said.speech, asked.judgement
    first, count = (said.draft or speech).first, len(speech.tokens)
    decoding = speech.seconds - (speech.first or 0.0)
    handed = said.next.step == "hand over"
    route = Route(speech.speaker.model, said.next.trigger, said.next.reason) if handed else asked.route
    return Reply(
        question=asked.question,
        answer=speech.text.strip(),
        model=speech.speaker.model,
        version=speech.speaker.version,
        category=judgement.category if judgement else None,
        category_probabilities=judgement.probabilities if judgement else None,
        # It is fitted on answers with facts, and says nothing of talk.
        confidence=None if judgement and judgement.category == "general" else speech.confidence,
        complexity=asked.complexity,
        escalated=handed or (route.trigger == "request" and speech.speaker.model not in policy.DEFAULTS),
        trigger=route.trigger,
        reason=f"{route.reason}{said.next.reason}" if said.next.step == "keep" else route.reason,
        tokens=count,
        first_token_seconds=first,
        seconds=seconds,
        tokens_per_second=(count - 1) / decoding if count > 1 and decoding > 0 else None,
        stopped=speech.stopped,
    )
