import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODULES = sorted([*PROJECT.glob("assistant/**/*.py"), *PROJECT.glob("finetuning/**/*.py")])

# Who may import whom inside the project; a room always may import itself.
MAY = {
    "assistant.core": (),
    "assistant.engine": ("assistant.core",),
    "assistant.router": ("assistant.core", "assistant.engine"),
    "assistant.chat": ("assistant.core", "assistant.engine", "assistant.router"),
    "assistant.ui": ("assistant.core", "assistant.chat"),
    "finetuning": ("assistant.core",),
}
ALSO = {
    # Judging a live model means asking it the way the chat does.
    "finetuning.training": ("assistant.engine", "assistant.router", "assistant.chat"),
    "finetuning.evaluation": ("assistant.engine", "assistant.router", "assistant.chat"),
    # The base writes the rows, and the classifier says what they are about.
    "finetuning.synthetic": ("assistant.engine", "assistant.chat"),
    # Scripts are doors like main.py.
    "finetuning.scripts": ("assistant",),
    "finetuning.api": ("assistant",),
    # They show what a base says and reads.
    "finetuning.lessons": ("assistant.engine",),
}
TORCH = {"torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets"}
TORCH_ROOMS = (
    "assistant.engine.hf",
    "assistant.engine.networks",
    "assistant.engine.template",
    "assistant.engine.embedded",
    "assistant.engine.base",
    "finetuning.training",
    "finetuning.evaluation",
    "finetuning.scripts",
)
SCREEN = {"rich", "questionary", "prompt_toolkit", "markdown_it"}


def name_of(path):
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path):
    """Every module a file imports, also inside functions; imports for types only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module, *rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_the_rooms_below_it(path):
    name = name_of(path)
    rooms = [(room, below) for room, below in [*MAY.items(), *ALSO.items()] if within(name, room)]
    allowed = [allowed for room, below in rooms for allowed in (room, *below)]
    for module in imported(path):
        if within(module, "assistant", "finetuning"):
            assert not rooms or within(module, *allowed), f"{name} may not import {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_and_the_screen_stay_in_their_rooms(path):
    name = name_of(path)
    tops = {module.partition(".")[0] for module in imported(path)}
    if not within(name, *TORCH_ROOMS):
        assert not tops & TORCH
    if not within(name, "assistant.ui"):
        assert not tops & SCREEN


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_and_every_public_thing_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says its one purpose in its first line"
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_fits_the_head(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


def test_there_is_no_python_in_the_data_folders():
    for folder in ("datasets", "models", "logs"):
        listed = subprocess.run(["git", "ls-files", folder], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.splitlines()
        assert [name for name in listed if name.endswith(".py")] == []
        assert not (PROJECT / folder / "__init__.py").exists()


def test_the_data_folder_does_not_hide_the_datasets_library():
    code = "import datasets, sys; sys.exit(0 if datasets.__file__ and 'site-packages' in datasets.__file__ else 1)"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, check=False)
    if b"ModuleNotFoundError" in found.stderr:
        pytest.skip("datasets is not installed")
    assert found.returncode == 0


def test_unexpected_errors_are_caught_only_where_a_command_ends_or_a_thread_or_process_does():
    for path in MODULES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "except Exception" in line and name_of(path) != "assistant.core.commands":
                assert "crosses" in line, f"{path}, line {number}: say which thread or process boundary this is"


def test_nothing_is_printed_outside_the_screen():
    for path in MODULES:
        if within(name_of(path), "assistant.ui", "finetuning.scripts", "finetuning.training.child"):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], name_of(path)
