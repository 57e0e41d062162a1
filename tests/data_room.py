"""What the data tests share: commands run as a user runs them, and small files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.core.commands import Context, Questions
from assistant.core.events import Event, Failed, Finished, Notice, Rejected, Report
from assistant.core.paths import PROJECT, Paths
from finetuning.commands import REGISTRY

SHARED = PROJECT.parent / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command gave: its exit status and its events."""

    status: int
    events: tuple[Event, ...]

    @property
    def data(self) -> Any:
        """The document that --json would print."""
        return next(event.data for event in reversed(self.events) if isinstance(event, Report))

    @property
    def failure(self) -> str:
        """What went wrong, and what to do about it."""
        return next((f"{event.what} {event.fix}" for event in self.events if isinstance(event, Failed)), "")

    @property
    def notices(self) -> str:
        """All notices and rejections as one text."""
        lines = [event.text for event in self.events if isinstance(event, Notice)]
        return "\n".join(lines + [f"{event.where}: {event.reason}" for event in self.events if isinstance(event, Rejected)])


def run_in(paths: Paths, *words: object, questions: Questions | None = None) -> Ran:
    """Run one command line under a root."""
    events = tuple(REGISTRY.run([str(word) for word in words], Context(paths, questions)))
    assert isinstance(events[-1], Finished)
    return Ran(events[-1].status, events)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """A JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def dialogue(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A sound row of a domain."""
    return {"input_text": f"System: Be exact.\n\nUser: {question}\nAssistant:", "target_text": answer, **more}


class ScriptedQuestions:
    """Answers questions from a list, in order, and remembers what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def _next(self, question: str) -> Any:
        self.asked.append(question)
        return self.answers.pop(0)

    def text(self, question: str, default: str = "") -> str:
        return self._next(question)

    def choice(self, question: str, options: Any, default: str | None = None) -> str:
        answer = self._next(question)
        assert answer in options, (question, options)
        return answer

    def confirm(self, question: str, default: bool = False) -> bool:
        return self._next(question)
