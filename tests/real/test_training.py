"""The trainer's process on the embedded base: a run from plan to card, kills, resumes, refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from assistant.core import files, settings
from assistant.core.commands import Context
from assistant.core.errors import TrainingError
from assistant.core.events import Checked, Failed, Finished, Notice, Progress, Report, Switched, from_json
from assistant.core.paths import Paths, prepare
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import Adapter
from assistant.engine import base as engines
from finetuning.training import commands, runs, trial

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 6
FEW = {"proof_rows": 6, "proof_general": 6}
FACTS = {
    "How do I draw a line?": "Press L, click the start point, then click the end point.",
    "What is the capital of France?": "Paris is the capital of France.",
    "I feel sad today": "I'm sorry today is hard. What happened?",
    "How do I undo a step?": "Press Ctrl+Z to undo the last step.",
    "What is a byte?": "A byte is eight bits.",
    "How do I save my file?": "Press Ctrl+S and choose a folder.",
}


@pytest.fixture(scope="module")
def root(base_folder, tmp_path_factory) -> Paths:
    paths = Paths(tmp_path_factory.mktemp("training"))
    prepare(paths)
    paths.base.symlink_to(base_folder, target_is_directory=True)
    rows = [
        {
            "input_text": f"System: {system_prompt('unified')}\n\nUser: {lead}{question}\nAssistant:",
            "target_text": answer,
            "category": "general",
        }
        for lead in ("", "Please tell me: ", "Quick one. ", "Hello! ")
        for question, answer in FACTS.items()
    ]
    paths.processed.mkdir()
    files.write_jsonl(paths.processed / "unified_train.jsonl", rows)
    files.write_jsonl(paths.processed / "unified_validation.jsonl", rows[:6])
    return paths


def train(paths, **changes):
    return commands.train(Context(paths), "unified", **{"max_steps": STEPS, "batch_size": 4, **FEW, **changes})


def losses(paths, run):
    found = {}
    for _, event in runs.events(runs.events_file(paths, run)):
        if isinstance(event, Progress) and event.unit == "steps":
            found[event.done] = event.figures["loss"]
    return found


def job(paths):
    (report,) = [event for event in commands.jobs(Context(paths)) if isinstance(event, Report)]
    return report.data[0]


def until(paths, condition, seconds=400):
    deadline = time.monotonic() + seconds
    while not condition(now := job(paths)):
        assert now["state"] in ("starting", "running") and time.monotonic() < deadline, (now, _log(paths, now["run"]))
        time.sleep(0.05)
    return now


def _log(paths, run):
    return (runs.folder(paths, run) / "trainer.log").read_text(encoding="utf-8")[-2000:]


@pytest.fixture(scope="module")
def finished(root):
    """One whole run, made live: its events, and the root it was made in."""
    events = list(train(root, promote=True))
    assert not [event for event in events if isinstance(event, Failed)], (events[-3:], _log(root, "unified-0001"))
    return events


def test_a_run_writes_a_version_that_lives_in_both_engines(finished, root):
    store = Store(root)
    version = store.version_folder("unified", "0001")
    card = store.card("unified", "0001")
    assert card.engines == ("hf", "llama")
    assert {path.name for path in version.iterdir()} == {
        "plan.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "adapter.gguf",
        "evaluation.json",
        "report.json",
        "card.json",
    }
    assert card.steps == STEPS and card.trained_tokens > 0 and card.final_loss > 0
    assert store.current("unified").version == "0001" and card.figures["gate"] in ("passed", "overruled")
    assert Switched("unified", "0001", None) in finished
    assert not (root.checkpoints / "unified-0001").exists()


def test_the_adapter_changes_what_the_base_says_and_lowers_the_validation_loss(finished, root):
    report = files.read_json(Store(root).version_folder("unified", "0001") / "report.json")
    assert {trial["engine"] for trial in report["trials"]} == {"hf", "llama"}
    assert all(trial["said"] and trial["effect"] > 1e-3 for trial in report["trials"])
    assert report["validation_loss_after"] < report["validation_loss_before"] - 0.3
    assert 0 <= report["first_token_agreement"] <= 1
    weights = load_file(Store(root).version_folder("unified", "0001") / "adapter_model.safetensors")
    assert all(tensor.dtype == numpy.float16 for tensor in weights.values()), "trained in 32 bits, used in 16"
    assert all(numpy.abs(tensor).max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_it_says_how_far_how_fast_and_how_long(finished, root):
    progress = [event for event in finished if isinstance(event, Progress) and event.unit == "steps"]
    assert [event.done for event in progress] == list(range(1, STEPS + 1))
    assert set(progress[-1].figures) == {"loss", "validation loss", "tokens/s", "memory MB"}
    assert progress[-1].seconds_left == 0
    assert all(event.figures["tokens/s"] < 100_000 for event in progress)
    lines = [event.name for event in finished if isinstance(event, Checked) and event.name[0].isdigit()]
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, len(lines) + 1)]
    assert {line.partition(" ")[2] for line in lines} >= {"base", "template", "dataset", "rows", "memory", "disk", "time"}
    assert any(event.name == "time, measured" for event in finished if isinstance(event, Checked))
    assert list(runs.folder(root, "unified-0001").glob("events.out.tfevents.*"))


def test_nothing_of_a_finished_run_stays_running(finished, root):
    pid = runs.read(root, "unified-0001").pid
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_cancelled_and_killed_runs_go_on_exactly_where_they_were(finished, root):
    """Cancelled once and killed once, the same plan gives the same losses as without a break."""
    live = _whole_files(root)
    list(train(root, detach=True, checkpoint_steps=1))
    trainer = until(root, lambda now: now["step"] >= 2)
    _second_training_is_refused(root, trainer["run"])
    assert psutil.Process(trainer["pid"]).nice() == 19
    if (session := Path(f"/proc/{trainer['pid']}/autogroup")).exists():
        assert session.read_text().strip().endswith("nice 19"), "beside a chat in another terminal it gives way"
    assert any("cancelled at step" in event.text for event in commands.jobs(Context(root), "cancel") if isinstance(event, Notice))
    assert job(root)["state"] == "cancelled"

    following = commands.jobs(Context(root), "resume")
    next(event for event in following if isinstance(event, Progress) and event.done >= 4)
    following.close()
    os.kill(job(root)["pid"], signal.SIGKILL)
    until(root, lambda now: now["state"] == "stopped")
    assert _whole_files(root) == live

    events = list(commands.jobs(Context(root), "resume"))
    assert not [event for event in events if isinstance(event, Failed)], (events[-3:], _log(root, "unified-0002"))
    assert next(event.done for event in events if isinstance(event, Progress) and event.unit == "steps") > 2
    assert _whole_files(root) == live
    first, second = losses(root, "unified-0001"), losses(root, "unified-0002")
    assert set(first) == set(second)
    for step, loss in first.items():
        assert second[step] == pytest.approx(loss, abs=0.02), (first, second)
    # The same training again is not better than what is live; six general questions may say first that so few steps forget.
    assert Store(root).current("unified").version == "0001"
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("unified 0002 is held: It " in text for text in said), said
    assert job(root)["state"] == "finished"


def _second_training_is_refused(root, running):
    events = list(train(root))
    assert events[-1] == Finished(2)
    assert any(running in event.detail for event in events if isinstance(event, Checked) and not event.ok)
    # And when it comes past that check, the trainer itself refuses.
    folder = root.runs / "intruder"
    folder.mkdir()
    files.write_json(folder / "run.json", {"run": "intruder", "model": "unified", "version": "0009", "plan_hash": "", "created": 0.0})
    command = [sys.executable, "-m", "finetuning.training.child", "--root", str(root.root), "intruder"]
    assert subprocess.run(command, cwd=PROJECT, check=False, timeout=200).returncode == 2
    said = [from_json(json.loads(line)) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert isinstance(said[0], Failed) and "Another training is running" in said[0].what
    assert said[-1] == Finished(2)


def _whole_files(root):
    """Everything under models/ that belongs to the finished version, byte for byte."""
    folder = Store(root).folder("unified")
    wanted = [folder / "current.json", *sorted((folder / "versions" / "0001").iterdir())]
    return {path.name: files.sha256(path) for path in wanted}


def test_an_adapter_without_effect_never_passes(finished, root, tmp_path):
    shutil.copy(Store(root).version_folder("unified", "0001") / "adapter_config.json", tmp_path)
    weights = load_file(Store(root).version_folder("unified", "0001") / "adapter_model.safetensors")
    save_file({name: tensor * ("lora_A" in name) for name, tensor in weights.items()}, tmp_path / "adapter_model.safetensors")
    configuration = settings.load(root)
    base = engines.base_of(configuration, root)
    prompt = [1, 9690, 198, 2683]
    with pytest.raises(TrainingError, match="changes nothing on the hf engine"):
        trial.attempt("hf", base, configuration, root, Adapter("unified/0009", tmp_path), [prompt])


def test_a_dataset_that_changed_since_is_refused_by_the_trainer(finished, root):
    copy = (root.processed / "unified_train.jsonl").read_bytes()
    list(train(root, detach=True))
    (root.processed / "unified_train.jsonl").write_bytes(copy + copy)
    try:
        run = job(root)["run"]
        events = list(commands.jobs(Context(root), "follow", run))
    finally:
        (root.processed / "unified_train.jsonl").write_bytes(copy)
    assert any("is not the file this run was planned with" in event.what for event in events if isinstance(event, Failed))
    assert job(root)["state"] == "failed"
    list(commands.jobs(Context(root), "delete", run))
    assert Store(root).versions("unified") == ["0001", "0002"]
