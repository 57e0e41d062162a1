from assistant.core.values import Judgement
from assistant.router.policy import first as decide
from assistant.router.repetition import loop_length

TECHNICAL = Judgement("technical", {"qna": 0.1, "technical": 0.85, "general": 0.05})
UNSURE = Judgement("unsure", {"qna": 0.4, "technical": 0.35, "general": 0.25})
ALL = ("unified", "qna", "technical")


def test_the_unified_model_answers_by_default():
    assert decide(TECHNICAL, pinned=None, requested=False, trained=ALL).model == "unified"


def test_the_base_answers_when_nothing_is_trained():
    route = decide(TECHNICAL, pinned=None, requested=False, trained=())
    assert (route.model, route.trigger) == ("base", None)


def test_a_pin_comes_before_everything():
    assert decide(TECHNICAL, pinned="qna", requested=True, trained=ALL).trigger == "pinned"


def test_an_unsure_question_goes_to_the_likelier_specialist_on_request():
    assert decide(UNSURE, pinned=None, requested=True, trained=ALL).model == "qna"


def test_without_a_classifier_a_request_goes_to_the_technical_specialist():
    assert decide(None, pinned=None, requested=True, trained=ALL).model == "technical"


def test_a_loop_is_found_whatever_its_length_and_a_list_is_not():
    assert loop_length([5] * 8) == 7
    assert loop_length([1, 2, 3] * 5) == 12
    assert loop_length(list(range(40)) * 3) == 80
    assert loop_length([1, 2, 3, 4, 5, 1, 2, 6, 7]) == 0
    assert loop_length([9, 9, 9, 1]) == 0
