from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from assistant.core.settings import RouterSettings
from assistant.core.values import Judgement, Route
from assistant.router.policy import KEEP, Next, after, candidates, first, likeliest, successor
from assistant.router.repetition import loop_length

TECHNICAL = Judgement("technical", {"qna": 0.1, "technical": 0.85, "general": 0.05})
UNSURE = Judgement("unsure", {"qna": 0.4, "technical": 0.35, "general": 0.25})
ALL = ("unified", "qna", "technical")
SETTINGS = RouterSettings()
DEFAULT = Route("unified", None, "")


def decide(judgement, trained=ALL, able=None, **given):
    able = dict.fromkeys(trained, False) if able is None else able
    return first(judgement, **{"pinned": None, "requested": False, "trained": trained, "able": able, **given})


def test_the_unified_model_answers_by_default():
    assert decide(TECHNICAL).model == "unified"


def test_the_base_answers_when_nothing_is_trained():
    route = decide(TECHNICAL, trained=())
    assert (route.model, route.trigger) == ("base", None)


def test_a_request_goes_over_a_pin_and_a_pin_over_the_rest():
    assert decide(TECHNICAL, pinned="qna", requested=True).trigger == "request"
    assert decide(TECHNICAL, pinned="qna", follows="technical").trigger == "pinned"


def test_a_follow_up_goes_on_with_the_specialist_and_is_handed_to_nobody():
    route = decide(TECHNICAL, follows="technical")
    assert (route.model, route.trigger) == ("technical", None)
    assert after(route, TECHNICAL, 0.99, 0.01, ALL, SETTINGS) == KEEP
    assert decide(TECHNICAL, follows="base").model == decide(TECHNICAL, follows="gone").model == "unified"


def test_a_domain_alone_answers_what_it_surely_knows_and_every_request():
    assert decide(TECHNICAL, trained=("law",), able={"law": True}).model == "law"
    assert decide(TECHNICAL, trained=("law",), able={"law": False}).model == "base"
    assert decide(TECHNICAL, trained=("unified", "law"), able={"unified": True, "law": True}).model == "unified"
    assert decide(TECHNICAL, trained=("law", "tax"), able={"tax": True}, requested=True).model == "tax"


def test_never_is_never():
    never = replace(SETTINGS, confidence=0.0, complexity=1.0)
    assert after(DEFAULT, TECHNICAL, 1.0, 0.0, ALL, never) == KEEP


def test_an_unsure_question_goes_to_the_likelier_specialist_on_request():
    assert decide(UNSURE, requested=True).model == "qna"


def test_without_a_classifier_a_request_goes_to_the_technical_specialist():
    assert decide(None, requested=True).model == "technical"


def test_a_loop_is_found_whatever_its_length_and_a_list_is_not():
    assert loop_length([5] * 8) == 7
    assert loop_length([1, 2, 3] * 5) == 12
    assert loop_length(list(range(40)) * 3) == 80
    assert loop_length([1, 2, 3, 4, 5, 1, 2, 6, 7]) == 0
    assert loop_length([9, 9, 9, 1]) == 0


shares = st.floats(0.01, 0.99)


def judgements():
    def make(values):
        total = sum(values)
        probabilities = dict(zip(("qna", "technical", "general"), (value / total for value in values), strict=True))
        best = max(probabilities, key=probabilities.get)
        return Judgement(best if probabilities[best] >= 0.5 else "unsure", probabilities, 0.5)

    return st.tuples(shares, shares, shares).map(make)


@given(judgements(), st.none() | shares, st.none() | shares, st.sampled_from(("auto", "offer")))
def test_general_talk_is_never_handed_over_nor_offered(judgement, complexity, confidence, escalation):
    found = after(DEFAULT, judgement, complexity, confidence, ALL, replace(SETTINGS, escalation=escalation))
    if max(judgement.probabilities, key=judgement.probabilities.get) == "general":
        assert found == KEEP


@given(judgements(), st.none() | shares, st.none() | shares)
def test_under_offer_nothing_goes_to_a_specialist_by_itself(judgement, complexity, confidence):
    found = after(DEFAULT, judgement, complexity, confidence, ALL, replace(SETTINGS, escalation="offer"))
    assert found.step != "hand over" or found.model == "base"


@given(judgements(), shares, shares)
def test_a_surer_answer_is_never_handed_over_rather(judgement, one, other):
    order = {"keep": 0, "offer": 1, "hand over": 2}
    low, high = sorted((one, other))
    steps = [after(DEFAULT, judgement, 0.1, share, ALL, SETTINGS).step for share in (low, high)]
    assert order[steps[0]] >= order[steps[1]]


@given(judgements(), st.none() | shares, st.none() | shares, st.sampled_from(("pinned", "request")))
def test_what_was_asked_for_is_not_second_guessed(judgement, complexity, confidence, trigger):
    assert after(Route("technical", trigger, ""), judgement, complexity, confidence, ALL, SETTINGS) == KEEP


@given(judgements(), shares, shares)
def test_nobody_takes_over_who_is_not_trained(judgement, complexity, confidence):
    found = after(Route("base", None, ""), judgement, complexity, confidence, (), SETTINGS)
    assert found == KEEP
    assert after(DEFAULT, judgement, complexity, confidence, ("unified",), SETTINGS).model in (None, "base")


def test_every_reason_carries_its_number_and_the_threshold():
    assert after(DEFAULT, TECHNICAL, 0.57, 0.9, ALL, SETTINGS).reason == "its complexity is 57%, near the threshold of 60%"
    assert after(DEFAULT, TECHNICAL, 0.8, 0.9, ALL, SETTINGS).reason == "its complexity is 80%, above 60%"
    assert after(DEFAULT, TECHNICAL, 0.1, 0.41, ALL, SETTINGS).reason == "the unified model's answer is right with 41%, below 70%"


def test_a_sure_category_leaves_the_other_specialist_out_but_never_a_domain_or_the_base():
    assert candidates(TECHNICAL, (*ALL, "law")) == ["technical", "law", "base"]
    assert candidates(UNSURE, (*ALL, "law")) == ["qna", "technical", "law", "base"]


def test_the_likeliest_takes_over_and_only_when_it_is_likelier_than_the_draft():
    assert likeliest(0.3, {"qna": 0.5, "base": 0.8}) == "base"
    assert likeliest(0.6, {"qna": 0.5, "base": 0.4}) is None
    assert likeliest(0.3, {"qna": None, "base": 0.5}) == "base"
    assert likeliest(0.3, {"qna": None}) == "qna"
    assert likeliest(0.3, {"base": None}) is None
    assert likeliest(0.3, {}) is None


def test_nobody_takes_over_whose_own_first_words_are_unlikely_to_be_right():
    complex_one, unsure = (Next("hand over", "technical", trigger) for trigger in ("complexity", "confidence"))
    assert successor(complex_one, 0.9, {"technical": 0.4}, unlikely=0.3) == "technical"
    assert successor(complex_one, 0.1, {"technical": 0.2}, unlikely=0.3) is None
    assert successor(complex_one, 0.9, {"technical": None}, unlikely=0.3) == "technical"
    assert successor(unsure, 0.1, {"technical": 0.2, "base": 0.25}, unlikely=0.3) is None
    assert successor(unsure, 0.1, {"technical": 0.2, "base": 0.35}, unlikely=0.3) == "base"
    assert successor(unsure, 0.5, {"technical": 0.4}, unlikely=0.3) is None
