import io

import pytest

from assistant.core.commands import Command, Context, MenuItem, Param, Registry
from assistant.core.events import Finished, Notice, Report
from assistant.core.events import Lines as LinesBlock
from assistant.ui import theme
from assistant.ui.ask import Terminal
from assistant.ui.menu import menu
from assistant.ui.render import Screen

DOWN, UP, ENTER, CTRL_C, CTRL_D = "\x1b[B", "\x1b[A", "\r", "\x03", "\x04"


def greet(context, name, times):
    yield Notice(" ".join([f"Hello {name}."] * times))


def look(context, view):
    yield Report("Look", view, (LinesBlock("", (f"view {view}",)),))
    yield Finished(1)


TOY = Registry(
    (
        Command(
            "greet",
            "say hello",
            f"{__name__}:greet",
            (Param("name", "whom", positional=True, required=True), Param("times", "how often", "int", default=1)),
            (MenuItem(2, "Greet"), MenuItem(3, "Greet Ann twice", ("Ann", "--times", "2"))),
        ),
        Command(
            "look",
            "look",
            f"{__name__}:look",
            (Param("view", "what", positional=True, choices=("near", "far"), default="near"),),
            (MenuItem(14, "Look"),),
        ),
    )
)


@pytest.fixture
def visit(paths, keyboard, monkeypatch):
    import sys

    # Targets are found by module name, and pytest gives a test module one of its own.
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])

    def typed(keys):
        file = io.StringIO()
        screen = Screen(theme.console(80, file))
        keyboard.send_text(keys)
        assert menu(TOY, Context(paths, questions=Terminal(screen)), screen) == 0
        return file.getvalue()

    return typed


def test_0_and_ctrl_d_go_back(visit):
    assert visit("0" + ENTER) == ""
    assert visit(CTRL_D) == ""


def test_a_number_runs_its_command_and_the_menu_comes_again(visit):
    text = visit("2 Ann" + ENTER + "2 Ben" + ENTER + "0" + ENTER)
    assert "Hello Ann." in text
    assert "Hello Ben." in text


def test_a_number_takes_flags_behind_it_and_they_win(visit):
    text = visit("2 Ben --times 2" + ENTER + "3 --times 1" + ENTER + "0" + ENTER)
    assert "Hello Ben. Hello Ben." in text
    assert "Hello Ann." in text and "Hello Ann. Hello Ann." not in text


def test_a_missing_word_is_asked_for(visit):
    assert "Hello Cleo." in visit("2" + ENTER + "Cleo" + ENTER + "0" + ENTER)


def test_a_bare_number_asks_which_of_the_choices_is_meant(visit):
    assert "view far" in visit("14" + ENTER + DOWN + ENTER + "0" + ENTER)
    assert "view near" in visit("14 near" + ENTER + "0" + ENTER)


def test_arrows_choose_a_number(visit):
    assert "Hello D." in visit(DOWN + ENTER + "D" + ENTER + UP + ENTER)


def test_a_wrong_number_and_a_wrong_word_get_their_sentences(visit):
    text = visit("99" + ENTER + "gret" + ENTER + '2 "open' + ENTER + "0" + ENTER)
    assert "99 is not in the menu." in text
    assert "Choose one of 2, 3, 14, or 0 to go back." in text
    assert "Did you mean `greet`?" in text
    assert "Close the quote." in text


def test_ctrl_c_at_a_question_returns_to_the_menu(visit):
    text = visit("2" + ENTER + CTRL_C + "2 E" + ENTER + "0" + ENTER)
    assert "Interrupted." in text
    assert "Hello E." in text
