"""One of every event and of every block, for both printers."""

from assistant.core.events import (
    Chart,
    Checked,
    Event,
    Failed,
    Finished,
    Lines,
    Notice,
    Progress,
    Rejected,
    Report,
    RouteChosen,
    Spans,
    Step,
    Switched,
    Table,
    TextDelta,
    TurnDone,
)
from assistant.core.values import Reply

HOSTILE = "[b]not markup[/b] [/] \x1b[31mred\x1b[0m \x07bell <|im_end|> list[int]"
SHOWN = "[b]not markup[/b] [/] red bell <|im_end|> list[int]"


def reply(answer: str = "Paris.", question: str = "What is the capital of France?", **changes: object) -> Reply:
    """A finished answer with its figures."""
    values: dict[str, object] = {
        "question": question,
        "answer": answer,
        "model": "unified",
        "version": "0003",
        "category": "qna",
        "category_probabilities": {"qna": 0.97, "technical": 0.02, "general": 0.01},
        "confidence": None,
        "complexity": 0.2,
        "escalated": False,
        "trigger": None,
        "reason": "the unified model answers by default",
        "tokens": 20,
        "first_token_seconds": 0.1,
        "seconds": 0.3,
        "tokens_per_second": 131.0,
        "stopped": "end",
    }
    return Reply(**{**values, **changes})  # type: ignore[arg-type]


def events(text: str = HOSTILE) -> list[Event]:
    """One of each class, every field that takes free text filled with ``text``."""
    blocks = (
        Table(("name", "value"), ((text, "1"), ("other", "2")), text),
        Chart(text, ((text, 3.0), ("other", 1.0)), "rows"),
        Lines(text, (text, "second")),
        Spans(text, ((text, False), ("the answer", True))),
    )
    return [
        RouteChosen("unified", "0003", "qna", None, text),
        TextDelta(text),
        TurnDone(reply(text)),
        Step(text),
        Progress(3, 10, "steps", {"loss": 2.5, "note": text}, 12.0),
        Checked(text, True, text),
        Checked(text, False),
        Rejected(text, text),
        Report(text, {"text": text}, blocks),
        Notice(text),
        Notice(text, "warning"),
        Switched("qna", "0002", None),
        Failed(text, text),
        Finished(1),
    ]
