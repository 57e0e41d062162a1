import json
import time
from dataclasses import replace
from datetime import datetime

import pytest

from assistant.core.events import Notice, RouteChosen, TextDelta, TurnDone
from assistant.core.settings import RouterSettings
from assistant.core.store import Store
from assistant.core.values import Judgement
from assistant.router import usage

GENERAL = Judgement("general", {"qna": 0.02, "technical": 0.03, "general": 0.95}, 0.9)
UNSURE = Judgement("unsure", {"qna": 0.4, "technical": 0.35, "general": 0.25}, 0.9)
LONG = " ".join(f"word{number}" for number in range(40))


@pytest.fixture
def trained(paths, finish, live):
    """The unified model and two specialists are live and calibrated."""
    for model in ("unified", "qna", "technical"):
        Store(paths).make_live(model, finish(model))
    live.confidences = {"unified/0001": 0.9, "technical/0001": 0.9, "qna/0001": 0.9, "base": 0.2}
    return live


@pytest.fixture(autouse=True)
def lines(engine):
    engine.lines |= {"qna/0001": "Facts say so.", "law/0001": "The law says so."}


def set_router(live, **changes):
    live.settings = replace(live.settings, router=replace(RouterSettings(), **changes))


def judged(category="technical", complexity=0.2):
    shares = dict.fromkeys(("qna", "technical", "general"), 0.05)
    return Judgement(category, {**shares, category: 0.9}, complexity)


def asked(session, text):
    events = list(session.say(text))
    reply = next(event.reply for event in events if isinstance(event, TurnDone))
    return reply, [event for event in events if isinstance(event, RouteChosen)], [e.text for e in events if isinstance(e, Notice)]


def test_a_sure_answer_stays_with_the_unified_model(session, trained):
    reply, routes, notices = asked(session, "Which menu is it in?")
    assert (reply.model, reply.confidence, reply.escalated, reply.trigger) == ("unified", pytest.approx(0.9), False, None)
    assert len(routes) == 1 and notices == []


def test_an_unsure_answer_is_handed_over_in_the_same_turn_with_its_numbers(session, trained):
    trained.confidences["unified/0001"] = 0.41
    reply, routes, _ = asked(session, "Which menu is it in?")
    assert [route.model for route in routes] == ["unified", "technical"] and len(session.turns) == 1
    assert (reply.model, reply.trigger, reply.escalated, reply.answer) == ("technical", "confidence", True, "1. Press L.")
    assert "right with 41%, below 70%" in reply.reason
    assert session.turns[0].draft.answer == "Unified says so." and session.turns[0].draft.confidence == pytest.approx(0.41)


def test_a_complex_question_gets_the_short_answer_and_then_the_guide(session, trained):
    trained.judgement = judged(complexity=0.8)
    reply, routes, _ = asked(session, "Which menu is it in?")
    assert [route.model for route in routes] == ["unified", "technical"]
    assert (reply.trigger, reply.complexity) == ("complexity", 0.8) and "80%, above 60%" in reply.reason


def test_a_guide_that_is_unlikely_right_does_not_follow_a_likelier_short_answer(session, trained):
    trained.judgement = judged(complexity=0.8)
    trained.confidences["technical/0001"] = 0.1
    reply, routes, _ = asked(session, "Which menu is it in?")
    assert (reply.model, reply.trigger) == ("unified", None) and len(routes) == 1


def test_of_two_answers_the_likelier_one_is_named(session, trained):
    trained.judgement = judged(complexity=0.8)
    trained.confidences["technical/0001"], trained.early["technical/0001"] = 0.1, 0.5
    reply, _, notices = asked(session, "Which menu is it in?")
    assert reply.model == "technical"
    assert notices == ["The first answer is the likelier one: it is right with 90%, this one with 10%."]


def test_a_how_to_wants_its_steps(session, trained):
    reply, _, _ = asked(session, "How to draw a line in CAD software?")
    assert (reply.model, reply.trigger) == ("technical", "complexity")


@pytest.mark.parametrize("numbers", [{"complexity": 0.62}, {"confidence": 0.68}])
def test_near_a_threshold_the_specialist_is_only_offered(session, trained, numbers):
    trained.judgement = judged(complexity=numbers.get("complexity", 0.2))
    trained.confidences["unified/0001"] = numbers.get("confidence", 0.95)
    reply, routes, notices = asked(session, "Which menu is it in?")
    assert (reply.model, reply.escalated, reply.trigger) == ("unified", False, None) and len(routes) == 1
    assert len(notices) == 1 and "near" in notices[0] and "yes, expert mode please" in notices[0]


@pytest.mark.parametrize("yes", ["yes, expert mode please", "yes please", "ok, go ahead", "네", "네, 전문가 모드로 해주세요"])
def test_under_offer_the_first_answer_stays_and_yes_asks_the_same_question_again(session, trained, yes):
    set_router(trained, escalation="offer")
    trained.confidences["unified/0001"] = 0.3
    reply, _, notices = asked(session, "Which menu is it in?")
    assert reply.model == "unified" and "technical specialist" in notices[0]
    reply, _, _ = asked(session, yes)
    assert (reply.model, reply.question, reply.trigger) == ("technical", "Which menu is it in?", "request")


def test_yes_without_an_offer_is_just_a_message(session, trained):
    asked(session, "Which menu is it in?")
    assert asked(session, "yes please")[0].question == "yes please"


def test_general_talk_never_escalates_however_unsure_and_complex(session, trained):
    trained.judgement, trained.confidences["unified/0001"] = GENERAL, 0.05
    reply, routes, notices = asked(session, "I feel sad today")
    assert (reply.model, reply.escalated, len(routes), notices) == ("unified", False, 1, [])
    assert reply.confidence is None, "it is fitted on answers with facts"


def test_a_question_outside_every_category_goes_to_whoever_is_likeliest_right(session, trained, paths, finish):
    Store(paths).make_live("law", finish("law"))
    trained.judgement = UNSURE
    trained.confidences |= {"unified/0001": 0.1, "qna/0001": 0.3, "technical/0001": 0.2, "law/0001": 0.8}
    reply, routes, _ = asked(session, "May my landlord keep the deposit?")
    assert reply.model == "law" and [route.model for route in routes] == ["unified", "law"]


def test_the_untouched_base_answers_what_the_adapters_have_forgotten(session, trained):
    trained.judgement = judged("qna")
    trained.confidences |= {"unified/0001": 0.1, "qna/0001": 0.3, "base": 0.8}
    reply, _, _ = asked(session, "What is the capital of France?")
    assert (reply.model, reply.answer, reply.trigger) == ("base", "Paris is the capital.", "confidence")
    assert "untouched base" in reply.reason


def test_when_nobody_is_likely_right_the_draft_stays_and_one_line_says_so(session, trained):
    trained.confidences |= {"unified/0001": 0.2, "technical/0001": 0.1, "base": 0.05}
    reply, routes, notices = asked(session, "Which menu is it in?")
    assert reply.model == "unified" and len(routes) == 1
    assert reply.reason.endswith(", and nobody takes over (right by their first words: technical with 10%, the untouched base with 5%)")
    assert notices == ["Nobody here is likely to know this: the answer is right with 20%. Better look it up."]


def test_where_nothing_is_trained_no_line_says_that_nobody_knows(session, live):
    live.judgement, live.confidences["base"] = judged("qna"), 0.05
    reply, _, notices = asked(session, "Who wrote Dune?")
    assert (reply.model, reply.confidence, notices) == ("base", pytest.approx(0.05), [])


def test_a_hopeless_beginning_is_broken_off(session, trained, engine):
    engine.lines["unified/0001"] = LONG
    trained.confidences["unified/0001"], trained.early["unified/0001"] = 0.2, 0.02
    reply, _, _ = asked(session, "Which menu is it in?")
    assert reply.model == "technical" and len(session.turns[0].draft.answer.split()) == 12


def test_a_hopeless_beginning_is_said_to_its_end_when_a_specialist_is_only_offered(session, trained, engine):
    engine.lines["unified/0001"] = LONG
    trained.judgement = judged(complexity=0.6)
    trained.confidences["unified/0001"], trained.early["unified/0001"] = 0.2, 0.02
    reply, _, notices = asked(session, "Which menu is it in?")
    assert reply.model == "unified" and reply.answer.endswith(LONG) and "near" in notices[0]


def test_an_accepted_offer_is_retried_as_the_same_question(session, trained):
    set_router(trained, escalation="offer")
    trained.confidences["unified/0001"] = 0.3
    asked(session, "Which menu is it in?")
    asked(session, "yes please")
    list(session.retry())
    assert [turn.reply.question for turn in session.turns] == ["Which menu is it in?"] * 2


def test_a_hopeless_beginning_goes_on_when_nobody_knows_better(session, trained, engine):
    engine.lines["unified/0001"] = LONG
    trained.early |= {"unified/0001": 0.02, "technical/0001": 0.01, "base": 0.01}
    trained.confidences["unified/0001"] = 0.2
    asked(session, "Which menu is it in?")
    assert any(adapter == "unified/0001" and prompt.endswith("word11") for adapter, prompt in engine.prompts)


def test_without_a_calibration_confidence_decides_nothing(session, trained):
    trained.confidences = {}
    reply, routes, _ = asked(session, "Which menu is it in?")
    assert (reply.model, reply.confidence, len(routes)) == ("unified", None, 1)


def test_a_broken_specialist_is_one_line_and_the_draft_stays(session, trained, engine):
    trained.judgement = judged(complexity=0.9)
    engine.broken = {"technical/0001"}
    reply, routes, notices = asked(session, "Which menu is it in?")
    assert reply.model == "unified" and len(routes) == 1
    assert len([text for text in notices if "damaged" in text]) == 1


def test_a_short_question_that_leans_on_the_last_one_is_read_with_it(session, trained):
    read = []

    def judge(question):
        read.append(question)
        return judged() if "draw" in question else UNSURE

    trained.judgement = judge
    asked(session, "Where do I draw a line?")
    reply, _, _ = asked(session, "and how do I undo it?")
    assert reply.category == "technical" and read[-1] == "Where do I draw a line?\nand how do I undo it?"
    assert asked(session, "thanks, that is it")[0].category == "unsure"


def test_a_named_specialist_is_the_one_that_answers(session, trained, paths, finish):
    Store(paths).make_live("law", finish("law"))
    assert asked(session, "ask the law specialist: may he keep the deposit?")[0].model == "law"


def test_stopping_the_second_answer_keeps_nothing(session, trained, engine):
    trained.confidences["unified/0001"] = 0.1
    stream = session.say("Which menu is it in?")
    routes = 0
    for event in stream:
        routes += isinstance(event, RouteChosen)
        if routes == 2 and isinstance(event, TextDelta):
            break
    stream.close()
    assert session.turns == [] and session.history.listed() == []
    assert asked(session, "again")[0].answer


def test_a_draft_survives_a_reopening(session, trained, live, paths):
    trained.confidences["unified/0001"] = 0.1
    asked(session, "Which menu is it in?")
    assert session.history.turns(session.id)[0].draft.answer == "Unified says so."


def test_who_answers_is_counted_without_words_and_what_tends_to_come_is_loaded_ahead(session, trained, engine, paths):
    trained.confidences["unified/0001"] = 0.1
    for _ in range(3):
        asked(session, "Which menu is it in?")
    counted = paths.usage.read_text(encoding="utf-8")
    assert "menu" not in counted and json.loads(counted)["needed"] == 3
    fresh = type(trained)(paths, engine)
    fresh.start()
    fresh.ahead(usage.read(paths.usage).wanted(["technical"], "technical", datetime.now()))
    end = time.monotonic() + 5
    while "technical" not in fresh.resident() and time.monotonic() < end:
        time.sleep(0.01)
    assert fresh.resident().get("technical") == "0001"


def test_learning_can_be_switched_off(session, trained, paths):
    set_router(trained, learn=False)
    asked(session, "Which menu is it in?")
    assert not paths.usage.exists()


def test_a_named_specialist_alone_is_asked_the_question_before(session, trained):
    asked(session, "Which menu is it in?")
    reply, _, _ = asked(session, "ask the qna specialist please")
    assert (reply.model, reply.question) == ("qna", "Which menu is it in?")


def test_a_pinned_base_is_the_untouched_base(session, trained):
    session.pinned = "base"
    assert asked(session, "Which menu is it in?")[0].model == "base"


def test_a_korean_question_is_read_by_its_words_where_the_base_knows_no_korean(session, trained):
    trained.judgement = UNSURE
    reply, _, _ = asked(session, "오늘 날씨 어때?")
    assert (reply.model, reply.category) == ("unified", "general")
    reply, _, _ = asked(session, "SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘")
    assert (reply.model, reply.trigger) == ("technical", "complexity")


def test_who_usually_comes_first_is_loaded_at_the_start(trained, engine, paths):
    habits = usage.Habits()
    for _ in range(5):
        habits.seen("technical", None, datetime.now())
    usage.write(paths.usage, habits)
    fresh = type(trained)(paths, engine)
    fresh.speaker_at_start()
    assert {"technical", "unified"} <= set(fresh.resident())
    engine.broken = {"technical/0001"}
    again = type(trained)(paths, engine)
    again.speaker_at_start()
    assert again.resident() == {"unified": "0001"}


def test_a_pinned_model_stays_in_memory(session, trained):
    session.pinned = "technical"
    asked(session, "Which menu is it in?")
    assert trained.residents.pins == {"technical"}
    session.pinned = None
    asked(session, "Which menu is it in?")
    assert trained.residents.pins == frozenset()
