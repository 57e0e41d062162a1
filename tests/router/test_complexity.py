import pytest

from assistant.core.values import Judgement
from assistant.router.complexity import complexity


def judged(category, read=0.2):
    return Judgement(category, {**dict.fromkeys(("qna", "technical", "general"), 0.05), category: 0.9}, read)


@pytest.mark.parametrize(
    "question",
    [
        "How to draw a line in CAD software?",
        "how do I export an STL?",
        "Can you show me how to mirror a component?",
        "A step-by-step plan for a spiral staircase",
        "스케치업에서 선을 어떻게 그려요?",
        "CAD 선 그리는 방법",
    ],
)
def test_a_how_to_in_software_wants_its_steps(question):
    assert complexity(judged("technical"), question) == 0.75


@pytest.mark.parametrize("question", ["Advanced curves in SketchUp", "SketchUp 고급 곡면 모델링 기법이 궁금해", "SketchUp에서 복잡한 곡면"])
def test_advanced_and_detailed_is_complex(question):
    assert complexity(judged("technical"), question) == 0.8


@pytest.mark.parametrize("question", ["Which key is undo?", "Is SketchUp free?", "What does OFFSET do in AutoCAD?"])
def test_a_plain_question_is_as_complex_as_the_classifier_reads_it(question):
    assert complexity(judged("technical"), question) == 0.2


def test_talk_is_not_raised_by_its_words():
    assert complexity(judged("general"), "How do I get over a complex day?") == 0.2


def test_without_a_classifier_nothing_is_known():
    assert complexity(None, "How to draw a line?") is None
    assert complexity(Judgement("qna", {"qna": 1.0}, None), "x") is None


def test_what_the_classifier_finds_more_complex_stays_so():
    assert complexity(judged("technical", 0.95), "How do I draw a line?") == 0.95
