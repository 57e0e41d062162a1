"""Who writes the rows: a base by Magpie (Xu et al. 2024, arXiv 2406.08464), or a teacher that is asked in plain words.

Magpie: the chat template is given up to the user's turn, and an aligned model goes on with a request of the kind it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from assistant.chat.reader import Reader
from assistant.core.errors import ModelError
from assistant.core.prompts import SYSTEM
from assistant.core.settings import Settings
from assistant.core.values import Message, Sampling
from assistant.engine.base import Base, Engine
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.teacher import Teacher
from finetuning.synthetic.topics import Subject


@dataclass(frozen=True, slots=True)
class Written:
    """A text, and whether it came to an end by itself."""

    text: str
    ended: bool


class Writer(Protocol):
    """Writes requests and answers, many at once; the same seed gives the same texts."""

    name: str

    def requests(self, subjects: Sequence[Subject], seed: int) -> list[Written]:
        """A request for each subject."""

    def answers(self, asked: Sequence[tuple[str, str]], seed: int, temperature: float | None = None) -> list[Written]:
        """An answer to each (category, request)."""

    def category(self, request: str) -> str | None:
        """What the classifier takes a request for; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class BaseWriter:
    """The base itself, bare of any adapter."""

    engine: Engine
    base: Base
    settings: Settings
    config: SyntheticConfig
    reader: Reader
    name: str = "base"

    def requests(self, subjects: Sequence[Subject], seed: int) -> list[Written]:
        """The base goes on where its template leaves the user's turn open."""
        prompts = [self.engine.format.encode_open(subject.system) for subject in subjects]
        sampling = Sampling(self.config.instruction_tokens, self.config.instruction_temperature, self.config.top_p, seed=seed)
        return self._written(prompts, sampling)

    def answers(self, asked: Sequence[tuple[str, str]], seed: int, temperature: float | None = None) -> list[Written]:
        """The base answers as it is asked in the chat."""
        prompts = [self.engine.format.encode(conversation(category, request)) for category, request in asked]
        chosen = self.config.answer_temperature if temperature is None else temperature
        return self._written(prompts, Sampling(self.config.answer_tokens, chosen, self.config.top_p, seed=seed))

    def category(self, request: str) -> str | None:
        """By the classifier that is live."""
        try:
            judged = self.reader.judge(self.engine, self.base, request)
        except ModelError:
            return None
        return None if judged is None else judged.category

    def _written(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Written]:
        said = self.engine.batch(prompts, None, sampling, scored=False) if prompts else []
        return [Written(one.text.strip(), one.stopped == "end") for one in said]


@dataclass(frozen=True, slots=True)
class TeacherWriter:
    """A teacher. Its template is not known, so it is asked for a request in plain words."""

    teacher: Teacher
    config: SyntheticConfig

    @property
    def name(self) -> str:
        """The model's name at its address."""
        return f"{self.teacher.model} at {self.teacher.address}"

    def requests(self, subjects: Sequence[Subject], seed: int) -> list[Written]:
        """A request in the teacher's words."""
        conversations = [[Message("user", subject.request)] for subject in subjects]
        sampling = Sampling(self.config.instruction_tokens, self.config.instruction_temperature, self.config.top_p, seed=seed)
        return [Written(_bare(said.text), said.ended) for said in self.teacher.ask_all(conversations, sampling)]

    def answers(self, asked: Sequence[tuple[str, str]], seed: int, temperature: float | None = None) -> list[Written]:
        """The teacher answers under the system prompt of the category."""
        chosen = self.config.answer_temperature if temperature is None else temperature
        sampling = Sampling(self.config.answer_tokens, chosen, self.config.top_p, seed=seed)
        said = self.teacher.ask_all([conversation(category, request) for category, request in asked], sampling)
        return [Written(one.text.strip(), one.ended) for one in said]

    def category(self, request: str) -> str | None:
        """Nobody reads here: the base is not loaded."""
        return None


def conversation(category: str, request: str) -> list[Message]:
    """A request as it is answered and later trained."""
    return [Message("system", SYSTEM[category]), Message("user", request)]


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text
