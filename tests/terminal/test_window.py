import os
import re
import signal
import time

from assistant.chat.history import History
from tests.terminal.terminal import ALT_ENTER, CTRL_C, CTRL_D, CTRL_J, DOWN, ENTER, PROJECT, TAB, UP, Terminal

PROMPT = "\n>"


def saved(paths):
    history = History(paths.history)
    return [turn.said for item in history.listed() for turn in history.turns(item.id)]


def test_an_answer_streams_and_carries_one_line_about_itself(window, paths):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("hello" + ENTER)
    text = terminal.until("tokens/s")
    assert "You said: 'hello'." in text
    assert "base · confidence not calibrated" in text
    terminal.type(CTRL_D)
    assert terminal.leave() == 0
    assert saved(paths) == ["hello"]


def test_the_prompt_is_there_while_the_model_loads_and_a_question_waits(window):
    terminal = window(load=2)
    started = time.monotonic()
    terminal.until(PROMPT)
    terminal.type("early" + ENTER)
    terminal.until("loading the model")
    assert time.monotonic() - started < 10
    text = terminal.until("tokens/s")
    assert "You said: 'early'." in text
    assert "loading the model" not in text


def test_ctrl_c_while_the_model_loads_gives_the_question_back(window):
    terminal = window(load=2)
    terminal.until(PROMPT)
    terminal.type("early" + ENTER)
    terminal.until("loading the model")
    terminal.type(CTRL_C)
    terminal.until("The question is back in the prompt")
    terminal.read(2.5)
    terminal.type(" bird" + ENTER)
    terminal.until("You said: 'early bird'.")


def test_ctrl_c_in_the_middle_of_an_answer_stops_the_answer_and_not_the_program(window, paths):
    terminal = window(token=0.01)
    terminal.until(PROMPT)
    terminal.type("Tell me a story" + ENTER)
    terminal.until("day 3")
    terminal.type(CTRL_C)
    terminal.until("stopped")
    terminal.type("still there?" + ENTER)
    text = terminal.until("You said: 'still there?'.")
    assert "The end" not in text
    terminal.until("tokens/s")
    assert saved(paths) == ["still there?"]


def test_ctrl_c_in_a_long_prefill_is_heard_at_once(window, paths):
    terminal = window(prefill=30)
    terminal.until(PROMPT)
    terminal.type("slow" + ENTER)
    terminal.read(0.7)
    terminal.type(CTRL_C)
    terminal.until("stopped", 3)
    terminal.type(CTRL_D)
    assert terminal.leave() == 0
    assert saved(paths) == []


def test_ctrl_c_clears_a_line_and_on_an_empty_one_says_how_to_leave(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("never sent" + CTRL_C + "sent" + ENTER)
    assert "never" not in terminal.until("You said: 'sent'.")
    terminal.until("tokens/s")
    terminal.type(CTRL_C)
    terminal.until("Ctrl-D or `quit:` leaves.")


def test_a_message_may_have_several_lines(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("one" + ALT_ENTER + "two" + CTRL_J + "three\\" + ENTER + "four" + ENTER)
    terminal.until(r"You said: 'one\ntwo\nthree\nfour'.")


def test_pasted_line_breaks_stay_and_do_not_send(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("\x1b[200~first\r\nsecond\x1b[201~")
    terminal.read(0.5)
    assert "You said" not in terminal.text
    terminal.type(ENTER)
    terminal.until(r"You said: 'first\nsecond'.")


def test_up_brings_back_what_was_typed_also_in_the_next_window(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("remember me" + ENTER)
    terminal.until("tokens/s")
    terminal.type(CTRL_D)
    terminal.leave()
    again = window()
    again.until(PROMPT)
    again.type(UP)
    again.until("> remember me")


def test_what_was_typed_is_for_its_owner_alone(window, paths):
    terminal = window()
    terminal.until(PROMPT)
    assert (paths.logs / "prompt_history").stat().st_mode & 0o077 == 0


def test_tab_completes_commands_their_flags_and_models(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("sta" + TAB)
    terminal.until("> status:")
    terminal.type(CTRL_C + "ft: val" + TAB)
    terminal.until("> ft: validate")
    terminal.type(CTRL_C + "ft: train unified --pre" + TAB)
    terminal.until("> ft: train unified --preset")
    terminal.type(CTRL_C + "model: tech" + TAB)
    terminal.until("> model: technical")


def test_what_is_typed_during_an_answer_waits_and_is_not_echoed_into_it(window):
    terminal = window(token=0.005)
    terminal.until(PROMPT)
    terminal.type("Tell me a story" + ENTER)
    terminal.until("day 2")
    terminal.type("typed ahead" + ENTER)
    text = terminal.until("You said: 'typed ahead'.")
    answer = text[text.index("Once upon") : text.index("tokens/s")]
    assert "typed ahead" not in answer


def test_an_answer_longer_than_the_screen_is_there_once_and_whole(window):
    terminal = window(token=0.001, rows=12, columns=60)
    terminal.until(PROMPT)
    terminal.type("Count" + ENTER)
    text = terminal.until("tokens/s")
    numbers = [int(number) for number in re.findall(r"item (\d+)", text)]
    assert numbers == list(range(1, 31))
    assert text.count("After the list.") == 1


def test_ft_alone_opens_the_menu_and_0_comes_back(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("ft:" + ENTER)
    terminal.until("Number:")
    terminal.type("12" + ENTER)
    terminal.until("scripted")
    terminal.until("Number:")
    terminal.type("0" + ENTER)
    terminal.read(0.5)
    terminal.type("back again" + ENTER)
    terminal.until("You said: 'back again'.")


def test_ft_with_words_runs_one_command(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("ft: status" + ENTER)
    terminal.until("hybrid mode is off")
    terminal.type("ft: statsu" + ENTER)
    terminal.until("Did you mean `ft: status`?")


def test_a_wrong_number_gets_its_sentence_and_the_menu_stays(window):
    terminal = window("ft")
    terminal.until("Number:")
    terminal.type("99" + ENTER)
    terminal.until("99 is not in the menu.")
    terminal.until("Number:")
    terminal.type("0" + ENTER)
    assert terminal.leave() == 0


def test_the_menu_is_walked_with_arrows_and_asks_for_missing_words(window):
    terminal = window("ft")
    terminal.until("Number:")
    terminal.type(DOWN)
    terminal.until(">  1  Generate")
    terminal.type(CTRL_C + "14" + ENTER)
    terminal.until("Which model")
    terminal.type("qna" + ENTER)
    terminal.until("nothing to go back to")
    terminal.type("14" + ENTER)
    terminal.until("Which model")
    terminal.type(CTRL_C)
    terminal.until("Interrupted.")
    terminal.until("Number:")
    terminal.type(CTRL_D)
    assert terminal.leave() == 0


def test_a_conversation_goes_on_after_a_crash(window, paths):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("before the crash" + ENTER)
    terminal.until("tokens/s")
    terminal.read(0.3)
    os.kill(terminal.child.pid, signal.SIGKILL)
    again = window()
    assert "“before the crash”" in again.until("conversation 1 goes on here")
    again.type("after it" + ENTER)
    again.until("You said: 'after it'.")
    again.until("tokens/s")
    again.type("quit:" + ENTER)
    assert again.leave() == 0
    assert saved(paths) == ["before the crash", "after it"]
    third = window()
    third.until(PROMPT)
    third.read(0.3)
    assert "goes on here" not in third.text


def test_another_open_window_is_no_crash(window):
    first = window()
    first.until(PROMPT)
    first.type("I am open" + ENTER)
    first.until("tokens/s")
    second = window()
    second.until(PROMPT)
    second.read(0.3)
    assert "goes on here" not in second.text


def test_a_terminal_without_colour_or_cursor_works(window):
    terminal = window(TERM="dumb", NO_COLOR="1")
    terminal.until(PROMPT)
    terminal.type("plain" + ENTER)
    terminal.until("You said: 'plain'.")
    terminal.until("tokens/s")
    assert b"\x1b[3" not in terminal.raw


def test_no_colour_means_no_colour(window):
    terminal = window(NO_COLOR="1")
    terminal.until(PROMPT)
    terminal.type("help:" + ENTER)
    terminal.until("Ctrl-C stops the answer")
    assert not re.search(rb"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|4[0-7]|38;5)", terminal.raw)


def test_escape_sequences_of_a_message_do_not_reach_the_terminal(window):
    terminal = window()
    terminal.until(PROMPT)
    terminal.type("Escape" + ENTER)
    text = terminal.until("tokens/s")
    assert "red[/b]here" in text
    assert b"\x1b]0;owned" not in terminal.raw


IN_THE_BACKGROUND = """
import os, sys
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
_, status = os.waitpid(pid, os.WUNTRACED)
print("STOPPED" if os.WIFSTOPPED(status) else f"ENDED {os.WEXITSTATUS(status)}")
"""


def test_a_command_in_the_background_of_a_shell_is_not_stopped_by_its_terminal(paths):
    terminal = Terminal(["-c", IN_THE_BACKGROUND, str(PROJECT / "main.py"), "ft", "status", "--root", str(paths.root)])
    try:
        terminal.until_matches("STOPPED|ENDED")
        assert "ENDED 0" in terminal.text
    finally:
        terminal.kill()


def test_the_menu_of_a_low_window_scrolls_to_the_chosen_line(window):
    terminal = window("ft", rows=8)
    terminal.until("Number:")
    terminal.type("14")
    terminal.until("> 14  Roll a model back")
    terminal.until("Number: 14")
