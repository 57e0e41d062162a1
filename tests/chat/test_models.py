import pytest

from assistant.chat.live import go_live
from assistant.core.commands import Context
from assistant.core.errors import ModelError
from assistant.core.events import Failed, Finished, Report, Switched
from assistant.core.store import Current, Store
from finetuning.commands import REGISTRY


def run(paths, session, *words):
    return list(REGISTRY.run(words, Context(paths, chat=session)))


def test_a_version_is_tried_before_it_goes_live(live, paths, finish):
    version = finish("unified")
    events = list(go_live(live, "unified", version))
    assert events[-1] == Switched("unified", "0001", None)
    assert Store(paths).current("unified") == Current("0001", None)


def test_a_version_that_fails_its_trial_changes_nothing(live, paths, finish, engine):
    list(go_live(live, "unified", finish("unified")))
    second = finish("unified")
    engine.broken = {f"unified/{second}"}
    with pytest.raises(ModelError):
        list(go_live(live, "unified", second))
    assert Store(paths).current("unified").version == "0001" and engine.adapters == ["unified/0001"]


def test_a_version_that_says_nothing_does_not_go_live(live, paths, finish, engine):
    version = finish("unified")
    engine.lines[f"unified/{version}"] = ""
    with pytest.raises(ModelError, match="says nothing"):
        list(go_live(live, "unified", version))
    assert Store(paths).current("unified").version is None


def test_rollback_puts_the_version_before_back_and_twice_returns(session, paths, finish, engine):
    engine.lines |= {"unified/0002": "Second."}
    for _ in range(2):
        run(paths, session, "switch", "unified", finish("unified"))
    assert Store(paths).current("unified") == Current("0002", "0001")
    run(paths, session, "rollback", "unified")
    assert Store(paths).current("unified") == Current("0001", "0002")
    run(paths, session, "rollback", "unified")
    assert Store(paths).current("unified") == Current("0002", "0001")


def test_the_first_version_rolls_back_to_the_base(session, paths, finish):
    run(paths, session, "switch", "unified", finish("unified"))
    assert Switched("unified", None, "0001") in run(paths, session, "rollback", "unified")
    assert not any(isinstance(event, Switched) for event in session.say("hello"))


def test_rolling_back_without_anything_before_is_a_sentence(session, paths):
    events = run(paths, session, "rollback", "unified")
    assert isinstance(events[0], Failed) and events[-1] == Finished(2)


def test_switching_to_what_does_not_exist_is_a_sentence(session, paths):
    for words in (("nonsense",), ("unified",), ("unified", "0009"), ("base", "0001")):
        assert isinstance(run(paths, session, "switch", *words)[-2], Failed), words


def test_a_version_in_the_making_is_invisible(paths):
    store = Store(paths)
    version = store.reserve("unified", {"model": "unified"})
    assert store.versions("unified") == []
    with pytest.raises(ModelError):
        store.make_live("unified", version)


def test_a_damaged_current_file_is_named_and_can_be_put_right(session, paths, finish):
    run(paths, session, "switch", "unified", finish("unified"))
    (paths.models / "unified_model" / "current.json").write_text("{broken", encoding="utf-8")
    with pytest.raises(ModelError, match="damaged"):
        Store(paths).current("unified")
    run(paths, session, "switch", "unified", "0001")
    assert Store(paths).current("unified").version == "0001"


def test_the_status_names_what_is_live_and_what_to_do_next(session, paths, finish):
    data = next(e for e in run(paths, session, "status") if isinstance(e, Report)).data
    assert data["hybrid"] is False and "generate" in data["next"]
    assert [item["model"] for item in data["models"]] == ["unified", "qna", "technical"]
    run(paths, session, "switch", "unified", finish("unified"))
    data = next(e for e in run(paths, session, "status") if isinstance(e, Report)).data
    assert data["models"][0] == {"model": "unified", "live": "0001", "versions": ["0001"], "loaded": True}


def test_a_deleted_version_is_not_loaded_again_beside_another_model(session, paths, finish, engine):
    run(paths, session, "switch", "unified", finish("unified"))
    finish("technical")
    list(session.say("hello"))
    run(paths, session, "delete", "unified", "0001", "--yes")
    run(paths, session, "switch", "technical", "0001")
    assert engine.adapters == ["technical/0001"]
    assert any(event == Switched("unified", None, "0001") for event in session.say("hello"))
