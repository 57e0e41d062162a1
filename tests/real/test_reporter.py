"""What a trainer says of itself: a loss that is no number, one that climbs for good, the measured time."""

import pytest

from assistant.core.errors import TrainingError
from assistant.core.events import Checked


class FakeState:
    def __init__(self, step, steps=100):
        self.global_step, self.max_steps = step, steps


class FakeBoard:
    def add_scalar(self, *_):
        pass


def said_by_a_reporter(logs):
    from finetuning.training.callbacks import Reporter

    said = []
    reporter = Reporter(said.append, FakeBoard(), lambda step: 50)
    reporter.on_train_begin(None, FakeState(0), None)
    for step, log in enumerate(logs, 1):
        reporter.on_log(None, FakeState(step), None, log)
    return said


def test_a_loss_that_is_no_number_stops_the_run_with_what_was_seen_and_what_to_change():
    logs = [{"loss": 2.0, "grad_norm": 1.5, "learning_rate": 3e-3}, {"loss": float("nan"), "grad_norm": 9.25, "learning_rate": 3e-3}]
    with pytest.raises(TrainingError, match=r"no number any more \(step 2, loss nan, gradient norm 9\.25, learning rate 0\.003\)") as error:
        said_by_a_reporter(logs)
    assert "--learning_rate 0.001" in error.value.fix
    with pytest.raises(TrainingError, match="no number any more"):
        said_by_a_reporter([{"loss": 2.0, "grad_norm": float("inf"), "learning_rate": 1e-3}])


def test_a_loss_that_climbs_for_good_stops_the_run():
    logs = [{"loss": loss, "grad_norm": 1.0, "learning_rate": 1e-3} for loss in [3.0] * 20 + [9.0] * 15]
    with pytest.raises(TrainingError, match=r"mean loss of ten steps rose from 3\.00 to"):
        said_by_a_reporter(logs)


def test_after_four_steps_the_time_is_measured_once():
    said = said_by_a_reporter([{"loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-3}] * 8)
    (line,) = [event for event in said if isinstance(event, Checked)]
    assert line.name == "time, measured" and "steps 2 to 4" in line.detail
    assert said[-1].seconds_left is not None
