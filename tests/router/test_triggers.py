import pytest

from assistant.router.triggers import asks_for_specialist, asks_only_for_specialist, is_korean


@pytest.mark.parametrize(
    "text",
    [
        "expert mode",
        "yes, expert mode please",
        "Expert Mode!",
        "SketchUp expert mode advanced modeling",
        "a more accurate answer please",
        "give me a better answer",
        "can I get a more detailed answer",
        "please use the specialist",
        "I want an expert answer",
        "switch to the expert",
        "전문가 모드",
        "네, 전문가 모드로 해주세요",
        "더 정확한 답변 부탁해요",
        "좀 더 자세한 설명",
        "전문가에게 물어봐줘",
    ],
)
def test_a_request_for_the_specialist_is_heard(text):
    assert asks_for_specialist(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "I am an expert skier",
        "no expert mode please",
        "don't use the expert",
        "How accurate is GPS?",
        "dark mode please",
        "오늘 날씨 어때?",
        "is my answer accurate?",
        "전문가 모드 말고 그냥 답해줘",
    ],
)
def test_what_is_no_request_is_left_alone(text):
    assert not asks_for_specialist(text)


@pytest.mark.parametrize(
    "text",
    [
        "yes, expert mode please",
        "expert mode",
        "네, 전문가 모드로 해주세요",
        "더 정확한 답변 부탁해요",
        "ok let's use expert mode",
        "can you give me a more accurate answer?",
    ],
)
def test_a_bare_request_means_the_previous_question(text):
    assert asks_only_for_specialist(text)


@pytest.mark.parametrize(
    "text", ["SketchUp expert mode advanced modeling", "expert mode: how do I draw a line?", "전문가 모드로 SketchUp 곡면 모델링 알려줘"]
)
def test_a_request_with_a_question_is_that_question(text):
    assert asks_for_specialist(text) and not asks_only_for_specialist(text)


def test_korean_is_recognised_among_english_words():
    assert is_korean("SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘") and not is_korean("How do I draw a line?")
