import threading
import time

import pytest

from assistant.chat.residents import MB, Residents
from assistant.core.errors import ModelError
from assistant.core.values import Adapter
from tests.scripted import ScriptedEngine


@pytest.fixture
def adapter(tmp_path):
    """Makes an adapter of so many megabytes."""

    def make(name, megabytes=10):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "card.json").write_text("{}", encoding="utf-8")
        with (folder / "adapter.gguf").open("wb") as file:
            file.truncate(megabytes * MB)
        return Adapter(f"{name}/0001", folder)

    return make


class CountingEngine(ScriptedEngine):
    """Counts its loads, is slow to make one, and refuses broken adapters."""

    loads = 0
    slow = 0.0
    broken = ()

    def set_adapters(self, adapters):
        time.sleep(self.slow)
        if any(adapter.key in self.broken for adapter in adapters):
            raise ModelError("damaged", "")
        self.loads += 1
        super().set_adapters(adapters)


def wait(condition):
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_within_the_budget_everything_stays(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 100)
    for name in ("unified", "qna", "technical"):
        assert residents.bring(engine, name, adapter(name)) is False
    assert set(residents.versions()) == {"unified", "qna", "technical"}
    assert engine.adapters[0] == "unified/0001"


def test_the_one_used_longest_ago_goes_and_pinned_ones_and_the_unified_stay(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 30)
    made = {name: adapter(name) for name in ("unified", "law", "qna", "technical")}
    for name in ("unified", "law", "qna"):
        residents.bring(engine, name, made[name])
    residents.pins = frozenset(["law"])
    residents.bring(engine, "technical", made["technical"])
    assert set(residents.versions()) == {"unified", "law", "technical"}


def test_using_one_keeps_it(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 20)
    made = {name: adapter(name) for name in ("law", "qna", "technical")}
    residents.bring(engine, "law", made["law"])
    residents.bring(engine, "qna", made["qna"])
    assert residents.bring(engine, "law", made["law"]) is True
    residents.bring(engine, "technical", made["technical"])
    assert set(residents.versions()) == {"law", "technical"}


def test_a_broken_adapter_changes_nothing(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 100)
    residents.bring(engine, "unified", adapter("unified"))
    engine.broken = ("qna/0001",)
    with pytest.raises(ModelError):
        residents.bring(engine, "qna", adapter("qna"))
    assert residents.versions() == {"unified": "0001"} and engine.adapters == ["unified/0001"]


def test_one_that_broke_later_does_not_keep_others_from_loading(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 100)
    residents.bring(engine, "qna", adapter("qna"))
    engine.broken = ("qna/0001",)
    residents.bring(engine, "technical", adapter("technical"))
    assert engine.adapters == ["technical/0001"]


def test_nothing_is_loaded_ahead_while_an_answer_is_being_made(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 100)
    with residents.turn():
        residents.ahead(engine, {"law": adapter("law")}, None)
        time.sleep(0.05)
        assert engine.loads == 0
    residents.ahead(engine, {"tax": adapter("tax")}, None)
    wait(lambda: "tax" in residents.versions() or "law" in residents.versions())


def test_a_turn_waits_for_no_more_than_one_load_and_an_offered_question_is_read_ahead(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 100)
    prompt = engine.format.encode([])
    residents.ahead(engine, {"law": adapter("law")}, ("law/0001", prompt))
    wait(lambda: bool(engine.said))
    assert engine.said[0][1] == "law/0001"
    engine.slow = 0.2
    residents.ahead(engine, {"tax": adapter("tax")}, None)
    time.sleep(0.02)
    started = time.monotonic()
    with residents.turn():
        assert time.monotonic() - started < 1.0


def test_a_likely_one_does_not_push_out_what_fits_beside_it(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 20)
    residents.bring(engine, "law", adapter("law"))
    residents.ahead(engine, {"tax": adapter("tax"), "qna": adapter("qna")}, None)
    wait(lambda: set(residents.versions()) == {"tax", "qna"})


def test_a_thousand_turns_beside_loading_ahead_never_answer_with_a_missing_adapter(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 20)
    made = {name: adapter(name) for name in ("unified", "law", "qna", "tax")}
    names = list(made)
    for number in range(1000):
        name = names[number * 7 % 4]
        with residents.turn():
            residents.bring(engine, name, made[name])
            assert made[name].key in engine.adapters
        residents.ahead(engine, {names[number % 4]: made[names[number % 4]]}, None)
    residents.clear()
    assert threading.active_count() < 10


def test_the_first_ones_are_loaded_together_as_far_as_the_budget_goes(adapter):
    engine, residents = CountingEngine(), Residents(lambda: 20)
    residents.begin(engine, {name: adapter(name) for name in ("unified", "law", "tax")})
    assert engine.loads == 1 and set(residents.versions()) == {"unified", "law"} and engine.adapters[0] == "unified/0001"
