import io

import pytest

from assistant.ui import theme
from assistant.ui.ask import Terminal
from assistant.ui.render import Screen

DOWN, ENTER, CTRL_C = "\x1b[B", "\r", "\x03"


@pytest.fixture
def terminal():
    return Terminal(Screen(theme.console(80, io.StringIO())))


def test_a_text_may_start_from_a_default(terminal, keyboard):
    keyboard.send_text("c" + ENTER)
    assert terminal.text("name", "ab") == "abc"


def test_a_choice_starts_at_its_default(terminal, keyboard):
    keyboard.send_text(ENTER)
    assert terminal.choice("which", ("one", "two"), "two") == "two"
    keyboard.send_text(DOWN + ENTER)
    assert terminal.choice("which", ("one", "two")) == "two"


def test_yes_and_no(terminal, keyboard):
    keyboard.send_text("y")
    assert terminal.confirm("sure?") is True
    keyboard.send_text(ENTER)
    assert terminal.confirm("sure?") is False


def test_ctrl_c_is_an_interruption_and_not_an_answer(terminal, keyboard):
    keyboard.send_text(CTRL_C)
    with pytest.raises(KeyboardInterrupt):
        terminal.text("name")
