from types import SimpleNamespace

import pytest

from assistant.core.commands import Context
from assistant.core.events import Report
from finetuning.commands import REGISTRY
from finetuning.evaluation import judging


@pytest.fixture
def clock(engine, monkeypatch):
    """A clock that an answer moves on by 0.1 seconds and 0.01 a token, and by 0.03 more when another one spoke before."""
    now = SimpleNamespace(seconds=0.0, speaking="")
    stream = engine.stream

    def timed(prompt, adapter, sampling, stop):
        now.seconds += 0.1 if adapter == now.speaking else 0.13
        now.speaking = adapter
        for token in stream(prompt, adapter, sampling, stop):
            now.seconds += 0.01
            yield token

    monkeypatch.setattr(engine, "stream", timed)
    monkeypatch.setattr(judging, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


@pytest.mark.parametrize(("system", "seconds"), [("unified/0001", 0.03), ("base", None)])
def test_a_switch_takes_what_the_first_token_comes_later_after_the_base_has_answered(root, engine, clock, system, seconds):
    events = REGISTRY.run(["evaluate", system, "--limit", "4", "--suite", "none"], Context(root))
    found = next(event for event in events if isinstance(event, Report))
    assert found.data["speed"]["switch_seconds"] == seconds
    assert any(row[0] == "switch" and row[1].startswith("30 ms later") for row in found.blocks[0].rows) == (seconds is not None)
