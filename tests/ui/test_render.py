import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.core.events import EVENTS, Failed, Finished, Notice, Progress, Report, RouteChosen, Spans, Step, TextDelta, TurnDone
from assistant.ui import theme
from assistant.ui.plain import PlainPrinter
from assistant.ui.render import Screen
from tests.ui.samples import SHOWN, events, reply

WIDTH = 80


def drawn(*given_events, width=WIDTH, clock=lambda: 0.0):
    file = io.StringIO()
    screen = Screen(theme.console(width, file), clock)
    for event in given_events:
        screen.show(event)
    screen.rest()
    return file.getvalue()


def printed(*given_events):
    out, err = io.StringIO(), io.StringIO()
    printer = PlainPrinter(out, err)
    for event in given_events:
        printer.show(event)
    return out.getvalue() + err.getvalue()


def test_both_printers_know_every_event():
    assert {type(event) for event in events()} == set(EVENTS)


SAYING = [event for event in events() if not isinstance(event, RouteChosen | Finished)]


@pytest.mark.parametrize("event", SAYING, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("show", [drawn, printed])
def test_every_event_that_says_something_is_seen(event, show):
    assert show(event, Finished()).strip()


@pytest.mark.parametrize("show", [drawn, printed])
def test_text_is_never_markup_and_never_moves_the_cursor(show):
    text = show(*events())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert SHOWN in " ".join(text.split())


def test_nothing_is_wider_than_the_screen():
    assert max(len(line) for line in drawn(*events("word " * 60)).splitlines()) <= WIDTH


def test_the_line_under_an_answer_names_model_category_and_speed():
    text = drawn(TextDelta("Paris."), TurnDone(reply()))
    assert text.splitlines() == ["Paris.", "unified 0003 · qna 97% · confidence not calibrated · 131 tokens/s"]


def test_the_line_under_talk_says_that_confidence_is_not_for_it():
    assert "general 90% · confidence not for talk ·" in drawn(TurnDone(reply(category="general", category_probabilities={"general": 0.9})))


def test_an_answer_cut_as_a_loop_loses_the_loop_that_is_still_unfinished():
    text = drawn(TextDelta("Well, "), TextDelta("so so so so so so"), TurnDone(reply("Well, so", stopped="repetition")))
    assert text.splitlines()[0] == "Well, so"
    assert "stopped: it repeated itself" in " ".join(text.split())


def test_a_reply_that_was_not_streamed_is_drawn_whole():
    assert drawn(TurnDone(reply("All at once."))).startswith("All at once.")


def test_a_superseded_draft_stays_and_says_that_it_is_one():
    draft = (RouteChosen("unified", None, "qna", None, ""), TextDelta("Short draft."))
    better = (RouteChosen("qna", "0001", "qna", "confidence", ""), TextDelta("Long answer."), TurnDone(reply("Long answer.")))
    text = drawn(*draft, *better)
    assert text.index("Short draft.") < text.index("a first draft") < text.index("Long answer.")


@pytest.mark.parametrize("show", [drawn, printed])
def test_between_a_draft_and_the_better_answer_stands_why(show):
    draft = (RouteChosen("unified", None, "qna", None, ""), TextDelta("Short draft."))
    reason = "its complexity is 75%, above 60%, so the technical specialist answers"
    better = (
        RouteChosen("technical", "0001", "technical", "complexity", reason),
        TextDelta("Long answer."),
        TurnDone(reply("Long answer.")),
    )
    text = show(*draft, *better)
    assert f"(a first draft: {reason})" in " ".join(text.split())
    assert text.index("Short draft.") < text.index("(a first draft") < text.index("Long answer.")


def test_progress_ends_as_one_line_with_its_figures_and_the_loss_curve():
    steps = [Progress(step, 4, "steps", {"loss": 3.0 / step, "tokens/s": 480.0}, 4.0 - step) for step in range(1, 5)]
    last = drawn(*steps).splitlines()[-2:]
    assert last[0] == "4/4 steps · loss 0.75 · tokens/s 480"
    assert re.fullmatch(r"loss \S{4} 3 → 0\.75", last[1])


def test_the_validation_losses_have_a_curve_of_their_own():
    measured = {1: 3.0, 2: 3.0, 3: 2.5, 4: 2.0}
    steps = [Progress(step, 4, "steps", {"loss": 1.0, "validation loss": loss}, 4.0 - step) for step, loss in measured.items()]
    assert re.fullmatch(r"validation loss \S{3} 3 → 2", drawn(*steps).splitlines()[-1])


def test_progress_that_was_cut_short_still_shows_how_far_it_came():
    assert "3/10 steps" in drawn(Step("Training"), Progress(3, 10, "steps"), Failed("The disk is full.", "Free some."))


def test_the_loss_mask_shows_without_colour_what_is_trained():
    assert "User: hi [Hello!]" in drawn(Report("Row 1", {}, (Spans("mask", (("User: hi ", False), ("Hello!", True))),)))


def test_a_warning_can_be_told_from_a_notice_without_colour():
    assert drawn(Notice("careful", "warning")) != drawn(Notice("careful"))


def test_following_a_command_returns_its_status():
    screen = Screen(theme.console(WIDTH, io.StringIO()))
    assert screen.follow(iter([Notice("x"), Finished(1)])) == 1


def test_ctrl_c_closes_the_work_and_says_stopped_under_an_answer():
    closed = []

    def answering():
        try:
            yield TextDelta("Half an ans")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    file = io.StringIO()
    assert Screen(theme.console(WIDTH, file)).follow(answering()) == 130
    assert closed
    assert file.getvalue().splitlines() == ["Half an ans", "stopped"]


def test_ctrl_c_in_a_command_says_interrupted():
    def working():
        yield Step("Counting")
        raise KeyboardInterrupt

    file = io.StringIO()
    assert Screen(theme.console(WIDTH, file)).follow(working()) == 130
    assert file.getvalue().splitlines()[-1] == "Interrupted."


HOSTILE = st.text(alphabet="\x1b[]0;m\r\n\x07a- *`#>|1.", max_size=40)
MARKDOWN = st.lists(
    st.sampled_from(
        [
            "# Head",
            "para",
            "- a",
            "- b",
            "  - c",
            "1. one",
            "2. two",
            "```py",
            "x = 1",
            "```",
            "| a | b |",
            "|---|---|",
            "| 1 | 2 |",
            "> quote",
            "---",
            "===",
            "**bold",
            "*",
            "",
            "",
            "    code",
            "<b>tag</b>",
            "`x",
            "[l](http://a)",
            "[r]: http://b",
            "\t",
            "\\",
            "&amp;",
        ]
    ),
    max_size=14,
).map("\n".join)


@given(MARKDOWN | st.text(max_size=120) | HOSTILE, st.integers(1, 9), st.integers(20, 100))
@settings(max_examples=300, deadline=None)
def test_an_answer_looks_the_same_however_it_was_cut_into_pieces(text, size, width):
    pieces = [TextDelta(text[place : place + size]) for place in range(0, len(text), size)]
    assert drawn(*pieces, Finished(), width=width) == drawn(TextDelta(text), Finished(), width=width)


@given(MARKDOWN)
@settings(max_examples=200, deadline=None)
def test_no_word_of_an_answer_is_lost(text):
    shown = drawn(TextDelta(text), TurnDone(reply(text.strip())), width=200)
    for word in ("para", "quote", "tag", "code"):
        assert shown.count(word) == text.count(word)
