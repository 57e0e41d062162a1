import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import TrainingError, UsageError
from assistant.core.events import Checked, Failed, Finished, Notice, Progress, Report, Switched
from assistant.core.preferences import add_pick
from assistant.core.store import Store
from assistant.core.values import Message, ModelCard
from assistant.engine.base import Base
from finetuning.commands import REGISTRY
from finetuning.training import commands, launch, plan, preflight, runs
from finetuning.training import recipe as recipes

from .conftest import row

TRAINER = Path(__file__).with_name("scripted_trainer.py")
PROJECT = Path(__file__).resolve().parents[2]


class Trainers:
    """Starts scripted trainers, and ends those that are left."""

    def __init__(self):
        self.script = "wait"
        self.processes = []

    def start(self, paths, run):
        command = [sys.executable, str(TRAINER), str(paths.root), run.run, self.script]
        self.processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PROJECT)}))
        while (now := runs.read(paths, run.run)).pid is None:
            time.sleep(0.02)
        return now

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def trainers(monkeypatch):
    made = Trainers()
    monkeypatch.setattr(launch, "start", made.start)
    yield made
    made.end()


@pytest.fixture
def ready(paths, write_rows, monkeypatch, trainers):
    """A root in which everything that a training needs is there."""
    write_rows(paths.processed / "unified_train.jsonl", [row("Hi", "Hello.")])
    monkeypatch.setattr(preflight.engines, "base_of", lambda settings, paths: Base("Tiny", "tiny/tiny-135M"))
    monkeypatch.setattr(preflight, "PACKAGES", ())
    monkeypatch.setattr(preflight.hub, "is_offline", lambda: False)
    return Context(paths)


class Yes:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def confirm(self, question, default=False):
        self.asked.append(question)
        return self.answer


def go(context, *words):
    return list(REGISTRY.run(words, context))


def last(events, kind):
    return [event for event in events if isinstance(event, kind)][-1]


def wait_for_step(context, step):
    while go(context, "jobs")[0].data[0]["step"] < step:
        time.sleep(0.05)


def test_a_training_is_planned_checked_started_and_followed_to_its_end(ready, trainers):
    trainers.script = "finish"
    events = go(ready, "train", "unified", "--max_steps", "3")
    assert all(event.ok for event in events if isinstance(event, Checked))
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert "`switch unified 0001` makes it live" in last(events, Notice).text
    assert events[-1] == Finished(0)
    assert Store(ready.paths).versions("unified") == ["0001"]
    assert Store(ready.paths).current("unified").version is None
    plan = files.read_json(Store(ready.paths).version_folder("unified", "0001") / "plan.json")
    assert (plan["recipe"]["max_steps"], plan["model"], plan["preset"]) == (3, "unified", "balanced")


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_whether_it_goes_live(ready, trainers, answer):
    trainers.script = "finish"
    ready.questions = Yes(answer)
    events = go(ready, "train", "unified")
    assert ready.questions.asked == ["Make unified 0001 live?"]
    assert Store(ready.paths).current("unified").version == ("0001" if answer else None)
    assert any(isinstance(event, Switched) for event in events) is answer
    assert events[-1] == Finished(0)


def test_a_held_version_says_why_and_how_to_overrule_and_a_person_is_asked(ready, trainers):
    trainers.script = "held"
    events = go(ready, "train", "unified")
    assert last(events, Notice).text == (
        "unified 0001 is held: It has forgotten: general ability. `switch unified 0001` makes it live all the same."
    )
    assert events[-1] == Finished(0) and Store(ready.paths).current("unified").version is None
    ready.questions = Yes(True)
    go(ready, "train", "unified")
    assert ready.questions.asked == ["unified 0002 is held: It has forgotten: general ability. Make it live all the same?"]
    assert Store(ready.paths).current("unified").version == "0002"


def test_detached_it_returns_at_once_and_jobs_shows_it(ready, trainers):
    events = go(ready, "train", "unified", "--detach")
    assert "jobs" in last(events, Notice).text
    wait_for_step(ready, 3)
    (job,) = go(ready, "jobs")[0].data
    assert job == {
        "run": "unified-0001",
        "model": "unified",
        "state": "running",
        "pid": trainers.processes[0].pid,
        "step": 3,
        "steps": 1000,
    }


def test_closing_the_window_leaves_the_run_running(ready, trainers):
    following = REGISTRY.run(["train", "unified"], ready)
    while not isinstance(next(following), Progress):
        pass
    following.close()
    assert trainers.processes[0].poll() is None
    assert go(ready, "jobs")[0].data[0]["state"] == "running"


def test_ctrl_c_stops_following_and_says_that_the_run_goes_on(ready, trainers, monkeypatch):
    go(ready, "train", "unified", "--detach")

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.time, "sleep", interrupt)
    events = go(ready, "jobs", "follow")
    assert "unified-0001 goes on" in last(events, Notice).text
    assert events[-1] == Finished(130)
    assert trainers.processes[0].poll() is None


def test_a_second_training_is_refused_with_a_sentence(ready, trainers):
    go(ready, "train", "unified", "--detach")
    events = go(ready, "train", "unified")
    assert "unified-0001 is running" in next(event for event in events if isinstance(event, Checked) and not event.ok).detail
    assert "not started: one thing stands against it" in last(events, Failed).what
    assert events[-1] == Finished(2)
    assert len(trainers.processes) == 1
    assert not Store(ready.paths).version_folder("unified", "0002").exists()


def test_cancel_is_clean_and_the_run_can_be_resumed(ready, trainers):
    go(ready, "train", "unified", "--detach")
    wait_for_step(ready, 3)
    assert "cancelled at step 3 of 1000" in last(go(ready, "jobs", "cancel"), Notice).text
    assert go(ready, "jobs")[0].data[0] | {"run": ""} == {
        "run": "",
        "model": "unified",
        "state": "cancelled",
        "pid": None,
        "step": 3,
        "steps": 1000,
    }
    trainers.script = "finish"
    events = go(ready, "jobs", "resume")
    assert events[-1] == Finished(0)
    assert go(ready, "jobs")[0].data[0]["state"] == "finished"


def test_a_killed_run_shows_as_stopped_and_goes_on_after_resume(ready, trainers):
    go(ready, "train", "unified", "--detach")
    wait_for_step(ready, 3)
    os.kill(trainers.processes[0].pid, signal.SIGKILL)
    while go(ready, "jobs")[0].data[0]["state"] == "running":
        time.sleep(0.02)
    assert go(ready, "jobs")[0].data[0]["state"] == "stopped"
    trainers.script = "finish"
    assert go(ready, "jobs", "resume", "unified-0001")[-1] == Finished(0)


def test_a_trainer_that_ends_without_a_word_is_reported(ready, trainers):
    trainers.script = "die"
    events = go(ready, "train", "unified")
    assert "ended without a word" in last(events, Failed).what
    assert "jobs resume unified-0001" in last(events, Failed).fix
    assert events[-1] == Finished(2)


def test_half_a_line_of_a_killed_trainer_hides_nothing_of_the_next_attempt(ready, trainers):
    trainers.script = "die"
    go(ready, "train", "unified")
    with runs.events_file(ready.paths, "unified-0001").open("a") as file:
        file.write('{"event": "Progr')
    trainers.script = "finish"
    events = go(ready, "jobs", "resume")
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]


def test_delete_refuses_a_running_run_and_takes_only_what_is_unfinished(ready, trainers):
    go(ready, "train", "unified", "--detach")
    assert "is still running" in last(go(ready, "jobs", "delete"), Failed).what
    go(ready, "jobs", "cancel")
    checkpoint = ready.paths.checkpoints / "unified-0001" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    assert "unfinished version" in last(go(ready, "jobs", "delete"), Notice).text
    assert not checkpoint.parent.exists()
    assert not Store(ready.paths).version_folder("unified", "0001").exists()
    assert go(ready, "jobs")[0].data == []


def test_delete_never_takes_a_finished_version(ready, trainers):
    trainers.script = "finish"
    go(ready, "train", "unified")
    assert "unified 0001 stays" in last(go(ready, "jobs", "delete", "unified-0001"), Notice).text
    assert Store(ready.paths).versions("unified") == ["0001"]


def test_resume_refuses_what_is_running_or_finished(ready, trainers):
    go(ready, "train", "unified", "--detach")
    assert "is running" in last(go(ready, "jobs", "resume"), Failed).what
    go(ready, "jobs", "cancel")
    trainers.script = "finish"
    go(ready, "jobs", "resume")
    assert "is finished" in last(go(ready, "jobs", "resume"), Failed).what
    assert "is not running: it is finished" in last(go(ready, "jobs", "cancel"), Failed).what


def test_all_problems_are_named_before_anything_is_started(paths, trainers):
    events = go(Context(paths), "train", "unified", "--preset", "fast")
    wrong = {event.name.partition(" ")[2]: event.detail for event in events if isinstance(event, Checked) and not event.ok}
    assert "unified_train.jsonl does not exist" in wrong["dataset"]
    assert trainers.processes == []
    assert events[-1] == Finished(2)
    assert not (paths.models / "unified_model").exists()


def test_no_run_and_an_unknown_run_are_sentences(ready):
    with pytest.raises(UsageError, match="no training run yet"):
        runs.newest(ready.paths, None)
    with pytest.raises(UsageError, match="There is no run 'x'"):
        runs.newest(ready.paths, "x")
    report = go(ready, "jobs")[0]
    assert isinstance(report, Report) and report.data == []


def test_a_process_that_only_has_the_old_number_does_not_count(ready):
    run = runs.create(ready.paths, "unified", "0001", "", False)
    own = psutil.Process()
    stranger = runs.Run(
        **{**{field: getattr(run, field) for field in run.__slots__}, "pid": own.pid, "pid_created": own.create_time() - 100}
    )
    assert not runs.is_alive(stranger)


def test_a_trainer_that_cannot_start_is_reported_with_its_log(ready, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(launch.sys, "executable", "/bin/false")
    run = runs.create(ready.paths, "unified", "0001", "", False)
    with pytest.raises(TrainingError, match="did not start"):
        launch.start(ready.paths, run)
    # It stands in nobody's way.
    assert runs.newest(ready.paths, None).state == "stopped"


def test_a_trainer_that_cannot_start_is_reported_with_its_last_words(ready, monkeypatch, tmp_path):
    monkeypatch.undo()
    (python := tmp_path / "python").write_text("#!/bin/sh\necho first\necho No module named torch >&2\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(python))
    with pytest.raises(TrainingError, match=r"did not start \(status 3\)\. No module named torch"):
        launch.start(ready.paths, runs.create(ready.paths, "unified", "0001", "", False))


def test_a_trainer_that_is_slow_to_come_up_is_not_called_dead(ready, monkeypatch, tmp_path):
    monkeypatch.undo()
    (python := tmp_path / "python").write_text("#!/bin/sh\nsleep 3\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(python))
    monkeypatch.setattr(launch, "START_SECONDS", 0.3)
    with pytest.raises(TrainingError, match="has not begun within 0 s: this machine is very busy"):
        launch.start(ready.paths, runs.create(ready.paths, "unified", "0001", "", False))
    assert runs.newest(ready.paths, None).state == "starting"


def test_the_window_that_trains_loads_no_torch():
    code = "import sys; import finetuning.training.commands; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_more_processes_than_rows_of_a_batch_are_remarked_on(ready, trainers):
    trainers.script = "finish"
    events = go(ready, "train", "unified", "--processes", "9", "--batch_size", "4")
    assert any("9 processes share batches of 4 rows: some will be idle." in event.text for event in events if isinstance(event, Notice))
    assert runs.newest(ready.paths, None).run.processes == 9


def pick(paths, count=4):
    for number in range(count):
        add_pick(paths, [Message("user", f"What is {number}?")], f"It is {number}.", "No idea.", "good:")


def version(paths, method, base=("Tiny", "")):
    """A finished, live version of the unified model."""
    store = Store(paths)
    made = plan.TrainingPlan(
        "unified", base[0], "embedded", base[1], 1, "d", plan.DatasetFile("d", ""), None, "fast",
        recipes.recipe(paths, "fast", "small", {"lora_r": 12, "method": method}), 42,
    )  # fmt: skip
    name = store.reserve("unified", plan.to_json(plan.sealed(made)))
    folder = store.version_folder("unified", name)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    files.write_json(folder / "adapter_config.json", {"r": 12, "lora_alpha": 24, "use_rslora": True})
    store.finish(ModelCard("unified", name, "", method, *base, "d", "", "now", 3, 9, 1.0, 0.3, 10, ("hf",)))
    store.make_live("unified", name)
    return name


def test_prefer_plans_a_run_over_the_live_version(ready, trainers):
    trainers.script = "finish"
    live = version(ready.paths, "lora")
    pick(ready.paths)
    events = go(ready, "prefer", "--beta", "0.3")
    assert any("4 picks" in event.detail and f"unified {live}" in event.detail for event in events if isinstance(event, Checked))
    made = plan.load(Store(ready.paths).version_folder("unified", "0002") / "plan.json")
    assert (made.method, made.begins_with, made.recipe.beta) == ("dpo", live, 0.3)
    assert made.begins_sha256 == files.sha256(Store(ready.paths).version_folder("unified", live) / "adapter_model.safetensors")
    assert made.train.path.startswith("preference/unified_")


def test_prefer_begins_with_the_base_where_nothing_is_trained_or_that_is_asked(ready, trainers):
    trainers.script = "finish"
    pick(ready.paths)
    go(ready, "prefer")
    assert plan.load(Store(ready.paths).version_folder("unified", "0001") / "plan.json").begins_with == ""
    version(ready.paths, "lora")
    go(ready, "prefer", "unified", "base")
    assert plan.load(Store(ready.paths).version_folder("unified", "0003") / "plan.json").begins_with == ""


@pytest.mark.parametrize(("words", "said"), [((), "trained by ia3"), (("unified", "0009"), "0009"), (("nobody",), "no model 'nobody'")])
def test_prefer_says_what_it_cannot_begin_with(ready, words, said):
    version(ready.paths, "ia3")
    pick(ready.paths)
    events = go(ready, "prefer", *words)
    assert events[-1] == Finished(2)
    assert any(said in event.what for event in events if isinstance(event, Failed))
    assert not runs.jobs(ready.paths)


def test_a_version_is_trained_further_in_its_own_shape(ready, trainers):
    trainers.script = "finish"
    live = version(ready.paths, "lora")
    events = go(ready, "train", "unified", "--begin_with", "live", "--learning_rate", "0.0005")
    assert any("begins with" in event.name and f"unified {live}, 3 steps" in event.detail for event in events if isinstance(event, Checked))
    made = plan.load(Store(ready.paths).version_folder("unified", "0002") / "plan.json")
    assert (made.begins_with, made.recipe.learning_rate, made.train.path) == (live, 0.0005, "processed_english/unified_train.jsonl")
    assert (made.recipe.lora_r, made.recipe.lora_alpha, made.recipe.rank_stabilised, made.recipe.frozen_share) == (12, 24, True, 0.75)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("unified", "--begin_with", "live", "--lora_r", "64"), "'lora_r' cannot be 64: unified 0001 has 12"),
        (("unified", "--begin_with", "live", "--method", "dora"), "'method' cannot be dora: unified 0001 has lora"),
        (("unified", "--begin_with", "0009"), "no version 0009"),
        (("qna", "--begin_with", "live"), "No version of qna is live"),
        (("classifier", "--begin_with", "live"), "no meaning for classifier"),
    ],
)
def test_what_cannot_be_trained_further_is_said(ready, words, said):
    version(ready.paths, "lora")
    events = go(ready, "train", *words)
    assert events[-1] == Finished(2)
    assert any(said in event.what for event in events if isinstance(event, Failed))
    assert not runs.jobs(ready.paths)


def test_a_version_of_another_base_is_not_trained_further(ready):
    version(ready.paths, "lora", ("Other", "0" * 64))
    events = go(ready, "train", "unified", "--begin_with", "live")
    assert any("was trained on Other, another base" in event.detail for event in events if isinstance(event, Checked) and not event.ok)
    assert not runs.jobs(ready.paths)
