import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "finetuning" / "scripts"


def run(script, *words, root):
    command = [sys.executable, str(SCRIPTS / script), *words, "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, timeout=60)


def test_daily_chat_is_handled_by_the_unified_model(tmp_path):
    done = run("train_specialist.py", "--type", "daily_chat", root=tmp_path)
    assert done.returncode == 2
    assert "handled by the unified model" in done.stderr


@pytest.mark.parametrize("words", [("--type", "lawyer"), ("--type=lawyer",)])
def test_a_specialist_without_a_dataset_is_refused(tmp_path, words):
    done = run("train_specialist.py", *words, root=tmp_path)
    assert done.returncode == 2
    assert "There is no model 'lawyer'" in done.stderr


def test_a_specialist_without_a_name_is_wrong_usage(tmp_path):
    done = run("train_specialist.py", "--max_steps", "3", root=tmp_path)
    assert done.returncode == 2
    assert "`train` needs MODEL" in done.stderr


def test_the_unified_script_takes_the_flags_of_the_command(tmp_path):
    done = run("train_unified_model.py", "--preset", "turbo", root=tmp_path)
    assert done.returncode == 2
    assert "turbo" in done.stderr
