import pytest

from assistant.router.complexity import complexity
from assistant.router.korean import read


@pytest.mark.parametrize(
    "question, category",
    [
        ("오늘 날씨 어때?", "general"),
        ("오늘 비 와?", "general"),
        ("오늘 너무 슬퍼요", "general"),
        ("안녕, 잘 지내?", "general"),
        ("SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘", "technical"),
        ("캐드에서 선 그리는 방법", "technical"),
        ("와이파이가 연결이 안 돼요", "technical"),
        ("프랑스의 수도는 어디인가요?", "qna"),
        ("광합성이란 무엇인가요?", "qna"),
        ("임대차 계약에서 보증금을 돌려주는 법은?", "qna"),
    ],
)
def test_a_korean_question_is_read_by_its_words(question, category):
    found = read(question)
    assert found.category == category and sum(found.probabilities.values()) == pytest.approx(1.0)


def test_a_question_without_a_known_word_is_left_to_the_classifier():
    assert read("그럼 그건?") is None


def test_software_and_feelings_together_are_less_sure():
    assert read("스케치업이 안 돼서 짜증나요").probabilities["technical"] < 0.7


@pytest.mark.parametrize("question", ["SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘", "스케치업으로 곡면을 만드는 방법"])
def test_a_korean_how_to_is_as_complex_as_an_english_one(question):
    assert complexity(read(question), question) >= 0.75
