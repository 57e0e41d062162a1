import runpy
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


def test_a_misspelt_model_is_told_the_nearest_one(tmp_path):
    assert "Did you mean 'technical'?" in run("train_specialist.py", "--type", "tecnical", root=tmp_path).stderr


def test_a_specialist_without_a_name_is_wrong_usage(tmp_path):
    done = run("train_specialist.py", "--max_steps", "3", root=tmp_path)
    assert done.returncode == 2
    assert "`train` needs MODEL" in done.stderr


def test_the_unified_script_takes_the_flags_of_the_command(tmp_path):
    done = run("train_unified_model.py", "--preset", "turbo", root=tmp_path)
    assert done.returncode == 2
    assert "turbo" in done.stderr


NEW = ("run_fine_tuning.py", "training_script.py", "unified_inference.py")


@pytest.mark.parametrize("script", NEW)
def test_a_script_shows_its_flags_from_any_folder(tmp_path, script):
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), "--help"], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {script}")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("run_fine_tuning.py", "--task", "dream"), "invalid choice"),
        (("run_fine_tuning.py", "--task", "train", "--dataset_path", "nothing.csv"), "does not exist"),
        (("run_fine_tuning.py", "--task", "train", "--dataset", "nothing"), "no model 'nothing'"),
        (("run_fine_tuning.py", "--nonsense", "1"), "unrecognized"),
        (("run_fine_tuning.py", "--task", "preprocess"), "does not exist"),
        (("training_script.py", "--method", "magic"), "invalid choice"),
        (("training_script.py", "--model_name", "qna", "--dataset", "law"), "PZ2's own data"),
        (("training_script.py", "--dataset", "nothing"), "no model 'nothing'"),
        (("unified_inference.py", "--mode", "batch"), "needs a file"),
        (("unified_inference.py", "--mode", "batch", "--input", "nothing.txt"), "does not exist"),
        (("unified_inference.py", "--mode", "dream"), "invalid choice"),
        (("unified_inference.py", "--input", "q.txt", "--output", "a.jsonl"), "--mode interactive takes no --input, --output"),
        (("unified_inference.py", "--mode", "benchmark", "--category", "qna"), "--mode benchmark takes no --category"),
        (("unified_inference.py", "--questions", "2"), "--mode interactive takes no --questions"),
        (("unified_inference.py", "--mode", "benchmark", "--model", "nobody"), "no model 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_words_of_a_script_are_status_2_with_what_to_do(tmp_path, words, part):
    done = run(*words, root=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert part in done.stderr and len(done.stderr.splitlines()) >= 2 and "Traceback" not in done.stderr


def test_the_modes_of_inference_are_those_of_the_program():
    line = runpy.run_path(str(SCRIPTS / "unified_inference.py"))["line"]
    assert line(["--model", "base"]) == ["--model", "base"]
    asked = line(["--mode", "batch", "--input", "q.txt", "--output", "a.jsonl", "--category", "qna", "--root", "r"])
    assert asked == ["--ask-file", "q.txt", "--model", "auto", "--out", "a.jsonl", "--category", "qna", "--root", "r"]
    assert line(["--mode", "benchmark", "--questions", "2", "--json"]) == ["ft", "speed", "auto", "--questions", "2", "--json"]
