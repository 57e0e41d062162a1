import pytest

from assistant.core.settings import RouterSettings
from assistant.router.why import explain
from tests.ui.samples import reply

ALL = ("unified", "qna", "technical")
GENERAL = {"category": "general", "category_probabilities": {"qna": 0.05, "technical": 0.05, "general": 0.9}}


def why(draft=None, trained=ALL, settings=None, **changes):
    return explain(reply(**changes), draft, trained, settings or RouterSettings())


def test_the_lines_carry_the_numbers():
    lines = " ".join(why(confidence=0.84, complexity=0.21))
    for number in ("qna 97%", "complexity 21% (threshold 60%)", "right with 84% (threshold 70%)"):
        assert number in lines


@pytest.mark.parametrize(
    "changes, otherwise",
    [
        ({"confidence": 0.84}, "a confidence below 70% (it was 84%)"),
        ({"confidence": 0.2}, "somebody right with more than 50%"),
        ({"confidence": 0.84, "complexity": 0.75}, "a specialist whose first words are right with 50% or more"),
        ({"confidence": None}, "or a calibration"),
        ({"confidence": 0.2, **GENERAL}, "everyday talk stays with the unified model"),
        ({"model": "base", "version": None, **GENERAL}, "`model: unified` makes the unified model answer all the same"),
        ({"trigger": "pinned"}, "`model: auto`"),
        ({"trigger": "request", "escalated": True}, "without your request"),
        ({"trained": ("unified",), "confidence": 0.2}, "`ft: train qna`"),
        ({"settings": RouterSettings(escalation="offer"), "confidence": 0.2}, "`router.escalation` is `offer`"),
        (
            {"trigger": "confidence", "escalated": True, "model": "qna", "draft": reply(confidence=0.41), "confidence": 0.8},
            "`ft: settings router.confidence` at 0.41 or lower would have left it with unified's short answer",
        ),
        (
            {"trigger": "complexity", "escalated": True, "model": "technical", "draft": reply(), "complexity": 0.75},
            "`ft: settings router.complexity` above 0.75",
        ),
    ],
)
def test_the_last_line_says_the_one_thing_that_would_have_changed_it(changes, otherwise):
    assert otherwise in why(**changes)[-1]


def test_talk_has_no_confidence():
    assert "It is talk" in why(confidence=None, **GENERAL)[2]


def test_both_confidences_of_a_handed_over_answer_are_told():
    lines = " ".join(why(draft=reply(confidence=0.41), trigger="confidence", confidence=0.8))
    assert "right with 80%, the draft before it with 41%" in lines
