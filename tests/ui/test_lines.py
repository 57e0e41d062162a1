import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.ui import lines


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("retry:", ["retry"]),
        ("/retry", ["retry"]),
        ("  help:  ", ["help"]),
        ("exit:", ["quit"]),
        ("model: qna", ["model", "qna"]),
        ("/model qna", ["model", "qna"]),
        ("ft:", ["ft", ""]),
        ("ft: train qna --preset fast", ["ft", "train qna --preset fast"]),
        ("edit: two\nlines", ["edit", "two\nlines"]),
    ],
)
def test_a_known_word_with_a_colon_or_slash_is_a_command(line, words):
    assert lines.command(line) == words


@pytest.mark.parametrize(
    "line", ["note: buy milk", "/etc/hosts is a file", "help", "Help me: how?", "retry please", "https://x", ":", "/", ""]
)
def test_any_other_line_is_a_message(line):
    assert lines.command(line) is None


@pytest.mark.parametrize("line", ["retyr:", "/retyr", "/staus", "quite:", "modle: base", "sesions: 3"])
def test_a_slip_in_a_command_is_no_message_to_the_model(line):
    assert lines.command(line) == [line.partition(":")[0].strip("/")]


@pytest.mark.parametrize("line", ["edti: say it in two words", "/usr", "note:", "todo:", "note: milk"])
def test_what_resembles_no_command_or_says_more_is_a_message(line):
    assert lines.command(line) is None


@given(st.text())
def test_no_line_breaks_the_reader(line):
    assert lines.command(line) is None or lines.command(line)[0]
