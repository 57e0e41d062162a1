"""A question outside of what a version was trained on is the base's."""

import json
import shutil

import pytest

from assistant.core.events import Notice, TurnDone
from assistant.core.store import Store
from assistant.core.values import Judgement
from assistant.router import scope

WITHIN, OUTSIDE = "Which menu is the line in?", "Who wrote the opera Carmen?"


@pytest.fixture
def scoped(paths, finish, live, engine):
    """Unified and technical are live and know of lines only."""
    for model in ("unified", "technical"):
        version = finish(model)
        Store(paths).make_live(model, version)
        document = {"base": "b", "base_sha256": live.base.sha256, "hidden": [[1.0, 0.0]], "output": [10.0, -5.0], "threshold": 0.5}
        (Store(paths).version_folder(model, version) / scope.FILE).write_text(json.dumps(document), encoding="utf-8")
    engine.embed = lambda prompt: [1.0 if "line" in engine.format.decode(prompt) else 0.0]
    live.confidences = {"unified/0001": 0.9, "technical/0001": 0.9, "base": 0.9}
    return live


def asked(session, text, **how):
    events = list(session.say(text, **how))
    return next(event.reply for event in events if isinstance(event, TurnDone)), [e.text for e in events if isinstance(e, Notice)]


def test_what_it_was_trained_on_the_unified_model_answers(session, scoped):
    assert asked(session, WITHIN)[0].model == "unified"


def test_what_lies_outside_the_base_answers_and_says_why(session, scoped):
    reply, notices = asked(session, OUTSIDE)
    assert (reply.model, reply.escalated, reply.trigger, reply.answer) == ("base", False, None, "Paris is the capital.")
    assert "outside of what the unified model was trained on" in reply.reason and notices == []


def test_a_pin_and_a_request_go_over_it(session, scoped):
    session.pinned = "unified"
    assert asked(session, OUTSIDE)[0].model == "unified"
    assert asked(session, OUTSIDE, expert=True)[0].model == "technical"


def test_a_specialist_is_not_handed_what_lies_outside_of_its_own(session, scoped):
    scoped.confidences["base"] = 0.2
    assert asked(session, OUTSIDE)[0].model == "base"
    scoped.judgement = Judgement("technical", {"qna": 0.1, "technical": 0.8, "general": 0.1}, 0.99)
    assert asked(session, OUTSIDE)[0].model == "base"
    assert asked(session, WITHIN)[0].model == "technical"


def test_a_question_that_leans_on_the_last_goes_on_with_who_answered_that(session, scoped):
    assert asked(session, OUTSIDE)[0].model == "base"
    assert asked(session, "And how long is it?")[0].model == "base"
    assert asked(session, WITHIN)[0].model == "unified"
    assert asked(session, "And how long is it?")[0].model == "unified"


def test_what_it_was_trained_on_by_itself_is_asked_without_the_turns_before(session, scoped, engine):
    asked(session, OUTSIDE)
    asked(session, WITHIN)
    assert engine.prompts[-1][0] == "unified/0001" and OUTSIDE not in engine.prompts[-1][1]
    asked(session, "And how long is it?")
    assert WITHIN in engine.prompts[-1][1]
    asked(session, OUTSIDE)
    assert engine.prompts[-1][0] is None and WITHIN in engine.prompts[-1][1]
    assert asked(session, WITHIN, expert=True)[0].model == "technical"
    assert OUTSIDE not in engine.prompts[-1][1]


def test_a_follow_up_goes_on_with_the_specialist_who_answered(session, scoped):
    assert asked(session, WITHIN, expert=True)[0].model == "technical"
    assert asked(session, "And how long is it?")[0].model == "technical"


def test_a_domain_alone_answers_what_it_was_trained_on_and_every_request(session, scoped, finish, paths):
    store = Store(paths)
    for model in ("unified", "technical"):
        shutil.rmtree(store.folder(model))
    version = finish("law")
    store.make_live("law", version)
    shown = {"base": "b", "base_sha256": scoped.base.sha256, "hidden": [[1.0, 0.0]], "output": [10.0, -5.0], "threshold": 0.5}
    (store.version_folder("law", version) / scope.FILE).write_text(json.dumps(shown), encoding="utf-8")
    assert asked(session, WITHIN)[0].model == "law"
    assert asked(session, OUTSIDE)[0].model == "base"
    assert asked(session, OUTSIDE, expert=True)[0].model == "law"


def test_a_damaged_scope_is_told_and_the_version_answers_everything(session, scoped, paths):
    (Store(paths).version_folder("unified", "0001") / scope.FILE).write_text("{", encoding="utf-8")
    reply, notices = asked(session, OUTSIDE)
    assert reply.model == "unified"
    assert any("The unified model answers everything" in text and "scope.json" in text for text in notices)


def test_one_of_another_base_says_nothing(session, scoped, paths):
    path = Store(paths).version_folder("unified", "0001") / scope.FILE
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "base_sha256": "another"}), encoding="utf-8")
    assert asked(session, OUTSIDE)[0].model == "unified"
