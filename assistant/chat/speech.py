"""One answer being said: streams it, cuts it where it goes round in circles, and knows how likely it is to be right."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from assistant.chat.live import Speaker
from assistant.core.events import Event, TextDelta
from assistant.core.text import Cleaner, clean
from assistant.core.values import Sampling, Stopped, Token
from assistant.engine.base import Engine
from assistant.router import confidence, repetition
from assistant.router.confidence import Calibration


@dataclass(slots=True)
class Speech:
    """What a speaker has said so far to a prompt. ``hopeless``: it was broken off because its first words show that it is wrong."""

    speaker: Speaker
    prompt: list[int]
    calibration: Calibration | None = None
    # The base's at the end of the question, where the calibration reads it.
    state: Sequence[float] = ()
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    first: float | None = None
    seconds: float = 0.0
    stopped: Stopped = "end"
    hopeless: bool = False
    cleaner: Cleaner = field(default_factory=Cleaner)

    @property
    def ids(self) -> list[int]:
        """The ids of the tokens said."""
        return [token.id for token in self.tokens]

    @property
    def cut(self) -> bool:
        """Whether it did not come to its own end."""
        return self.stopped in ("length", "repetition")

    @property
    def signs(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The features of the whole answer and of its first words, for a label of the user's."""
        return confidence.features(self.tokens, self.cut), confidence.features(self.tokens[: confidence.FIRST])

    @property
    def confidence(self) -> float | None:
        """The probability that the answer is right, None without a calibration or an answer."""
        if self.calibration is None or not self.tokens:
            return None
        if self.hopeless:
            return self.early
        return self.calibration.whole.value(self.signs[0], self.state)

    @property
    def early(self) -> float | None:
        """The same from the first words alone."""
        if self.calibration is None or not self.tokens:
            return None
        return self.calibration.early.value(self.signs[1], self.state)


def speak(engine: Engine, speech: Speech, sampling: Sampling, hopeless: Callable[[float], bool] | None = None) -> Iterator[Event]:
    """Say an answer, or go on with one that was broken off. ``hopeless`` decides by the first words whether it is worth its end."""
    started = time.perf_counter()
    begun = len(speech.tokens)
    left = Sampling(sampling.max_tokens - begun, sampling.temperature, sampling.top_p, sampling.repeat_penalty, sampling.seed)
    tokens = engine.stream([*speech.prompt, *speech.ids], speech.speaker.adapter, left, lambda: False)
    speech.hopeless = False
    try:
        for token in tokens:
            if speech.first is None:
                speech.first = time.perf_counter() - started
            if token.id >= 0:
                speech.tokens.append(token)
            text = speech.cleaner.feed(token.text)
            speech.text += text
            if text:
                yield TextDelta(text)
            if loop := repetition.loop_length(speech.ids):
                speech.stopped = "repetition"
                speech.text = clean(engine.format.decode(speech.ids[:-loop]))
                return
            if hopeless and len(speech.tokens) == confidence.FIRST and speech.early is not None and hopeless(speech.early):
                speech.hopeless = True
                return
        if len(speech.tokens) >= sampling.max_tokens:
            speech.stopped = "length"
    finally:
        tokens.close()  # type: ignore[attr-defined]
        speech.seconds += time.perf_counter() - started


def audition(engine: Engine, speech: Speech, sampling: Sampling) -> float | None:
    """How likely a speaker's answer is to be right, by its first words alone, which are not shown."""
    if speech.calibration is None:
        return None
    few = Sampling(confidence.FIRST, sampling.temperature, sampling.top_p, sampling.repeat_penalty, sampling.seed)
    said = [token for token in engine.stream(speech.prompt, speech.speaker.adapter, few, lambda: False) if token.id >= 0]
    return speech.calibration.early.value(confidence.features(said), speech.state) if said else None
