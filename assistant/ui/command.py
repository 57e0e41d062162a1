"""One fine-tuning command in a terminal: its packages, its events, and what an interruption leaves behind."""

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from assistant.core.commands import Context, Registry
from assistant.core.errors import ModelError
from assistant.core.events import Event, Failed, Lines, Notice, Report, Step
from assistant.core.paths import PROJECT
from assistant.ui import keys
from assistant.ui.render import Screen

SET_UP = PROJECT / "setup_environment.py"


def run(screen: Screen, registry: Registry, words: Sequence[str], context: Context, prefix: str) -> int:
    """Run a command on the screen. ``prefix`` is what is typed before a command at this door, for hints."""
    with keys.kept():
        status = screen.follow(addressed(prepared(registry, words, context), registry, prefix))
    if screen.interrupted and words[0] in ("train", "learn", "jobs"):
        _tell_of_run(screen, registry, context, prefix)
    return status


def prepared(registry: Registry, words: Sequence[str], context: Context) -> Iterator[Event]:
    """A command's events; before one that trains, its packages are installed when they are missing and the person agrees."""
    return registry.run(words, context, lambda command: _install(context) if command.needs_torch and not has_torch() else ())


def addressed(events: Iterator[Event], registry: Registry, prefix: str) -> Iterator[Event]:
    """Events whose hints can be typed at this door: a command in backticks gets what is typed before it here."""
    names = "|".join(command.name for command in registry.commands)
    command = re.compile(rf"`(?=(?:{names})[ `])")

    def at(text: str) -> str:
        return command.sub(f"`{prefix}", text)

    try:
        for event in events:
            match event:
                case Notice(text, level):
                    yield Notice(at(text), level)
                case Failed(what, fix):
                    yield Failed(at(what), at(fix))
                case Report(title, data, blocks):
                    lined = (replace(block, lines=tuple(map(at, block.lines))) if isinstance(block, Lines) else block for block in blocks)
                    yield Report(at(title), data, tuple(lined))
                case _:
                    yield event
    finally:
        if isinstance(events, Generator):
            events.close()


def has_torch() -> bool:
    """Whether training's packages are there. The metadata is asked: importing them takes seconds."""
    try:
        importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _install(context: Context) -> Iterator[Event]:
    missing = "Training needs packages that are not installed yet (torch and others, about 1 GB)."
    ours = (Path(sys.prefix) / "pz2-ready.json").is_file()
    if context.questions is None or not ours:
        fix = (
            "Run `./run_finetuning.sh setup` once."
            if ours
            else f"Install them: {sys.executable} -m pip install -r requirements-training.txt"
        )
        raise ModelError(missing, fix)
    if not context.questions.confirm(f"{missing} Install them now?", True):
        raise ModelError(missing, "Run `./run_finetuning.sh setup` when you want to train.")
    yield Step("Installing what training needs")
    # Through a pipe, so that the installer is quiet: its own lines would run into the spinner's.
    setup = [sys.executable, str(SET_UP), "setup"]
    env = {**os.environ, "PZ2_VENV": sys.prefix, "PYTHONIOENCODING": "utf-8"}
    said: list[str] = []
    with subprocess.Popen(setup, env=env, stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        for line in map(str.strip, process.stderr or ()):
            if line.endswith("…"):
                yield Step(line.removesuffix("…").strip())
            elif line:
                said.append(line)
    importlib.invalidate_caches()
    if not has_torch():
        yield from (Notice(line, "warning") for line in said)
        raise ModelError("Training's packages could not be installed.", "Read the lines above, then run `./run_finetuning.sh setup`.")


def _tell_of_run(screen: Screen, registry: Registry, context: Context, prefix: str) -> None:
    """After Ctrl-C: a run that goes on by itself is named, with the words that follow or end it."""
    for event in registry.run(["jobs"], Context(context.paths, json=True)):
        if not isinstance(event, Report):
            continue
        for job in event.data if isinstance(event.data, list) else []:
            if job.get("state") == "running":
                steps = f" (step {job['step']} of {job['steps']})" if job.get("steps") else ""
                screen.say(
                    f"The run {job['run']} goes on by itself{steps}. `{prefix}jobs follow` shows it, `{prefix}jobs cancel` ends it.",
                    "pz2.notice",
                )
                return
