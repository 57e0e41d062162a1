import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SHELL, BATCH = PROJECT / "run_finetuning.sh", PROJECT / "run_finetuning.bat"
posix = pytest.mark.skipif(sys.platform == "win32", reason="the shell script is for POSIX systems")


@pytest.fixture
def finished(tmp_path):
    """An environment whose Python only says what it was called with."""
    folder = tmp_path / "a venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "pz2-ready.json").write_text("{}", encoding="utf-8")
    python = folder / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return folder


def start(script, *words, cwd, **env):
    return subprocess.run([str(script), *words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)


@posix
def test_a_finished_environment_starts_itself_with_every_word_as_it_was_typed(finished, tmp_path):
    done = start(SHELL, "train", "two words", "", "--root=/a b", cwd=tmp_path, PZ2_VENV=str(finished))
    assert done.stdout.splitlines() == [str(PROJECT / "setup_environment.py"), "train", "two words", "", "--root=/a b"]


@posix
def test_it_works_through_links_from_any_folder(finished, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "first").symlink_to(SHELL)
    (tmp_path / "bin" / "second").symlink_to("../first")
    done = start("./second", "chat", cwd=tmp_path / "bin", PZ2_VENV=str(finished))
    assert done.stdout.splitlines() == [str(PROJECT / "setup_environment.py"), "chat"]


@posix
@pytest.mark.parametrize("found", [None, "old"])
def test_without_a_new_enough_python_there_is_a_sentence(tmp_path, found):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "readlink", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    if found:
        (tools / "python3").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (tools / "python3").chmod(0o755)
    done = start(SHELL, cwd=tmp_path, PATH=str(tools), PZ2_VENV=str(tmp_path / "none"))
    assert done.returncode == 2
    assert "PZ2 needs Python 3.11 or newer" in done.stderr


@posix
def test_the_shell_script_is_well_formed_and_may_be_run():
    assert subprocess.run(["bash", "-n", str(SHELL)], check=False).returncode == 0
    assert os.access(SHELL, os.X_OK)


def test_the_batch_file_has_the_line_ends_that_windows_wants():
    assert BATCH.read_bytes().count(b"\r\n") == BATCH.read_bytes().count(b"\n")


def test_every_label_of_the_batch_file_exists_and_ends_with_its_status():
    lines = BATCH.read_text(encoding="ascii").splitlines()
    labels = {line[1:] for line in lines if line.startswith(":")}
    jumps = set(re.findall(r"goto (\w+)", "\n".join(lines)))
    assert jumps == labels
    for place, line in enumerate(lines):
        if "setup_environment.py" in line:
            assert lines[place + 1] == "exit /b %ERRORLEVEL%"
            assert line.endswith('"%PROJECT%setup_environment.py" %*')


def test_no_path_of_the_batch_file_stands_without_quotes():
    for line in BATCH.read_text(encoding="ascii").splitlines():
        for variable in ("%PROJECT%", "%ENVIRONMENT%", "%PZ2_VENV%", "%~dp0"):
            if variable in line:
                before = line[: line.index(variable)]
                assert before.count('"') % 2 == 1, line


def test_both_scripts_take_the_same_way():
    shell, batch = SHELL.read_text(encoding="utf-8"), BATCH.read_text(encoding="ascii")
    for word in ("PZ2_VENV", "pz2-ready.json", "setup_environment.py", "sys.version_info < (3, 11)", "PZ2 needs Python 3.11 or newer"):
        assert word in shell
        assert word in batch
