"""Start a run as a process of its own (or several), which lives on when the window is closed; ask it to end. No torch."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from assistant.core import spinning
from assistant.core.errors import TrainingError, UsageError
from assistant.core.paths import PROJECT, Paths, find
from assistant.core.settings import read_yaml
from assistant.engine import base as engines
from finetuning.training import runs
from finetuning.training.runs import Job, Run

STOP_FILE = "cancel"
START_SECONDS = 30.0
MOST_PROCESSES = 1024
# Less than one checkpoint of a small adapter.
FULL_BYTES = 50_000_000


def start(paths: Paths, run: Run) -> Run:
    """Start the trainer of a run in a session of its own and wait until it has named its process."""
    folder = runs.folder(paths, run.run)
    (folder / STOP_FILE).unlink(missing_ok=True)
    with (folder / "trainer.log").open("ab") as log:
        process = subprocess.Popen(
            _command(paths, run), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(run), **_detached()
        )
    _yield_to_other_sessions(process.pid)
    seconds = START_SECONDS * (4 if _several(run) else 1)
    deadline = time.monotonic() + seconds
    ended = None
    while ended is None and time.monotonic() < deadline:
        # Looked at before its name: a process that names itself and ends at once has begun.
        ended = process.poll()
        if (now := runs.read(paths, run.run)).pid is not None:
            return now
        time.sleep(0.05)
    path = folder / "trainer.log"
    if ended is None:
        raise TrainingError(
            f"The trainer of {run.run} has not begun within {seconds:.0f} s: this machine is very busy.",
            f"It may still begin, which `jobs` shows. Its words are in {path}.",
        )
    # Nothing is coming up any more, so it stands in nobody's way.
    runs.write(paths, replace(runs.read(paths, run.run), launched=0.0))
    raise TrainingError(
        f"The trainer of {run.run} did not start (status {ended}). {_last_line(path)}".rstrip(), f"All it said is in {path}."
    )


def together(paths: Paths, processes: int | None, accelerate_config: str | None) -> tuple[int, str]:
    """How many processes, and the absolute path of the configuration given to ``accelerate launch``; what cannot be is a UsageError."""
    if processes is not None and not 1 <= processes <= MOST_PROCESSES:
        raise UsageError(f"'processes' is {processes}; from 1 to {MOST_PROCESSES}.", "Give as many as there are GPUs.")
    if not accelerate_config:
        return processes or 1, ""
    path = find(accelerate_config, paths)
    if not path.is_file():
        raise UsageError(f"The file {path} does not exist.", "`accelerate config --config_file FILE` writes one.")
    if read_yaml(path).get("distributed_type") == "DEEPSPEED" and not engines.installed("deepspeed"):
        raise UsageError(f"{path} asks for DeepSpeed, which is not installed.", "Install it beside PZ2: `pip install deepspeed`.")
    # 0: as many as that file says.
    return processes or 0, str(path.absolute())


def left_out(accelerate_config: str) -> str | None:
    """What of a configuration given to ``accelerate launch`` is left out on this machine, in a sentence."""
    if not accelerate_config or read_yaml(Path(accelerate_config)).get("distributed_type") != "FSDP" or engines.has_gpu():
        return None
    return "FSDP needs GPUs: without one each process holds the whole model, and only the rows are divided."


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


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _several(run: Run) -> bool:
    return run.processes != 1 or bool(run.accelerate_config)


def _command(paths: Paths, run: Run) -> list[str]:
    """The trainer's command line; several processes are started by ``accelerate launch``, on a free port."""
    trainer = ["finetuning.training.child", "--root", str(paths.root), run.run]
    if not _several(run):
        return [sys.executable, "-m", *trainer]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    if run.accelerate_config:
        command += ["--config_file", run.accelerate_config]
    else:
        # What it calls multi_gpu starts the processes on a machine without one too; the trainer chooses the device.
        command += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    if run.processes:
        command += ["--num_processes", str(run.processes)]
    return [*command, "--module", *trainer]


def _environment(run: Run) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // run.processes) if run.processes > 1 else 0
    environment = {
        **os.environ,
        # Processes that share the cores would fight for them with as many threads each as there are cores.
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # oneDNN keeps the programs of so many sizes of product, each of some 0.7 MB (docs/LOG.md).
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "384"),
        # glibc gives larger blocks than this back at once. In its heap, batches of many widths left a third of the memory in holes.
        "MALLOC_MMAP_THRESHOLD_": os.environ.get("MALLOC_MMAP_THRESHOLD_", "4000000"),
    }
    # Threads that spin for long at the lowest priority fell from 280 to 29 tokens/s beside other work (docs/LOG.md).
    return {"OMP_WAIT_POLICY": "PASSIVE", **environment, **spinning.shortly(environment)}


def _yield_to_other_sessions(pid: int) -> None:
    """Let a chat in another terminal go first. Where Linux divides time between sessions (autogroup, sched(7)), priorities count in one.

    A trainer of the lowest priority took as much time as a chat; so it takes a twentieth (docs/LOG.md).
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("19", encoding="ascii")


def _detached() -> dict[str, object]:
    if os.name == "posix":
        return {"start_new_session": True}
    return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
