import os
import re
import shlex
import subprocess
import sys
import time

import pytest

from assistant.core.paths import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
# A run of the README's own length would take minutes; everything else is run as it stands.
SHORTER = {
    "./run_finetuning.sh test": "./run_finetuning.sh test tests/core/test_events.py",
    "python main.py ft train unified --preset fast": "python main.py ft train unified --preset fast --max_steps 3 --promote "
    "--set proof_rows=3 proof_general=4 replay=0.0",
}


def call(command, root, **more):
    environment = {
        **os.environ,
        "PZ2_ROOT": str(root.root),
        "PZ2_VENV": sys.prefix,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    return subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, timeout=400, env=environment, **more)


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 15


def test_every_command_of_the_readme_runs_in_its_order(real_root, tmp_path):
    (PROJECT / "questions.txt").write_text("What is the capital of France?\nI feel sad today\n", encoding="utf-8")
    try:
        for command in COMMANDS:
            done = call(SHORTER.get(command, command), real_root, input="0\nquit:\n" if command.endswith((".sh", "chat")) else "")
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            assert "Traceback" not in done.stdout + done.stderr
        answers = (PROJECT / "answers.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(answers) == 2 and "Paris" in answers[0]
    finally:
        for name in ("questions.txt", "answers.jsonl"):
            (PROJECT / name).unlink(missing_ok=True)
    assert (real_root.models / "unified_model" / "versions" / "0001" / "card.json").is_file()


def test_the_second_start_reaches_the_menu_in_under_a_second(real_root):
    call("./run_finetuning.sh", real_root, input="0\n")
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = call("./run_finetuning.sh", real_root, input="0\n")
        seconds.append(time.perf_counter() - started)
        assert "Validate the datasets" in done.stdout
    assert min(seconds) < 1.0, seconds


def test_help_comes_in_under_a_third_of_a_second_and_loads_no_torch(real_root):
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        call(f"{shlex.quote(sys.executable)} main.py --help", real_root)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3, seconds


@pytest.mark.parametrize("word", ["torch", "transformers", "xllamacpp"])
def test_help_imports_nothing_heavy(real_root, word):
    run = "import runpy, sys; sys.argv = ['main.py', '--help']\ntry:\n runpy.run_path('main.py', run_name='__main__')"
    script = f"{run}\nexcept SystemExit: pass\nassert '{word}' not in sys.modules"
    done = call(f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}", real_root)
    assert done.returncode == 0, done.stderr
