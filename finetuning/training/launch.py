"""Start a run as a process of its own, which lives on when the window is closed; ask it to end. No torch."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil

from assistant.core.errors import TrainingError
from assistant.core.paths import PROJECT, Paths
from finetuning.training import runs
from finetuning.training.runs import Job, Run

STOP_FILE = "cancel"
START_SECONDS = 30.0
# Less than one checkpoint of a small adapter.
FULL_BYTES = 50_000_000


def start(paths: Paths, run: Run) -> Run:
    """Start the trainer of a run in a session of its own and wait until it has named its process."""
    folder = runs.folder(paths, run.run)
    (folder / STOP_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "finetuning.training.child", "--root", str(paths.root), run.run]
    with (folder / "trainer.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), **_detached()
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        now = runs.read(paths, run.run)
        if now.pid is not None:
            return now
        if process.poll() is not None:
            break
        time.sleep(0.05)
    if (now := runs.read(paths, run.run)).pid is not None:
        return now
    raise TrainingError(
        f"The trainer of {run.run} did not start (status {process.poll()}).", f"Its last words are in {folder / 'trainer.log'}."
    )


def stop(paths: Paths, job: Job) -> None:
    """Ask a running trainer to write a checkpoint and end."""
    (runs.folder(paths, job.run.run) / STOP_FILE).touch()
    if os.name == "posix" and job.run.pid is not None and runs.is_alive(job.run):
        try:
            psutil.Process(job.run.pid).send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            return


def disk_is_full(paths: Paths) -> bool:
    """Whether a training that failed just now failed for want of space."""
    return any(shutil.disk_usage(folder).free < FULL_BYTES for folder in (paths.logs, paths.models))


def disk_full(run: Run) -> TrainingError:
    """The sentence for it."""
    return TrainingError(
        "The disk is full; what was whole before is unharmed.",
        f"Free some space; `jobs resume {run.run}` goes on from the last checkpoint.",
    )


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Threads that wait must sleep: spinning ones at the lowest priority fell from 280 to 29 tokens/s beside other work.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def _detached() -> dict[str, object]:
    if os.name == "posix":
        return {"start_new_session": True}
    return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
