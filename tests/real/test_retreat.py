"""When the memory runs out in the middle of a training: a real refusal of the system, the retreat, and the same step after it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.core import files
from assistant.core.errors import TrainingError
from assistant.core.events import Checked

from .learning import write_rows

PROJECT = Path(__file__).resolve().parents[2]
# Trains one step of eight rows twice: with little more memory than the process has, so that allocations truly fail, then with all.
SCRIPT = """
import json, sys, psutil, resource, torch
from learning import planned, write_rows
from assistant.core.paths import Paths, prepare
from finetuning.training import methods, sft
from finetuning.training.network import with_adapter
paths = Paths(__import__("pathlib").Path(sys.argv[1]))
torch.set_num_threads(2)
found = {}
for name in ("short", "free"):
    work, said = planned(paths, batch_size=8, max_steps=1, tokens_at_once=1_000_000)
    recipe = work.plan.recipe
    model = with_adapter(methods.load(work.base, work.paths, recipe), recipe, 1)
    work.kept.mkdir(parents=True, exist_ok=True)
    trainer = sft.AnswerTrainer(
        model, work.plan, work.rows.rows, sft.tokenizer(work.base, work.chat, work.paths), work.kept, [], said.append
    )
    # Threads and kernels are there before the limit is.
    trainer.validation_loss(work.rows.rows[:2])
    limit = psutil.Process().memory_info().vms + 900_000_000 if name == "short" else -1
    resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
    trainer.train()
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    found[name] = {
        "loss": trainer.state.log_history[0]["loss"],
        "norm": trainer.state.log_history[0]["grad_norm"],
        "said": [event.text for event in said if "memory" in getattr(event, "text", "")],
        "kept": json.loads((work.kept / "retreat.json").read_text()) if (work.kept / "retreat.json").is_file() else None,
    }
    del model, trainer
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the address space is asked of Linux")
def test_out_of_memory_the_step_begins_again_in_smaller_parts_with_the_same_result(real_root):
    answer = "Press L, then click the start point, then the end point, and type the length if it has to be exact. " * 4
    write_rows(real_root, [(f"How do I draw line number {number}?", answer) for number in range(8)])
    script = real_root.root / "short.py"
    files.write_text(script, SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(real_root.root)],
        env={"PYTHONPATH": f"{PROJECT}:{Path(__file__).parent}", "PATH": "/usr/bin:/bin", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    free, short = found["free"], found["short"]
    assert free["said"] == [] and free["kept"] is None
    assert "The memory ran out at step 1: batches are computed in parts" in short["said"][0]
    assert short["kept"]["tokens_at_once"] < 1_000_000
    assert short["loss"] == pytest.approx(free["loss"], rel=0.01)
    assert short["norm"] == pytest.approx(free["norm"], rel=0.05)


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
