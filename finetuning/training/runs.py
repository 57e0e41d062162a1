"""Training runs on disk: ``logs/training_logs/<run>/`` holds what a run is (run.json) and what it said (events.jsonl). No torch."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import psutil

from assistant.core import files
from assistant.core.errors import DataError, TrainingError, UsageError
from assistant.core.events import Event, Failed, Finished, Progress, from_json
from assistant.core.paths import Paths
from assistant.core.store import Store

State = Literal["starting", "running", "finished", "stopped", "failed", "cancelled"]
# A run whose process has not written its number yet is starting for so long, then it counts as stopped.
STARTING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a version. ``pid`` and ``pid_created`` name its process; a number alone could belong to another by now.

    Of several ``processes`` it is the first one's.
    """

    run: str
    model: str
    version: str
    plan_hash: str
    created: float
    promote: bool = False
    pid: int | None = None
    pid_created: float | None = None
    attempt_offset: int = 0
    launched: float = 0.0
    report_to: tuple[str, ...] = ()
    processes: int = 1
    accelerate_config: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A run as `jobs` shows it."""

    run: Run
    state: State
    step: int
    steps: int

    @property
    def alive(self) -> bool:
        """Whether a process works on it."""
        return self.state in ("starting", "running")


def folder(paths: Paths, run: str) -> Path:
    """Where a run keeps its log."""
    return paths.runs / run


def events_file(paths: Paths, run: str) -> Path:
    """The events of a run, one JSON object a line."""
    return folder(paths, run) / "events.jsonl"


def create(
    paths: Paths,
    model: str,
    version: str,
    plan_hash: str,
    promote: bool,
    processes: int = 1,
    accelerate_config: str = "",
    report_to: tuple[str, ...] = (),
) -> Run:
    """A new run, named after its version."""
    name, number = f"{model}-{version}", 1
    while folder(paths, name).exists():
        number += 1
        name = f"{model}-{version}-{number}"
    folder(paths, name).mkdir(parents=True)
    now = time.time()
    run = Run(name, model, version, plan_hash, now, promote, launched=now, processes=processes, accelerate_config=accelerate_config)
    run = replace(run, report_to=report_to)
    write(paths, run)
    return run


def write(paths: Paths, run: Run) -> None:
    """Write ``run.json``."""
    files.write_json(folder(paths, run.run) / "run.json", asdict(run))


def read(paths: Paths, run: str) -> Run:
    """A run by its name; an unknown one is a UsageError."""
    path = folder(paths, run) / "run.json"
    if not path.is_file():
        known = ", ".join(job.run.run for job in jobs(paths)) or "none yet"
        raise UsageError(f"There is no run '{run}'.", f"Runs: {known}.")
    names = {item.name for item in fields(Run)}
    try:
        return Run(**{key: value for key, value in files.read_json(path).items() if key in names})
    except (TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged.", f"Delete the folder {path.parent}; finished versions are not in it.") from error


def launched(paths: Paths, run: Run, promote: bool | None = None) -> Run:
    """The run at the start of a new attempt: what was said before belongs to an earlier one."""
    path = events_file(paths, run.run)
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        # A kill in the middle of a line: what follows begins a line of its own.
        files.append_line(path, "")
    offset = path.stat().st_size if path.is_file() else 0
    now = replace(
        run, pid=None, pid_created=None, attempt_offset=offset, launched=time.time(), promote=run.promote if promote is None else promote
    )
    write(paths, now)
    return now


def jobs(paths: Paths) -> list[Job]:
    """Every run, the newest first."""
    found = []
    for path in paths.runs.glob("*/run.json"):
        try:
            found.append(job(paths, read(paths, path.parent.name)))
        except DataError:
            continue
    return sorted(found, key=lambda item: item.run.created, reverse=True)


def newest(paths: Paths, run: str | None) -> Job:
    """The run of that name, or the newest one; none at all is a UsageError."""
    if run:
        return job(paths, read(paths, run))
    found = jobs(paths)
    if not found:
        raise UsageError("There is no training run yet.", "`train unified` starts one.")
    return found[0]


def active(paths: Paths) -> Job | None:
    """The run that a process works on now, if there is one."""
    return next((item for item in jobs(paths) if item.alive), None)


def job(paths: Paths, run: Run) -> Job:
    """A run with its state, found out from its process and from what it said last."""
    step = steps = place = 0
    last: Event | None = None
    for after, event in events(events_file(paths, run.run)):
        match event:
            case Progress(done, total, "steps"):
                step, steps = done, total
        last, place = event, after
    return Job(run, _state(run, last if place > run.attempt_offset else None), step, steps)


def _state(run: Run, last: Event | None) -> State:
    # Its last word counts before its process, which needs a moment to go.
    match last:
        case Finished(0):
            return "finished"
        case Finished(130):
            return "cancelled"
        case Finished():
            return "failed"
    if is_alive(run):
        return "running"
    if isinstance(last, Failed):
        return "failed"
    return "starting" if is_starting(run) else "stopped"


def is_starting(run: Run) -> bool:
    """Whether the run's process may just be coming up."""
    return run.pid is None and time.time() - run.launched < STARTING_SECONDS


def is_alive(run: Run) -> bool:
    """Whether the run's own process lives; a process that only has its old number does not count."""
    if run.pid is None or run.pid_created is None:
        return False
    try:
        process = psutil.Process(run.pid)
        return abs(process.create_time() - run.pid_created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def events(path: Path, offset: int = 0) -> Iterator[tuple[int, Event]]:
    """The events in a file from a place on, each with the place after it; an unfinished or foreign line is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield offset, from_json(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue


def remove(paths: Paths, item: Job) -> bool:
    """Delete a run that no process works on, its checkpoints, and its version when that is unfinished; says whether a version went too."""
    run = item.run
    if item.alive:
        raise TrainingError(f"{run.run} is still running.", f"End it first: `jobs cancel {run.run}`.")
    store = Store(paths)
    unfinished = run.version not in store.versions(run.model)
    shutil.rmtree(paths.checkpoints / run.run, ignore_errors=True)
    if unfinished and (store.version_folder(run.model, run.version) / "plan.json").is_file():
        shutil.rmtree(store.version_folder(run.model, run.version), ignore_errors=True)
    shutil.rmtree(folder(paths, run.run))
    return unfinished
