import json

import pytest

from assistant.chat.commands import REGISTRY
from assistant.core import files
from assistant.core.commands import Context
from assistant.core.events import Failed, Notice
from assistant.core.preferences import picks_file
from assistant.core.store import Store
from assistant.router.confidence import FEATURES


@pytest.fixture
def two(session, live, paths, finish):
    """A turn in which the technical specialist took over."""
    for model in ("unified", "technical"):
        Store(paths).make_live(model, finish(model))
    live.confidences = {"unified/0001": 0.2, "technical/0001": 0.9}
    list(session.say("Which menu is it in?"))
    return session


def say(session, paths, *words):
    return list(REGISTRY.run(words, Context(paths, chat=session)))


def labels(paths):
    return files.read_jsonl(paths.labels)


def test_good_after_a_hand_over_prefers_the_second_answer(two, paths):
    events = say(two, paths, "good")
    [pair] = files.read_jsonl(picks_file(paths))
    assert (pair["chosen"], pair["rejected"], pair["source"]) == ("1. Press L.", "Unified says so.", "good:")
    assert [message["role"] for message in pair["prompt"]] == ["system", "user"] and set(pair) == {
        "prompt",
        "chosen",
        "rejected",
        "source",
        "when",
    }
    assert "better than that of unified" in next(event.text for event in events if isinstance(event, Notice))


def test_bad_after_a_hand_over_prefers_the_draft(two, paths):
    say(two, paths, "bad", "")
    [pair] = files.read_jsonl(picks_file(paths))
    assert (pair["chosen"], pair["rejected"]) == ("Unified says so.", "1. Press L.")


def test_bad_with_a_better_answer_prefers_that_one(session, paths):
    list(session.say("hello"))
    say(session, paths, "bad", "Good morning to you.")
    [pair] = files.read_jsonl(picks_file(paths))
    assert (pair["chosen"], pair["rejected"]) == ("Good morning to you.", "Paris is the capital.")


def test_every_verdict_is_a_label_that_calibration_can_read(two, paths):
    say(two, paths, "good")
    say(two, paths, "bad", "")
    good, bad = labels(paths)
    assert (good["right"], bad["right"], good["model"], good["version"]) == (True, False, "technical", "0001")
    assert len(good["features"]) == len(good["early"]) == len(FEATURES)


def test_the_answer_of_expert_is_compared_with_the_one_before(session, live, paths, finish):
    for model in ("unified", "technical"):
        Store(paths).make_live(model, finish(model))
    list(session.say("Which menu is it in?"))
    say(session, paths, "expert", "")
    say(session, paths, "good")
    assert files.read_jsonl(picks_file(paths))[0]["rejected"] == "Unified says so."


def test_a_single_good_answer_is_a_label_and_no_pair(session, paths):
    list(session.say("hello"))
    say(session, paths, "good")
    assert labels(paths)[0]["right"] is True and not picks_file(paths).exists()


def test_judging_before_any_answer_is_a_sentence(session, paths):
    assert isinstance(say(session, paths, "good")[0], Failed)
    assert isinstance(say(session, paths, "bad", "x")[0], Failed)


def test_a_label_is_one_line(session, paths):
    list(session.say("hello\nthere"))
    say(session, paths, "bad", "a\nb")
    assert len(paths.labels.read_text(encoding="utf-8").splitlines()) == 1
    assert json.loads(picks_file(paths).read_text(encoding="utf-8"))["chosen"] == "a\nb"
