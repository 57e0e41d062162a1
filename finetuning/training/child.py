"""The trainer's own process: ``python -m finetuning.training.child --root ROOT RUN``. Trains, proves, and says everything as events."""

import argparse
import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import psutil
from filelock import FileLock, Timeout

from assistant.core import files, settings
from assistant.core.errors import PZ2Error, TrainingError, from_os_error
from assistant.core.events import Event, Failed, Finished, to_json
from assistant.core.logs import quiet
from assistant.core.paths import Paths
from finetuning.training import processes, runs
from finetuning.training.launch import STOP_FILE, disk_full, disk_is_full
from finetuning.training.runs import Run

LOCK = "training.lock"
# Lowest priority: the chat kept 0.85 of its speed beside such a trainer, and 0.15 beside an ordinary one.
NICE = 19


@dataclass(slots=True)
class Voice:
    """Writes events to the run's file, and knows whether the run was asked to stop."""

    path: Path
    stop_file: Path
    signalled: bool = field(default=False)

    def say(self, event: Event) -> None:
        """Append one event; of several processes only the first one speaks."""
        if not processes.is_first():
            return
        files.append_line(self.path, json.dumps(to_json(event), ensure_ascii=False))

    def stop(self) -> bool:
        """Whether the run was asked to stop, by a signal or by the stop file."""
        return self.signalled or self.stop_file.exists()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember a request to stop; the training ends after its step."""
        self.signalled = True


def main(words: list[str]) -> int:
    """Run one training; returns the exit status that the last event names too."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("run")
    given = parser.parse_args(words)
    paths = Paths(Path(given.root))
    voice = Voice(runs.events_file(paths, given.run), runs.folder(paths, given.run) / STOP_FILE)
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), voice.on_signal if name != "SIGHUP" else signal.SIG_IGN)
    quiet()
    _lower_priority()
    run = _announce(paths, given.run) if processes.is_first() else runs.read(paths, given.run)
    status = _work(paths, run, voice)
    with suppress(OSError):
        voice.say(Finished(status))
    return status


def _work(paths: Paths, run: Run, voice: Voice) -> int:
    try:
        with FileLock(paths.runs / LOCK).acquire(timeout=0) if processes.is_first() else nullcontext():
            from finetuning.training import session

            return 0 if session.train(paths, settings.load(paths), run, voice.say, voice.stop) else 130
    except Timeout:
        known = TrainingError(
            "Another training is running; two at once would starve each other.", "Wait for it (`jobs follow`) or end it (`jobs cancel`)."
        )
    except PZ2Error as error:
        known = error
    except Exception as error:  # noqa: BLE001 - crosses a process boundary: the window must hear of it
        traceback.print_exc()
        known = _known(error, paths, run)
    # A full disk takes no last word either; then the window sees that the process is gone.
    with suppress(OSError):
        voice.say(Failed(known.what, known.fix))
    return 2


def _known(error: Exception, paths: Paths, run: Run) -> PZ2Error:
    # The libraries that write weights have errors of their own for a full disk, some without a reason.
    if disk_is_full(paths):
        return disk_full(run)
    if isinstance(error, OSError):
        return from_os_error(error)
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in ("out of memory", "can't allocate memory")):
        return TrainingError(
            "There was not enough memory.",
            f"`jobs resume {run.run}` goes on from the last checkpoint; `--preset memory_efficient` needs less.",
        )
    log = runs.folder(paths, run.run) / "trainer.log"
    return TrainingError(
        f"The training stopped on an unexpected error ({text}).", f"Details are in {log}; `jobs resume {run.run}` tries again."
    )


def _announce(paths: Paths, name: str) -> Run:
    """Write this process's number into ``run.json``."""
    process = psutil.Process()
    run = replace(runs.read(paths, name), pid=process.pid, pid_created=process.create_time())
    runs.write(paths, run)
    return run


def _lower_priority() -> None:
    if hasattr(os, "SCHED_IDLE"):
        # Linux: runs only where nobody else wants to, and gives way at once.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if os.name == "posix":
        os.nice(NICE)
    else:
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
