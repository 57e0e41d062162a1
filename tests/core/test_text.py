from hypothesis import given
from hypothesis import strategies as st

from assistant.core.text import Cleaner, clean


def test_escape_sequences_go_whole():
    assert clean("a\x1b[31mred\x1b[0m \x1b]0;title\x07b\x1bMc") == "ared bc"


def test_control_characters_go_and_line_breaks_tabs_and_emoji_stay():
    assert clean("a\x00b\x08c\nd\te 👩‍💻 ❤️") == "abc\nd\te 👩‍💻 ❤️"


def test_spaces_of_other_alphabets_become_spaces():
    assert clean("a\u00a0b\u3000c\u2028d") == "a b c d"


def test_letters_that_reverse_the_reading_direction_go():
    assert clean("safe\u202egnp.exe") == "safegnp.exe"


def test_a_sequence_that_comes_in_pieces_goes_whole_too():
    cleaner = Cleaner()
    assert "".join(cleaner.feed(letter) for letter in "x\x1b[31mred\x1b]0;t\x07y") == "xredy"


@given(st.text())
def test_what_is_clean_stays_as_it_is(text):
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet="a\x1b[]0;m\x07\n\\ 9", max_size=30))
def test_nothing_that_is_fed_can_reach_the_terminal_as_a_control(text):
    cleaner = Cleaner()
    assert "\x1b" not in "".join(cleaner.feed(letter) for letter in text)
