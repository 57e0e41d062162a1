import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.core.facts import normalise
from finetuning.data.dedupe import bands, clusters, near_duplicates

WORDS = (  # noqa: SIM905
    "how do i draw a line circle arc wall roof in sketchup autocad blender with the mouse keyboard quickly please help me now"
).split()


def groups(text: str) -> set[str]:
    framed = f" {normalise(text)} ".ljust(4)
    return {framed[place : place + 4] for place in range(len(framed) - 3)}


def by_hand(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    sets = [groups(text) for text in texts]
    return {
        (one, other)
        for one in range(len(texts))
        for other in range(one + 1, len(texts))
        if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other])
    }


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    made = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12))) for _ in range(count)]
    # Near ones: a letter less, a word more.
    made += [text[:5] + text[6:] for text in made[: count // 4]] + [f"{text} please" for text in made[: count // 4]]
    return made


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_pairs_are_those_that_a_comparison_of_all_with_all_finds(threshold: float):
    texts = sentences(300, 1)
    found = {(pair.first, pair.second) for pair in near_duplicates(texts, threshold)}
    wanted = by_hand(texts, threshold)
    assert found <= wanted
    assert len(found) >= 0.995 * len(wanted) > 10


def test_with_parts_only_pairs_between_parts_are_found():
    texts = sentences(200, 2)
    parts = [place % 3 for place in range(len(texts))]
    found = {(pair.first, pair.second) for pair in near_duplicates(texts, 0.8, parts)}
    assert found == {(pair.first, pair.second) for pair in near_duplicates(texts, 0.8) if parts[pair.first] != parts[pair.second]}


def test_case_and_punctuation_make_no_difference():
    assert [pair.likeness for pair in near_duplicates(["How do I draw a line?", "how do i draw a LINE"], 0.8)] == [1.0]


def test_korean_texts_are_compared_by_letters_too():
    assert near_duplicates(["스케치업에서 벽을 어떻게 그리나요?", "스케치업에서 벽을 어떻게 그리나요"], 0.9)
    assert not near_duplicates(["스케치업에서 벽을 어떻게 그리나요?", "오늘 날씨가 참 좋네요 산책 갈까요"], 0.3)


def test_hundreds_of_equal_texts_are_joined_without_comparing_all_pairs():
    texts = ["please tell me how this works"] * 3000
    pairs = near_duplicates(texts, 0.8)
    assert len(pairs) < 3000 * 200
    assert set(clusters(len(texts), pairs)) == {0}


def test_nothing_to_compare_gives_nothing():
    assert near_duplicates([], 0.8) == near_duplicates(["one"], 0.8) == []
    assert near_duplicates(["", ""], 0.8)[0].likeness == 1.0


@given(st.lists(st.text(max_size=30), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_reported_likeness_is_exact(texts: list[str]):
    sets = [groups(text) for text in texts]
    for pair in near_duplicates(texts, 0.5):
        shared, both = sets[pair.first] & sets[pair.second], sets[pair.first] | sets[pair.second]
        assert pair.first < pair.second
        assert pair.likeness == pytest.approx(len(shared) / len(both), abs=0.001)


def test_at_the_threshold_at_most_one_pair_in_a_thousand_is_missed():
    for threshold in (0.5, 0.7, 0.8, 0.9):
        count, length = bands(threshold)
        assert (1 - threshold**length) ** count <= 0.001
        assert count * length <= 100
