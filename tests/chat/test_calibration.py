from dataclasses import replace

import pytest

from assistant.chat.live import Live, Speaker
from assistant.core import settings as configuration
from assistant.core.events import TurnDone
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.engine.base import Base
from assistant.router import confidence
from assistant.router.confidence import Calibration
from tests.chat.conftest import ScriptedLive, constant


@pytest.fixture
def reading(paths, engine):
    """The real reading of calibration files over a scripted engine."""
    live = ScriptedLive(paths, engine)
    live._base = Base("scripted", "scripted", "of this base")
    return live


def saved(folder, share, engine="scripted", weights="of this base"):
    folder.mkdir(parents=True, exist_ok=True)
    confidence.save(Calibration(engine, weights, 100, constant(share), constant(share)), folder)


def of(live, model, version):
    return Live.calibration(live, Speaker(model, version, version and f"{model}/{version}", system_prompt(model)))


def test_a_version_speaks_with_its_own_calibration_and_a_new_fit_counts_at_once(reading, paths, finish):
    folder = Store(paths).version_folder("unified", finish("unified"))
    assert of(reading, "unified", "0001") is None
    saved(folder, 0.4, weights="of the adapter")
    assert of(reading, "unified", "0001").whole == constant(0.4)
    saved(folder, 0.6)
    assert of(reading, "unified", "0001").whole == constant(0.6)


def test_a_calibration_of_another_engine_or_base_does_not_count(reading, paths, finish):
    folder = Store(paths).version_folder("unified", finish("unified"))
    saved(folder, 0.4, engine="hf")
    assert of(reading, "unified", "0001") is None
    saved(paths.base, 0.4, weights="of another base")
    assert of(reading, "base", None) is None
    saved(paths.base, 0.4)
    assert of(reading, "base", None).whole == constant(0.4)


def test_a_calibration_that_reads_the_question_tells_a_hard_one_from_an_easy_one(session, live, engine, monkeypatch):
    engine.embed = lambda prompt: [1.0 if "physics" in engine.format.decode(prompt) else 0.0]
    curve = replace(constant(0.5), state=(-3.0,))
    monkeypatch.setattr(live, "calibration", lambda speaker: Calibration("scripted", "", 100, curve, curve))
    easy, hard = (
        next(event.reply.confidence for event in session.say(text) if isinstance(event, TurnDone))
        for text in ("What is the capital of France?", "What is quantum physics?")
    )
    assert easy == pytest.approx(0.5) and hard < 0.1


def test_the_status_says_what_is_calibrated(reading, paths, finish):
    from assistant.chat import router_status

    Store(paths).make_live("unified", finish("unified"))
    saved(Store(paths).version_folder("unified", "0001"), 0.4)
    data = router_status.facts(paths, Store(paths), configuration.load(paths).router, "scripted", "of this base")
    assert data["calibrated"] == ["unified"] and data["note"].endswith("; not calibrated: base (`calibrate`)")
    saved(paths.base, 0.4)
    data = router_status.facts(paths, Store(paths), configuration.load(paths).router, "scripted", "of this base")
    assert data["calibrated"] == ["base", "unified"] and "not calibrated" not in data["note"]
