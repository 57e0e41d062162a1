import dataclasses

import pytest

from assistant.chat import live as lives
from assistant.chat.live import go_live
from assistant.chat.models import facts
from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import ModelError
from assistant.core.events import Notice
from assistant.engine.base import Base, engine_for, transformers_only

from .conftest import AdapterEngine, ScriptedLive

BASE = Base("Tiny", "tiny", gguf=files.Path("tiny.gguf"))


@pytest.fixture
def trained(paths, finish):
    """A version of a model that was trained by a method; its folder holds what that method leaves."""

    def make(model, **config):
        version = finish(model)
        folder = paths.models / f"{model}_specialist" / "versions" / version
        if config:
            files.write_json(folder / "adapter_config.json", config)
        else:
            files.write_json(folder / "config.json", {})
        return version, folder

    return make


@pytest.fixture
def live(paths, monkeypatch):
    """A chat on llama.cpp, and the transformers engine that may take its place."""
    lines = {None: "Base.", "qna/0001": "Facts."}
    made = ScriptedLive(paths, AdapterEngine(lines=lines))
    made._engine.name = "llama"
    made.other = AdapterEngine(lines=lines)
    made.other.name = "hf"
    monkeypatch.setattr(ScriptedLive, "base", BASE)
    monkeypatch.setattr(lives.engines, "make", lambda name, *_: made.other)
    monkeypatch.setattr(lives.engines, "engine_name", lambda settings, base: "llama")
    monkeypatch.setattr(lives.engines, "installed", lambda package: True)
    return made


@pytest.mark.parametrize(
    ("config", "only"),
    [
        ({"peft_type": "LORA"}, False),
        ({"peft_type": "LORA", "use_dora": True}, True),
        ({"peft_type": "IA3"}, True),
        ({"peft_type": "PROMPT_TUNING"}, True),
        ({}, True),
    ],
)
def test_a_version_says_which_engine_can_run_it(trained, config, only):
    _, folder = trained("qna", **config)
    assert transformers_only(folder) is only


def test_the_chat_changes_over_to_transformers_with_all_that_is_loaded_and_says_so(trained, live, paths):
    trained("technical", peft_type="LORA")
    live.store.make_live("technical", "0001")
    live.speaker("technical")
    trained("qna", peft_type="IA3")
    live.store.make_live("qna", "0001")
    speaker, notices = live.speaker("qna")
    assert speaker.adapter == "qna/0001"
    assert live.engine is live.other
    assert set(live.other.adapters) == {"technical/0001", "qna/0001"}
    assert [notice.text for notice in notices] == [
        "qna 0001 was trained by a method that runs on transformers only, so the chat uses it, slower than llama.cpp."
    ]
    assert live.speaker("qna")[1] == []


def test_a_version_that_is_switched_to_is_tried_on_the_engine_that_runs_it(trained, live):
    trained("qna")
    events = list(go_live(live, "qna", "0001"))
    assert any("transformers only" in event.text for event in events if isinstance(event, Notice))
    assert live.store.current("qna").version == "0001"


def test_with_the_engine_fixed_to_llama_another_answers_and_the_way_out_is_named(trained, live):
    live.settings = dataclasses.replace(live.settings, engine="llama")
    trained("qna", peft_type="PROMPT_TUNING")
    live.store.make_live("qna", "0001")
    speaker, notices = live.speaker("qna")
    assert speaker.model == "base"
    assert "runs on transformers only" in notices[0].text and "`engine: auto`" in notices[0].text


def test_without_transformers_the_reason_is_a_sentence(trained, live, monkeypatch):
    _, folder = trained("qna", peft_type="IA3")
    monkeypatch.setattr(lives.engines, "installed", lambda package: False)
    with pytest.raises(ModelError, match="not installed"):
        engine_for(live.settings, BASE, [folder])


def test_what_only_transformers_can_run_is_not_loaded_ahead_on_llama(trained, live):
    trained("qna", peft_type="IA3")
    live.store.make_live("qna", "0001")
    live.ahead(["qna"])
    live.residents.clear()
    assert live.engine.adapters == []


def test_a_chat_begins_on_transformers_when_a_live_version_needs_it(trained, live):
    trained("qna", peft_type="IA3")
    assert live._first_engine() == "llama"
    live.store.make_live("qna", "0001")
    assert live._first_engine() == "hf"


def test_status_names_the_engine_that_the_live_versions_need(trained, live, paths, monkeypatch):
    monkeypatch.setattr(lives.engines, "base_of", lambda settings, paths: BASE)
    assert facts(Context(paths))["engine"] == "llama"
    trained("qna", peft_type="IA3")
    live.store.make_live("qna", "0001")
    assert facts(Context(paths))["engine"] == "hf"
    monkeypatch.setattr(lives.engines, "installed", lambda package: False)
    assert facts(Context(paths))["engine"] == "llama"
