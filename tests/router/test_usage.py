import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.router.usage import Habits, keep, read, write

MORNING, EVENING = datetime(2026, 1, 5, 9), datetime(2026, 1, 5, 20)


def taught(turns):
    habits, previous = Habits(), None
    for model, now in turns:
        habits.seen(model, previous, now)
        previous = model
    return habits


def test_what_usually_follows_is_expected():
    habits = taught([(model, MORNING) for _ in range(20) for model in ("unified", "law", "tax")])
    assert habits.wanted(["law", "tax", "qna"], "unified", MORNING)[0] == "law"
    assert habits.wanted(["law", "tax", "qna"], "law", MORNING)[0] == "tax"


def test_the_hour_counts():
    habits = taught([("law" if day % 2 else "garden", (MORNING if day % 2 else EVENING) + timedelta(days=day)) for day in range(40)])
    shares = habits.shares(["law", "garden"], "x", MORNING)
    assert shares["law"] > shares["garden"]


def test_new_habits_replace_old_ones():
    habits = taught([("law", MORNING)] * 30 + [("tax", MORNING)] * 12)
    assert habits.wanted(["law", "tax"], "tax", MORNING)[0] == "tax"


def test_nothing_learned_is_nothing_wanted():
    assert Habits().wanted(["law", "tax"], None, MORNING) == []


def test_habits_come_back_as_they_were_and_hold_no_words(tmp_path):
    habits = taught([("law", MORNING), ("tax", EVENING)])
    habits.looked_for(True)
    habits.looked_for(False)
    write(tmp_path / "usage.json", habits)
    assert read(tmp_path / "usage.json") == habits and habits.hit_rate == 0.5
    assert set(json.loads((tmp_path / "usage.json").read_text())) == {"after", "hours", "lately", "needed", "found"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"after": 3}', '{"other": 1}'])
def test_a_damaged_file_begins_anew(tmp_path, text):
    (tmp_path / "usage.json").write_text(text, encoding="utf-8")
    assert read(tmp_path / "usage.json") == Habits()


MODELS = ("unified", "qna", "technical", "law", "tax")


@given(st.permutations(MODELS), st.lists(st.integers(0, 50), min_size=5, max_size=5), st.integers(0, 120), st.sets(st.sampled_from(MODELS)))
def test_the_budget_holds_for_everything_but_the_pinned_ones(order, sizes, budget, pinned):
    size = dict(zip(MODELS, sizes, strict=True))
    kept = keep(order, size, budget, pinned)
    assert pinned <= set(kept)
    free = [model for model in kept if model not in pinned]
    assert not free or sum(size[model] for model in kept) <= budget


def test_the_one_used_longest_ago_goes_first():
    assert keep(["tax", "law", "qna"], dict.fromkeys(MODELS, 10), 20, ()) == ["tax", "law"]
