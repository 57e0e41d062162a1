import pytest

from assistant.router.triggers import accepts, asks_for_specialist, asks_only_for_specialist, is_korean, leans_on_the_last, named


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


@pytest.mark.parametrize("text", ["yes", "Yes please!", "ok", "sure, go ahead", "please do", "yes, do it", "네", "네 부탁해요", "응 해줘"])
def test_a_yes_accepts_an_offer(text):
    assert accepts(text)


@pytest.mark.parametrize(
    "text", ["no", "no thanks", "thanks", "yes but how do I undo it?", "아니요", "What is yes in French?", "고마워", "maybe later"]
)
def test_what_is_no_plain_yes_does_not(text):
    assert not accepts(text)


def test_a_specialist_is_called_by_its_name():
    models = ("unified", "technical", "tax_law")
    assert named("please ask the tax law specialist about it", models) == "tax_law"
    assert named("use the technical model", models) == "technical"
    assert named("기술 말고 tax law 전문가에게", models) == "tax_law"
    assert named("tax law is a hard subject for a specialist", models) is None
    assert named("don't ask the tax law specialist", models) is None


@pytest.mark.parametrize(
    "text", ["and how do I undo it?", "what about circles?", "Why?", "does that work on a Mac?", "그럼 원은 어떻게 그려?"]
)
def test_a_short_follow_up_leans_on_the_question_before(text):
    assert leans_on_the_last(text)


@pytest.mark.parametrize(
    "text", ["thanks, that is it", "I feel sad today", "What is the capital of France?", "it was a long day", "오늘 날씨 어때?"]
)
def test_what_stands_for_itself_does_not(text):
    assert not leans_on_the_last(text)
