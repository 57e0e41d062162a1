import sys
import time

import pytest

from assistant.chat.history import History
from assistant.engine import embedded

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals there", allow_module_level=True)

from tests.terminal.terminal import CTRL_C, CTRL_D, ENTER, PROJECT, Terminal

LONG = "The quick brown fox jumps over the lazy dog and thinks about the weather of tomorrow. " * 75


@pytest.fixture
def window(paths):
    for _ in embedded.ensure(paths):
        pass
    terminal = Terminal([str(PROJECT / "main.py"), "--root", str(paths.root)])
    yield terminal
    terminal.kill()


def test_the_first_answer_of_the_real_base_streams_into_the_window(window, paths):
    window.until("\n>")
    window.type("What is the capital of France?" + ENTER)
    assert "Paris" in window.until("tokens/s", 60)
    window.type(CTRL_D)
    assert window.leave() == 0
    assert [item.title for item in History(paths.history).listed()] == ["What is the capital of France?"]


def test_ctrl_c_in_a_long_prefill_of_the_real_engine_is_heard_and_the_next_question_answered(window, paths):
    window.until("\n>")
    window.type("Hello" + ENTER)
    window.until_matches(r"tokens/s.*\n\n>", 60)
    window.read(0.5)
    window.type(f"\x1b[200~{LONG}\x1b[201~" + ENTER)
    window.until_matches(r"\n[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", 30)
    window.read(0.3)
    window.type(CTRL_C)
    started = time.monotonic()
    window.until("stopped", 20)
    assert time.monotonic() - started < 5
    window.type("What is the capital of France?" + ENTER)
    window.until("Paris", 60)
    window.read(1)
    window.type(CTRL_D)
    assert window.leave() == 0
    assert [turn.said for turn in History(paths.history).turns(1)] == ["Hello", "What is the capital of France?"]


def test_leaving_while_the_model_still_loads_ends_well(window):
    window.until("\n>")
    window.type(CTRL_D)
    assert window.leave() == 0
