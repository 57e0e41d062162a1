import pytest

from assistant.chat.commands import REGISTRY
from assistant.chat.history import History
from assistant.chat.pins import pin
from assistant.chat.session import Session
from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Failed, Finished, Notice, Report, RouteChosen, Switched, TextDelta, TurnDone
from assistant.core.store import Store
from assistant.core.values import Judgement


def reply_of(events):
    return next(event.reply for event in events if isinstance(event, TurnDone))


def command(session, paths, *words):
    return list(REGISTRY.run(words, Context(paths, chat=session)))


def test_a_turn_says_who_answers_then_streams_then_sums_up(session):
    events = list(session.say("What is the capital of France?"))
    kinds = [type(event) for event in events]
    assert kinds[0] is RouteChosen and kinds[-1] is TurnDone and set(kinds[1:-1]) == {TextDelta}
    reply = reply_of(events)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == reply.answer == "Paris is the capital."
    assert (reply.model, reply.version, reply.confidence, reply.trigger) == ("base", None, None, None)


def test_the_unified_model_answers_as_soon_as_it_is_live_and_the_switch_is_announced(session, paths, finish):
    list(session.say("hello"))
    Store(paths).make_live("unified", finish("unified"))
    events = list(session.say("hello again"))
    assert events[0] == Switched("unified", "0001", None)
    assert reply_of(events).answer == "Unified says so."


def test_asking_for_the_expert_alone_asks_the_previous_question_again(session, paths, finish, engine):
    for model in ("unified", "technical"):
        Store(paths).make_live(model, finish(model))
    assert reply_of(list(session.say("Which key draws a line?"))).model == "unified"
    reply = reply_of(list(session.say("네, 전문가 모드로 해주세요")))
    assert (reply.question, reply.model, reply.trigger, reply.escalated) == ("Which key draws a line?", "technical", "request", True)
    adapter, prompt = engine.prompts[-1]
    assert adapter == "technical/0001" and "Which key draws a line?" in prompt and "Unified says" not in prompt


def test_asking_for_the_expert_with_a_question_answers_that_question_at_once(session, paths, finish):
    Store(paths).make_live("technical", finish("technical"))
    reply = reply_of(list(session.say("SketchUp expert mode advanced modeling")))
    assert (reply.model, reply.question) == ("technical", "SketchUp expert mode advanced modeling")


def test_general_talk_never_goes_to_an_expert(session, live, paths, finish):
    Store(paths).make_live("technical", finish("technical"))
    live.judgement = Judgement("general", {"qna": 0.0, "technical": 0.1, "general": 0.9})
    assert reply_of(list(session.say("expert mode please, I feel sad"))).model == "base"


def test_an_untrained_expert_is_said_and_the_unified_model_answers(session):
    events = list(session.say("expert mode: how do I draw a line?"))
    assert "not trained yet" in next(e for e in events if isinstance(e, RouteChosen)).reason
    assert "`ft: train technical`" in next(e for e in events if isinstance(e, Notice)).text


def test_an_expert_who_is_not_trained_or_has_just_spoken_is_told_and_no_turn(session, paths, finish):
    list(session.say("How do I draw a line?"))
    (notice,) = session.say("expert mode please")
    assert (
        notice.text.endswith("specialist is not trained yet (`ft: train technical`); the answer above stays.") and len(session.turns) == 1
    )
    Store(paths).make_live("technical", finish("technical"))
    assert reply_of(list(session.say("expert mode please"))).model == "technical"
    (notice,) = session.say("전문가 모드로 해주세요")
    assert "that of the technical specialist" in notice.text and len(session.turns) == 2
    assert reply_of(list(session.retry())).model == "technical"
    Store(paths).make_live("technical", finish("technical"))
    assert reply_of(list(session.say("expert mode please"))).version == "0002"


def test_a_model_is_asked_with_the_system_prompt_it_was_trained_with(session, paths, finish, engine):
    version = finish("law")
    path = Store(paths).version_folder("law", version) / "card.json"
    files.write_json(path, {**files.read_json(path), "system": "You are a court clerk."})
    Store(paths).make_live("law", version)
    session.pinned = "law"
    list(session.say("hello"))
    assert engine.prompts[-1][1].startswith("system You are a court clerk.")


def test_a_broken_adapter_is_one_notice_and_the_next_best_answers(session, paths, finish, engine):
    for model in ("unified", "technical"):
        Store(paths).make_live(model, finish(model))
    engine.broken = {"technical/0001"}
    events = list(session.say("expert mode: how do I draw a line?"))
    assert "technical/0001 is damaged" in next(e for e in events if isinstance(e, Notice)).text
    assert reply_of(events).model == "unified"


def test_stopping_an_answer_leaves_the_history_as_it_was(session, engine):
    stream = session.say("hello")
    while not isinstance(next(stream), TextDelta):
        pass
    stream.close()
    assert session.turns == [] and session.history.listed() == [] and engine.closed == 1


def test_an_answer_that_goes_round_in_circles_is_cut(session, engine):
    engine.lines[None] = "I hope " + "so " * 300
    reply = reply_of(list(session.say("hello")))
    assert reply.stopped == "repetition" and reply.answer == "I hope so"


def test_an_answer_at_the_length_limit_says_so(session, engine):
    engine.lines[None] = " ".join(f"word{number}" for number in range(1000))
    reply = reply_of(list(session.say("hello")))
    assert reply.stopped == "length" and reply.tokens == 400


def test_control_characters_of_a_model_do_not_reach_the_screen(session, engine):
    engine.lines[None] = "red \x1b[31m text\x07 end"
    assert "\x1b" not in reply_of(list(session.say("hello"))).answer


def test_a_long_conversation_is_trimmed_in_a_large_step_and_says_so(paths, live, engine):
    engine.context_tokens = 600
    room = 600 - live.settings.chat.max_tokens
    session = Session(paths, live)
    notices = []
    for number in range(20):
        events = list(session.say(f"question {number} " + "words " * 20))
        notices += [e.text for e in events if isinstance(e, Notice)]
        assert len(engine.prompts[-1][1].split()) <= room
    assert 1 <= len(notices) <= 8 and "left out" in notices[0]


def test_a_question_too_long_for_the_context_is_a_sentence(session):
    with pytest.raises(UsageError, match="tokens"):
        list(session.say("word " * 5000))


def test_korean_is_said_to_be_answered_in_english(session):
    events = list(session.say("오늘 날씨 어때?"))
    assert any(isinstance(e, Notice) and "Korean" in e.text for e in events)


def test_retry_replaces_the_answer_and_undo_takes_the_turn_away(session, paths, engine):
    list(session.say("hello"))
    engine.lines[None] = "Another answer."
    command(session, paths, "retry")
    assert [turn.reply.answer for turn in session.turns] == ["Another answer."]
    assert [turn.reply.answer for turn in session.history.turns(session.id)] == ["Another answer."]
    command(session, paths, "undo")
    assert session.turns == [] and session.history.listed() == []


def test_a_retry_that_is_stopped_keeps_the_old_answer(session):
    list(session.say("hello"))
    stream = session.retry()
    while not isinstance(next(stream), TextDelta):
        pass
    stream.close()
    assert len(session.turns) == len(session.history.turns(session.id)) == 1


def test_edit_replaces_the_last_message(session, paths):
    list(session.say("helo"))
    command(session, paths, "edit", "hello")
    assert [turn.said for turn in session.turns] == ["hello"]


def test_conversations_survive_a_crash_and_can_be_opened_again(session, paths, live):
    list(session.say("first question"))
    number = session.id
    after_a_crash = Session(paths, live, History(paths.history))
    command(after_a_crash, paths, "sessions", str(number))
    assert [turn.said for turn in after_a_crash.turns] == ["first question"]
    list(after_a_crash.say("second question"))
    assert after_a_crash.id == number and len(after_a_crash.history.turns(number)) == 2


def test_the_list_of_conversations_has_the_newest_first(session, paths):
    list(session.say("one"))
    command(session, paths, "new")
    list(session.say("two"))
    report = next(e for e in command(session, paths, "sessions") if isinstance(e, Report))
    assert [item["title"] for item in report.data] == ["two", "one"]


def test_a_conversation_that_does_not_exist_is_a_sentence(session, paths):
    events = command(session, paths, "sessions", "99")
    assert events == [Failed("There is no conversation 99.", "`sessions:` lists them."), Finished(2)]


def test_save_writes_markdown_and_never_over_a_file_of_yours(session, paths, tmp_path):
    list(session.say("hello"))
    target = tmp_path / "talk.md"
    command(session, paths, "save", str(target))
    assert "**You:** hello" in target.read_text(encoding="utf-8")
    command(session, paths, "save", str(target))
    mine = tmp_path / "mine.md"
    mine.write_text("my notes", encoding="utf-8")
    assert isinstance(command(session, paths, "save", str(mine))[0], Failed)
    assert mine.read_text(encoding="utf-8") == "my notes"


def test_model_pins_this_conversation_and_auto_gives_it_back(session, paths, finish):
    Store(paths).make_live("technical", finish("technical"))
    command(session, paths, "model", "technical")
    reply = reply_of(list(session.say("hello")))
    assert (reply.model, reply.trigger) == ("technical", "pinned")
    command(session, paths, "model", "auto")
    assert reply_of(list(session.say("hello"))).trigger is None
    assert isinstance(command(session, paths, "model", "nonsense")[0], Failed)


def test_a_pin_of_the_root_is_followed_by_a_running_chat_at_its_next_turn(session, paths, finish):
    Store(paths).make_live("technical", finish("technical"))
    pin(paths, "technical")
    assert reply_of(list(session.say("hello"))).model == "technical"
    pin(paths, None)
    assert reply_of(list(session.say("hello"))).model == "base"


def test_why_explains_the_last_route(session, paths):
    list(session.say("hello"))
    report = next(e for e in command(session, paths, "why") if isinstance(e, Report))
    assert "nothing is trained yet" in report.data["reason"]


def test_expert_without_a_question_and_without_a_turn_is_a_sentence(session, paths):
    assert isinstance(command(session, paths, "expert", "")[0], Failed)


def test_a_damaged_history_is_a_sentence_and_not_lost(paths):
    paths.history.write_bytes(b"this is no database, and it is longer than a header" * 10)
    with pytest.raises(Exception, match="cannot be opened"):
        History(paths.history)
    assert paths.history.exists()
