"""A domain from a file on the embedded base: the README's Python example, the test cases of what it made, the steps before a training."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest

from assistant.core.paths import PROJECT, Paths, prepare
from assistant.core.store import Store

README = (PROJECT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"## From Python\n\n```python\n(.*?)```", README, re.DOTALL)[1]
# A training of the README's own length would take minutes.
SHORTER = EXAMPLE.replace(
    'preset="fast"', 'preset="fast", max_steps=2, batch_size=2, set=["proof_rows=3", "proof_general=4", "replay=0.0"]'
)


def python(*words, root, cwd=PROJECT):
    environment = {**os.environ, "PZ2_ROOT": str(root.root), "PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=400, env=environment, check=False)


@pytest.fixture(scope="module")
def root(base_folder, tmp_path_factory):
    paths = Paths(tmp_path_factory.mktemp("flow"))
    prepare(paths)
    paths.base.symlink_to(base_folder, target_is_directory=True)
    return paths


@pytest.fixture(scope="module")
def example(root):
    """What the README's example printed."""
    done = python("-c", SHORTER, root=root)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_python_of_the_readme_goes_from_a_csv_to_a_live_model(example, root):
    assert len(EXAMPLE.splitlines()) <= 15 and SHORTER != EXAMPLE
    assert "47 rows to learn" in example and "version 0001 loss" in example
    assert "{'train': 48, 'validation': 6, 'test': 6}" in example
    assert re.search(r"\d+ MB Speed\(model='korean_law', version='0001', engine='(llama|hf)'", example)
    assert Store(root).current("korean_law").version == "0001"


def test_the_test_cases_are_asked_of_the_live_domain(example, root):
    done = python("main.py", "--mode", "test", "--categories", "korean_law", "--limit", "1", "--json", root=root)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["passed"] else 1)
    assert {tuple(line["answered_by"]) for line in report["categories"]} == {("korean_law 0001",)}
    assert {line["kind"] for line in report["categories"]} == {"own", "unseen"}


def test_the_steps_before_a_training_write_their_files(example, root, tmp_path):
    script = str(PROJECT / "finetuning" / "scripts" / "run_fine_tuning.py")
    for task in ("special_tokens", "preprocess", "compare", "explain"):
        done = python(script, "--task", task, "--dataset", "korean_law", root=root, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    results = tmp_path / "results"
    with (results / "special_tokens_analysis.csv").open(encoding="utf-8-sig", newline="") as file:
        tokens = {row["token"]: row for row in csv.DictReader(file)}
    assert tokens["<|im_end|>"]["trained_times"] == "47" and int(tokens["<|im_end|>"]["typed_pieces"]) > 1
    conversations = json.loads((results / "processed_conversations.json").read_text(encoding="utf-8"))
    assert len(conversations) == 47 and all(0 < row["trained_tokens"] < row["tokens"] for row in conversations)
    with (results / "model_comparison_results.csv").open(encoding="utf-8-sig", newline="") as file:
        answers = list(csv.DictReader(file))
    assert {row["form"] for row in answers} == {"plain", "chat", "tuned"}
    assert any("Paris" in row["answer"] for row in answers if row["form"] == "chat")
    assert "learns by heart" in done.stdout
