"""Kill a training again and again, and see that nothing whole is lost and that it ends as an uninterrupted one.

    python benchmarks/kills.py [--kills 30] [--seed 1] [--root DIR] [--json]

A small training on the embedded base is hit by SIGKILL, SIGTERM or SIGINT at random moments: while it starts, in a step, while it writes
a checkpoint, the best weights or the version, during the proof. After each hit every file that counts as whole must load, `jobs` must
say the true state, at most the steps since the last checkpoint may be lost, and the run must go on. With --root the work is kept there:
a second call goes on, so that it can be done in pieces. Exit status 1 when anything is wrong.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import spinning  # noqa: E402

os.environ.update(spinning.shortly(os.environ))

import numpy  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from assistant.core import files  # noqa: E402
from assistant.core import paths as places  # noqa: E402
from assistant.core.commands import Context  # noqa: E402
from assistant.core.events import Finished, Notice, Progress  # noqa: E402
from assistant.core.paths import Paths, prepare  # noqa: E402
from assistant.core.prompts import system_prompt  # noqa: E402
from assistant.core.store import Store  # noqa: E402
from finetuning.training import commands, runs  # noqa: E402
from finetuning.training.runs import Job  # noqa: E402

CHECKPOINT_STEPS = 2
SMALL: dict[str, Any] = {
    "max_steps": 44,
    "batch_size": 2,
    "set": [f"checkpoint_steps={CHECKPOINT_STEPS}", "validations=2", "replay=0", "proof_rows=2", "proof_general=2"],
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PHASES = ("start", "step", "step", "checkpoint", "checkpoint", "best", "version", "proof")
# An uninterrupted run and a killed one may differ by so much: losses, and the norm of the difference of the weights.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 0.02, 0.02
WAIT_SECONDS = 600.0
FACTS = {
    "How do I draw a line?": "Press L and click two points.",
    "What is the capital of France?": "Paris.",
    "How do I undo a step?": "Press Ctrl+Z.",
    "What is a byte?": "Eight bits.",
}


def main() -> int:
    """Do the kills and print what came of them."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(given.root or folder).absolute())
        _prepare(paths, given.base)
        log = paths.root / "kills.jsonl"
        _reference(paths)
        done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        # A run that was over before its moment came was not hit.
        while sum(hit["hit"] for hit in done) < given.kills:
            number = len(done)
            hit = _kill(paths, random.Random(f"{given.seed}/{number}"))
            done.append(hit)
            files.append_line(log, json.dumps(hit))
            if not given.json:
                wrong = "; ".join(hit["wrong"]) or "well"
                print(f"{number + 1:3} {hit['signal']:7} {hit['phase']:10} step {hit['step']:3} {hit['state']:9} {wrong}", flush=True)
        ends = _ends(paths)
    result = {"kills": done, "ends": ends}
    wrong = [hit for hit in done if hit["wrong"]] + [end for end in ends if end["wrong"]]
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        for end in ends:
            print(f"{end['run']}: largest difference of a loss {end['loss']:.4f}, of the weights {end['weights']:.5f} {end['wrong']}")
        print(f"{sum(hit['hit'] for hit in done)} kills, {len(wrong)} things wrong")
    return 1 if wrong else 0


def _prepare(paths: Paths, base: str | None) -> None:
    prepare(paths)
    if base and Path(base).is_dir() and not paths.base.exists():
        paths.base.symlink_to(Path(base).absolute(), target_is_directory=True)
    if paths.processed.is_dir():
        return
    paths.processed.mkdir(parents=True)
    rows = [
        {
            "input_text": f"System: {system_prompt('unified')}\n\nUser: {lead}{question}\nAssistant:",
            "target_text": answer,
            "category": "general",
        }
        for lead in ("", "Please: ", "Hello! ")
        for question, answer in FACTS.items()
    ]
    files.write_jsonl(paths.processed / "unified_train.jsonl", rows)
    files.write_jsonl(paths.processed / "unified_validation.jsonl", rows[:2])


def _reference(paths: Paths) -> None:
    """The uninterrupted run: unified 0001."""
    if "0001" in Store(paths).versions("unified"):
        return
    if runs.jobs(paths):
        _follow(commands.jobs(Context(paths), "resume"))
    else:
        _follow(commands.train(Context(paths), "unified", **SMALL))
    if "0001" not in Store(paths).versions("unified"):
        raise SystemExit("The uninterrupted run did not finish.")


def _follow(events: Iterator[Any]) -> None:
    for event in events:
        if isinstance(event, Finished) and event.status:
            raise SystemExit(f"A run ended with status {event.status}: see its trainer.log.")


def _kill(paths: Paths, rng: random.Random) -> dict[str, Any]:
    """Start or resume a run, hit it at a random moment, and look at what is left."""
    before = _start(paths)
    phase, number = rng.choice(PHASES), rng.choice(SIGNALS)
    _wait(paths, _moment(paths, before, phase, rng))
    time.sleep(rng.uniform(0, 0.3) if phase in ("checkpoint", "best", "version") else rng.uniform(0, 2))
    job = runs.newest(paths, before.run.run)
    reached = job.step
    hit = job.alive and job.run.pid is not None
    if job.alive and job.run.pid is not None:
        os.kill(job.run.pid, number)
    after = _ended(paths, before.run.run)
    wrong = _faults(paths, after, number, reached)
    name = signal.Signals(number).name
    return {
        "run": before.run.run,
        "signal": name,
        "phase": phase if hit else "over",
        "hit": hit,
        "step": after.step,
        "state": after.state,
        "wrong": wrong,
    }


def _start(paths: Paths) -> Job:
    """A fresh run, or the last one resumed; returned when its process lives."""
    newest = runs.newest(paths, None)
    events = commands.train(Context(paths), "unified", **SMALL) if newest.state == "finished" else commands.jobs(Context(paths), "resume")
    for event in events:
        if isinstance(event, Notice) and "has begun" in event.text:
            break
    events.close()  # type: ignore[attr-defined]
    return runs.newest(paths, None)


def _moment(paths: Paths, job: Job, phase: str, rng: random.Random) -> Callable[[], bool]:
    """Whether the moment to hit has come."""
    kept, version = paths.checkpoints / job.run.run, Store(paths).version_folder("unified", job.run.version)
    began, wanted = time.monotonic(), rng.uniform(0, 8)
    steps = rng.randint(1, 12)
    events = runs.events_file(paths, job.run.run)

    def stepped() -> bool:
        found = [event for place, event in runs.events(events, job.run.attempt_offset) if isinstance(event, Progress)]
        return len(found) >= steps

    match phase:
        case "start":
            return lambda: time.monotonic() - began > wanted
        case "checkpoint":
            return lambda: stepped() and (kept / ".part").exists()
        case "best":
            return lambda: (kept / ".best").exists()
        case "version":
            return lambda: (version / ".part").exists() or (version / "adapter_model.safetensors").exists()
        case "proof":
            return lambda: (kept / "outcome.json").exists()
    return stepped


def _wait(paths: Paths, come: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if come():
            return True
        if not runs.newest(paths, None).alive:
            return False
        time.sleep(0.005)
    return False


def _ended(paths: Paths, run: str) -> Job:
    deadline = time.monotonic() + WAIT_SECONDS
    while (job := runs.newest(paths, run)).alive and time.monotonic() < deadline:
        time.sleep(0.1)
    return job


def _faults(paths: Paths, job: Job, number: int, reached: int) -> list[str]:
    """What is not as it should be after a hit."""
    wrong = []
    expected = ("finished", "stopped") if number == signal.SIGKILL else ("finished", "cancelled", "stopped")
    if job.state not in expected:
        wrong.append(f"jobs says {job.state}")
    kept = paths.checkpoints / job.run.run
    whole = [path for path in kept.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    for folder in [*whole, *kept.glob("best-*")]:
        wrong += _broken(folder)
    if job.state != "finished" and reached:
        latest = max((int(path.name.rpartition("-")[2]) for path in whole), default=0)
        if job.step - latest > CHECKPOINT_STEPS:
            wrong.append(f"{job.step - latest} steps lost")
    store = Store(paths)
    for version in store.versions("unified"):
        wrong += _broken(store.version_folder("unified", version))
    return wrong


def _broken(folder: Path) -> list[str]:
    found = []
    for path in folder.iterdir():
        try:
            if path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".json":
                files.read_json(path)
            elif path.suffix == ".pt" and zipfile.ZipFile(path).testzip():
                found.append(f"{path} is damaged")
        except Exception as error:  # noqa: BLE001 - a measurement: whatever it is, it is the result
            found.append(f"{path}: {error}")
    return found


def _ends(paths: Paths) -> list[dict[str, Any]]:
    """Let the last run finish, then compare every killed run with the uninterrupted one."""
    if runs.newest(paths, None).state != "finished":
        _follow(commands.jobs(Context(paths), "resume"))
    jobs = sorted(runs.jobs(paths), key=lambda job: job.run.created)
    store, first, found = Store(paths), jobs[0], []
    for job in jobs[1:]:
        losses, other = _losses(paths, first), _losses(paths, job)
        loss = max(abs(losses[step] - other.get(step, 99.0)) for step in losses)
        weights = _difference(paths, first, job)
        reports = [files.read_json(store.version_folder("unified", one.run.version) / "report.json") for one in (first, job)]
        wrong = [] if reports[0]["best_step"] == reports[1]["best_step"] else ["the best weights are of another step"]
        wrong += [] if loss <= LOSS_TOLERANCE and weights <= WEIGHT_TOLERANCE else ["differs from the uninterrupted run"]
        found.append({"run": job.run.run, "loss": loss, "weights": weights, "wrong": wrong})
    return found


def _losses(paths: Paths, job: Job) -> dict[tuple[int, str], float]:
    """The loss and the last validation loss of every step, as said last."""
    found = {}
    for _, event in runs.events(runs.events_file(paths, job.run.run)):
        if isinstance(event, Progress) and event.unit == "steps":
            found |= {(event.done, name): float(event.figures[name]) for name in ("loss", "validation loss")}
    return found


def _difference(paths: Paths, first: Job, other: Job) -> float:
    """The norm of the difference of the weights, as a share of the norm of the weights."""
    store = Store(paths)
    one, two = (load_file(store.version_folder("unified", job.run.version) / "adapter_model.safetensors") for job in (first, other))
    apart = sum(float(numpy.sum((one[name] - two[name]) ** 2)) for name in one)
    return (apart / sum(float(numpy.sum(tensor**2)) for tensor in one.values())) ** 0.5


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--root", help="where the work is kept")
    parser.add_argument("--base", default=str(places.resolve(None).base), help="a folder with the embedded base")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
