import numpy as np
import pytest

from finetuning.evaluation.bootstrap import interval, paired


@pytest.mark.parametrize("draw", ["normal", "right or wrong", "skewed"])
def test_the_interval_holds_the_truth_in_about_95_of_100_cases(draw):
    chance = np.random.default_rng(11)
    draws = {
        "normal": (lambda: chance.normal(0.3, 1.0, 80), 0.3),
        "right or wrong": (lambda: chance.binomial(1, 0.7, 120), 0.7),
        "skewed": (lambda: chance.exponential(1.0, 150), 1.0),
    }
    sample, truth = draws[draw]
    trials = 400
    held = 0
    for seed in range(trials):
        found = interval(sample(), seed)
        held += found.low <= truth <= found.high
    assert 0.915 <= held / trials <= 0.975


def test_a_paired_interval_is_narrower_than_two_apart():
    chance = np.random.default_rng(5)
    hardness = chance.normal(0, 1, 100)
    old, new = hardness + chance.normal(0, 0.1, 100), hardness + 0.1 + chance.normal(0, 0.1, 100)
    together = paired(list(new), list(old))
    apart = interval(new).high - interval(new).low
    assert together.above_zero and together.high - together.low < apart / 3


def test_a_paired_difference_that_is_not_there_is_seldom_called_one():
    chance = np.random.default_rng(3)
    false = 0
    for seed in range(300):
        old, new = chance.binomial(1, 0.5, 150), chance.binomial(1, 0.5, 150)
        found = paired(list(new), list(old), seed)
        false += found.above_zero or found.below_zero
    assert false / 300 <= 0.085


def test_the_same_seed_gives_the_same_interval():
    values = list(np.random.default_rng(1).normal(0, 1, 50))
    assert interval(values, 4) == interval(values, 4)
    assert interval(values, 4) != interval(values, 5)


def test_weights_count_rows_by_their_tokens():
    assert interval([1.0, 0.0], weights=[3, 1]).mean == pytest.approx(0.75)


def test_no_rows_give_an_interval_of_nothing():
    assert interval([]).rows == 0


def test_equal_answers_differ_by_nothing():
    found = paired([1, 0, 1], [1, 0, 1])
    assert (found.low, found.mean, found.high) == (0, 0, 0)
