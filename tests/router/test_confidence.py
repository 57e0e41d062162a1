import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.core.errors import DataError
from assistant.core.values import Token
from assistant.router import confidence
from assistant.router.confidence import Calibration, Curve, features, raw
from finetuning.evaluation import fitting
from finetuning.evaluation.fitting import Labelled


def token(id, share, second=0.0):
    rest = (1 - share - second) / 3
    top = tuple((place, math.log(max(value, 1e-9))) for place, value in enumerate([share, second, rest, rest, rest]))
    return Token(id, "x", math.log(share), top)


def answers(rows, seed=1, noise=0.5):
    """Answers whose chance to be right is a known function of their tokens."""
    draw = random.Random(seed)
    found, chances = [], []
    for number in range(rows):
        sure = draw.random()
        said = [token(place, min(0.99, max(0.05, sure + draw.uniform(-0.2, 0.2)))) for place in range(draw.randint(5, 40))]
        chance = confidence.logistic(8 * (sure - noise))
        found.append(Labelled(features(said), draw.random() < chance, str(number)))
        chances.append(chance)
    return found, chances


def error(values, labels, bins=10):
    total = 0.0
    for place in range(bins):
        inside = [(v, r) for v, r in zip(values, labels, strict=True) if min(int(v * bins), bins - 1) == place]
        if inside:
            total += abs(sum(v for v, _ in inside) - sum(r for _, r in inside))
    return total / len(values)


def test_a_sure_answer_and_a_guessed_one_are_told_apart():
    sure = features([token(place, 0.97) for place in range(10)])
    guessed = features([token(place, 0.4, 0.35) for place in range(10)])
    named = [dict(zip(confidence.FEATURES, one, strict=True)) for one in (sure, guessed)]
    assert named[0]["margin"] > 0.9 > 0.1 > named[1]["margin"]
    assert named[0]["doubtful"] == 0 and named[1]["doubtful"] == 1
    assert named[0]["entropy"] < named[1]["entropy"] and named[0]["surprise"] < named[1]["surprise"]


def test_an_answer_that_goes_round_in_circles_shows_in_its_repetition():
    circling = dict(zip(confidence.FEATURES, features([token(place % 2, 0.99) for place in range(40)], cut=True), strict=True))
    assert circling["repetition"] > 0.9 and circling["cut"] == 1
    assert raw(features([token(place % 2, 0.99) for place in range(40)])) > 0.9


def test_an_empty_answer_has_features_too():
    assert features([]) == (0.0,) * len(confidence.FEATURES) and raw(features([])) == 0.0


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=40))
def test_features_are_finite_whatever_the_tokens(logprobs):
    found = features([Token(place, "", value, ((place, value), (99, value - 1))) for place, value in enumerate(logprobs)])
    assert all(math.isfinite(value) for value in found)


def test_a_fitted_curve_is_calibrated_on_answers_it_has_not_seen():
    curve, _ = fitting.fit(answers(600)[0])
    unseen, chances = answers(2000, seed=2)
    values = [curve.value(one.features) for one in unseen]
    labels = [one.right for one in unseen]
    assert error(values, labels) < 0.04 < error([raw(one.features) for one in unseen], labels)
    assert sum(abs(value - chance) for value, chance in zip(values, chances, strict=True)) / len(values) < 0.08


def test_what_is_said_of_unseen_answers_while_fitting_is_near_the_truth():
    labelled, chances = answers(600)
    _, unseen = fitting.fit(labelled)
    assert sum(abs(value - chance) for value, chance in zip(unseen, chances, strict=True)) / len(unseen) < 0.1


def test_too_few_answers_or_answers_of_one_kind_are_a_sentence():
    with pytest.raises(DataError, match="too few to calibrate"):
        fitting.fit(answers(20)[0])
    with pytest.raises(DataError, match="too few to calibrate"):
        fitting.fit([Labelled(one.features, True) for one in answers(100)[0]])


def test_wordings_of_one_question_are_never_on_both_sides_of_a_split():
    labelled = [Labelled(one.features, one.right, str(place // 4)) for place, one in enumerate(answers(120)[0])]
    folds = fitting.split(labelled)
    sides = [{labelled[place].group for place in fold} for fold in folds]
    assert sum(map(len, folds)) == 120 and sum(map(len, sides)) == 30


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200))
def test_isotonic_steps_never_fall_and_stay_between_0_and_1(pairs):
    steps = fitting.isotonic([score for score, _ in pairs], [label for _, label in pairs])
    values = [confidence.stepped(steps, place / 50) for place in range(51)]
    assert all(0 < value < 1 for value in values)
    assert all(one <= other + 1e-12 for one, other in pairwise(values))


def test_the_state_of_the_question_is_read_where_it_tells_more_than_the_answer():
    draw = random.Random(3)
    found = []
    for place, one in enumerate(answers(400)[0]):
        hard = draw.random() < 0.5
        state = tuple(draw.gauss(0, 0.3) + (2.0 if hard and axis == 0 else 0.0) for axis in range(8))
        found.append(Labelled(one.features, one.right and not hard, str(place), state=state))
    curve, _ = fitting.fit(found)
    surest = max((one.features for one in found), key=raw)
    easy, hard = (curve.value(surest, [side, *[0.0] * 7]) for side in (0.0, 2.0))
    assert len(curve.state) == 8 and easy > hard + 0.2
    noise = [Labelled(one.features, one.right, one.group, state=tuple(draw.gauss(0, 1) for _ in range(8))) for one in answers(400)[0]]
    assert fitting.fit(noise)[0].state == ()


def saved(tmp_path, **changes):
    curve, _ = fitting.fit(answers(200)[0])
    calibration = Calibration("llama", "abc", 200, curve, curve, {"ece": 0.02}, "2026-01-01", **changes)
    confidence.save(calibration, tmp_path)
    return calibration


def test_a_calibration_comes_back_as_it_was(tmp_path):
    calibration = saved(tmp_path)
    assert confidence.load(tmp_path / confidence.FILE, "llama") == calibration


def test_a_calibration_of_another_engine_or_form_and_a_damaged_one_count_as_none(tmp_path):
    saved(tmp_path)
    assert confidence.load(tmp_path / confidence.FILE, "hf") is None
    saved(tmp_path, form=0)
    assert confidence.load(tmp_path / confidence.FILE) is None
    (tmp_path / confidence.FILE).write_text("{", encoding="utf-8")
    assert confidence.load(tmp_path / confidence.FILE) is None
    assert confidence.load(tmp_path / "nothing.json") is None


def test_no_answer_is_surely_right():
    curve = Curve((0.0,), (1.0,), (100.0,), 0.0)
    assert (curve.value([5.0]), curve.value([-5.0])) == (0.99, 0.01)
