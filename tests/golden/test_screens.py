import io
import json
import re
import shutil
import sys
from types import SimpleNamespace

import psutil
import pytest

from assistant.chat.commands import REGISTRY as CHAT
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core.commands import Command, Context, MenuItem, Param, Registry
from assistant.core.events import Failed, Notice, Progress, RouteChosen, Step, TextDelta, TurnDone
from assistant.core.settings import Settings
from assistant.ui import cli, theme
from assistant.ui.pipe import print_menu
from assistant.ui.render import Screen
from finetuning.commands import REGISTRY
from tests.golden.golden import check
from tests.scripted import ScriptedEngine, install
from tests.ui.samples import events, reply

GUIDE = """\
To draw a line in **SketchUp**:

1. Press `L` for the Line tool.
2. Click the start point, move, and click the end point. Type a length such as `2m` and press Enter to make it exact, however long it is.
3. Press Esc to stop.

| key | what it does |
|-----|--------------|
| `L` | line |
| Shift | locks the direction |

```python
def area(width: float, height: float) -> float:
    return width * height
```

> A line that closes a shape makes a face.
"""


@pytest.fixture
def screen():
    return Screen(theme.console(80, io.StringIO()), clock=lambda: 0.0)


def text_of(screen):
    return screen.console.file.getvalue()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help a little differently in each Python")
def test_help_of_the_program(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["--help"], REGISTRY)
    check("help.txt", capsys.readouterr().out)


TOY = Registry(
    (
        Command("look", "look at something", "nowhere:look", (Param("view", "what", positional=True, choices=("near", "far")),)),
        Command(
            "make",
            "make something of many parts, each of which has a name",
            "nowhere:make",
            (
                Param("name", "what it is called", positional=True, required=True),
                *(Param(f"part_number_{number}", "one part", "int", default=number) for number in range(1, 5)),
                Param("quick", "hurry", "flag"),
            ),
            (MenuItem(2, "Make something"), MenuItem(14, "Make something, quick", ("--quick",))),
        ),
    )
)


def test_help_of_fine_tuning(capsys):
    assert cli.main(["ft", "--help"], TOY) == 0
    check("ft_help.txt", capsys.readouterr().out)


def test_help_of_a_command(capsys):
    assert cli.main(["ft", "make", "--help"], TOY) == 0
    check("ft_command_help.txt", capsys.readouterr().out)


def test_menu(capsys):
    print_menu(TOY)
    check("menu.txt", capsys.readouterr().out)


def test_the_real_help_fits_80_columns(capsys):
    assert cli.main(["ft", "--help"], REGISTRY) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


# SPEC: the numbers are part of the contract; one whose part is not built is absent.
NUMBERS = (
    "generate validate data import train train train train train evaluate compare status switch rollback synthesize prefer jobs settings"
)


def test_every_number_of_the_menu_keeps_its_meaning():
    contract = dict(enumerate(NUMBERS.split(), 1))
    found = {item.number: command.name for item, command in REGISTRY.menu()}
    assert found == {number: contract[number] for number in found}
    models = {5: "classifier", 6: "qna", 7: "technical", 8: "unified", 9: "unified"}
    assert all(item.words[0] == models[item.number] for item, command in REGISTRY.menu() if command.name == "train")


def test_help_in_the_chat(screen, paths):
    screen.follow(CHAT.run(["help"], Context(paths)))
    check("chat_help.txt", text_of(screen))


def test_a_conversation_at_80_columns(screen):
    for event in (
        RouteChosen("unified", "0003", "technical", None, ""),
        TextDelta(GUIDE[:50]),
        TextDelta(GUIDE[50:]),
        TurnDone(reply(GUIDE.strip(), category="technical", category_probabilities={"technical": 0.981})),
        Notice("The conversation is longer than the model can read; its first 4 turns are left out from here on."),
        RouteChosen("base", None, None, None, ""),
        TurnDone(reply("Hello!", model="base", version=None, category=None, category_probabilities=None, stopped="length")),
        Failed("The question has 2400 tokens; 1648 fit.", "Shorten it, or raise chat.context_tokens in model_config.yaml."),
    ):
        screen.show(event)
    check("conversation.txt", text_of(screen))


def test_a_training_run(screen):
    screen.show(Step("Training unified 0004"))
    for step in range(1, 61):
        screen.show(Progress(step, 60, "steps", {"loss": 3 / step, "tokens/s": 512.0}, 60.0 - step))
    check("training.txt", text_of(screen))


def test_every_event(screen):
    for event in events("some words"):
        screen.show(event)
    check("events.txt", text_of(screen))


@pytest.fixture
def machine(monkeypatch):
    """A machine whose figures do not change."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000, total=16_000_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000_000_000, total=200_000_000_000, used=1))
    install(ScriptedEngine(), monkeypatch)


def test_status(screen, paths, machine):
    screen.follow(REGISTRY.run(["status"], Context(paths, chat=Session(paths, Live(paths, Settings())))))
    check("status.txt", re.sub(r"\d+ MB used here", "NN MB used here", text_of(screen)))


def shape(value):
    """A document with its values replaced by their types."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_the_shape_of_the_json_of_status(paths, machine, capsys):
    assert cli.main(["ft", "status", "--json", "--root", str(paths.root)], REGISTRY) == 0
    check("status_json.txt", json.dumps(shape(json.loads(capsys.readouterr().out)), indent=1))


def test_the_shape_of_the_json_of_an_answer(paths, machine, capsys):
    assert cli.main(["--ask", "Hello?", "--json", "--root", str(paths.root)], REGISTRY) == 0
    check("ask_json.txt", json.dumps(shape(json.loads(capsys.readouterr().out)), indent=1))
