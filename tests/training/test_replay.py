import pytest

from assistant.core.paths import Paths
from assistant.engine.base import Base
from assistant.engine.embedded import SHA256
from finetuning.training import replay
from finetuning.training.recipe import Recipe


def test_a_share_of_the_rows_is_replayed_beside_them():
    assert replay.count(Recipe(replay=0.1), 1000) == 100
    assert replay.count(Recipe(replay=0.0), 1000) == 0


def test_a_run_that_ends_early_replays_its_share_of_what_it_sees():
    assert replay.count(Recipe(replay=0.5, max_steps=3, batch_size=2, accumulation=2), 1000) == 6


def test_the_prompts_come_in_the_same_mixed_order_every_time(paths: Paths):
    first = replay.prompts(paths)
    assert first == replay.prompts(paths)
    assert len(set(first)) == len(first) > 400
    assert not any(prompt.startswith("#") for prompt in first)


def test_the_embedded_base_need_not_answer_the_prompts_again(paths: Paths, chat, monkeypatch):
    monkeypatch.setattr(replay.engines, "make", lambda *_: pytest.fail("its answers come with the corpus"))
    embedded = Base("SmolLM2-135M-Instruct", "", SHA256)
    count = len(replay.prompts(paths))
    rows = replay.rows(paths, None, embedded, chat, "Be brief.", count, lambda: False)
    assert len(set(rows)) == len(rows) == count
    again = replay.rows(paths, None, embedded, chat, "Be brief.", 2 * count + 5, lambda: False)
    assert again == rows + rows + rows[:5], "a large dataset replays them several times"
