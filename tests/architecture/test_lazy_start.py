import json
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "numpy", "pandas", "xllamacpp", "tokenizers", "gguf"}
SCREEN = {"rich", "questionary", "prompt_toolkit"}


def loaded(code):
    """The packages a fresh interpreter holds after some code."""
    first = f"import sys, json\nsys.path.insert(0, {str(PROJECT)!r})"
    last = "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    program = f"{first}\n{code}\n{last}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy_and_no_screen():
    code = "import main\ntry:\n    main.main(['--help'], main.REGISTRY)\nexcept SystemExit:\n    pass"
    assert loaded(code) & (HEAVY | SCREEN | {"yaml", "psutil"}) == set()


def test_help_comes_in_less_than_three_tenths_of_a_second():
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, str(PROJECT / "main.py"), "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


def test_the_window_before_its_first_question_loads_no_model_library():
    assert loaded("import assistant.ui.app, assistant.ui.menu, assistant.ui.command") & HEAVY == set()


def test_the_plain_door_loads_no_screen():
    assert loaded("import assistant.ui.pipe, assistant.ui.ask_once") & (HEAVY | SCREEN) == set()


def test_the_command_table_loads_none_of_its_commands():
    code = "from finetuning.commands import REGISTRY\nfrom assistant.chat.commands import REGISTRY as CHAT"
    assert not {name for name in loaded(code) if name in HEAVY | SCREEN}


def test_every_command_leads_somewhere():
    import importlib

    from assistant.chat.commands import REGISTRY as CHAT
    from finetuning.commands import REGISTRY

    for command in [*CHAT.commands, *REGISTRY.commands]:
        module, _, function = command.target.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), command.name
