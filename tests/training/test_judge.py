import pytest

from finetuning.training import judge
from finetuning.training.judge import Validations


def measured(path, patience, *losses, step=10_000):
    found = Validations(path, patience, step)
    for number, loss in enumerate(losses):
        found.add(number * 10, loss)
    return found


def test_the_best_is_the_first_of_the_lowest_losses(tmp_path):
    assert measured(tmp_path / "v.json", 3, 3.0, 2.0, 2.0, 2.5).best().step == 10


def test_what_a_run_begins_with_is_never_the_best_and_does_not_end_it(tmp_path):
    falling = measured(tmp_path / "falling.json", 2, 1.0, 1.5, 1.4, 1.3, 1.2)
    assert falling.best().step == 40
    assert not falling.exhausted()
    assert measured(tmp_path / "rising.json", 2, 1.0, 1.4, 1.5, 1.6).exhausted()


def test_a_training_ends_after_as_many_measurements_as_the_patience_says(tmp_path):
    losses = [3.0, 2.0, 2.1, 2.2]
    assert not measured(tmp_path / "a.json", 3, *losses).exhausted()
    assert measured(tmp_path / "b.json", 3, *losses, 2.3).exhausted()
    assert not measured(tmp_path / "c.json", 3, *losses, 1.9).exhausted()


def test_patience_0_never_ends_a_training(tmp_path):
    assert not measured(tmp_path / "v.json", 0, 1.0, *[2.0] * 50).exhausted()


def test_a_resumed_run_decides_as_an_uninterrupted_one(tmp_path):
    whole = measured(tmp_path / "whole.json", 2, 3.0, 2.0, 2.1, 2.2)
    measured(tmp_path / "broken.json", 2, 3.0, 2.0, 2.1)
    again = Validations(tmp_path / "broken.json", 2, 15)
    assert [point.step for point in again.points] == [0, 10]
    again.add(20, 2.1)
    assert not again.exhausted()
    again.add(30, 2.2)
    assert again.points == whole.points and again.exhausted()


def test_a_loss_that_rises_for_good_has_diverged():
    falling = [4 - step / 10 for step in range(20)]
    assert judge.diverged(falling) is None
    low, now = judge.diverged([*falling, *[9.0] * 10])
    assert low == pytest.approx(2.55, abs=0.1) and now == 9.0


def test_one_bad_batch_and_a_loss_near_zero_have_not_diverged():
    assert judge.diverged([2.0] * 30 + [12.0]) is None
    assert judge.diverged([2.0] * 10 + [0.05] * 20 + [0.3] * 10) is None
