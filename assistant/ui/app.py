"""The chat window: the prompt is there at once, the model loads behind it, one line is one turn or one command."""

import importlib
import os
import threading
import time
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from assistant.chat.commands import check_model
from assistant.chat.history import History
from assistant.chat.live import Live
from assistant.chat.reopen import OpenMark
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context, Registry
from assistant.core.errors import DataError, PZ2Error
from assistant.core.events import Failed
from assistant.core.paths import Paths
from assistant.ui import command, keys, lines
from assistant.ui.ask import Terminal
from assistant.ui.completion import ChatLine
from assistant.ui.pipe import answer, fine_tuning_words
from assistant.ui.render import Screen

BANNER = "PZ2. Ask anything. `help:` lists commands, `ft:` is fine-tuning, Ctrl-D leaves."
# Commands that need the model, like a message does.
_ANSWERING = ("retry", "edit", "expert")


def chat(paths: Paths, model: str, fine_tuning: Registry) -> int:
    """Run the chat window until it is left; returns the exit status."""
    live = Live(paths, configuration.load(paths))
    session = Session(paths, live, History(paths.history), pinned=check_model(model, live.store))
    window = _Window(paths, session, fine_tuning)
    try:
        return window.run()
    finally:
        with keys.kept():
            live.release()


class _Window:
    def __init__(self, paths: Paths, session: Session, fine_tuning: Registry) -> None:
        self._session = session
        self._fine_tuning = fine_tuning
        self._screen = Screen()
        self._context = Context(paths, questions=Terminal(self._screen), chat=session)
        self._mark = OpenMark(paths.logs)
        self._prompt = _prompt(paths, fine_tuning, session.live)
        self._unsent = ""

    def run(self) -> int:
        self._screen.say(BANNER)
        self._reopen()
        while not self._session.closed:
            try:
                text = self._read()
            except KeyboardInterrupt:
                self._screen.say("Ctrl-D or `quit:` leaves.")
                continue
            except EOFError:
                break
            if text.strip():
                self._line(text)
                self._mark.note(self._session.id)
        self._mark.close()
        return 0

    def _read(self) -> str:
        unsent, self._unsent = self._unsent, ""
        pinned = f"[{self._session.pinned}] " if self._session.pinned else ""
        return self._prompt.prompt([("bold", f"{pinned}> ")], default=unsent)

    def _line(self, text: str) -> None:
        words = lines.command(text)
        if words is not None and words[0] == "ft":
            self._ft(words[1])
        elif (words is None or words[0] in _ANSWERING) and not self._loaded():
            self._unsent = text
        else:
            with keys.kept():
                if words is None:
                    self._screen.think()
                events = answer(text, self._session, self._context, self._fine_tuning)
                self._screen.follow(command.addressed(events, self._fine_tuning, "ft: "))
        self._screen.console.print()

    def _ft(self, typed: str) -> None:
        if not typed.strip():
            from assistant.ui.menu import menu

            menu(self._fine_tuning, self._context, self._screen)
            return
        try:
            words = fine_tuning_words(self._fine_tuning, typed)
        except PZ2Error as error:
            self._screen.show(Failed(error.what, error.fix))
            return
        command.run(self._screen, self._fine_tuning, words, self._context, "ft: ")

    def _loaded(self) -> bool:
        """Wait until the model is there; False when the person did not want to wait. What went wrong is told by the answer itself."""
        live = self._session.live
        live.start()
        if live.ready:
            return True
        try:
            with keys.kept(), self._screen.waiting("loading the model"):
                while not live.ready:
                    time.sleep(0.02)
        except KeyboardInterrupt:
            self._screen.say("The question is back in the prompt; the model goes on loading.")
            return False
        return True

    def _reopen(self) -> None:
        number = self._mark.left_behind()
        if number is None:
            return
        try:
            self._session.open(number)
        except DataError:
            return
        if not self._session.turns:
            self._session.new()
            return
        last = " ".join(self._session.turns[-1].said.split())[:50]
        self._screen.say(
            f"The last window ended without leaving, so conversation {number} goes on here (last: “{last}”). `new:` begins another.",
            "pz2.notice",
        )
        self._mark.note(number)


def _prompt(paths: Paths, fine_tuning: Registry, live: Live) -> PromptSession[str]:
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(_private(paths.logs / "prompt_history"))),
        completer=ChatLine(fine_tuning, paths),
        complete_while_typing=False,
        multiline=True,
        prompt_continuation="  ",
        key_bindings=_bindings(),
        enable_open_in_editor=True,
        enable_suspend=True,
    )

    def load(_: Application[str]) -> None:
        # Loading holds the interpreter for a moment; it begins when the prompt is on the screen. What draws answers comes with it.
        prompt.app.after_render -= load
        live.start()
        threading.Thread(target=importlib.import_module, args=("assistant.ui.answer",), daemon=True).start()

    prompt.app.after_render += load
    return prompt


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return bindings


def _private(path: Path) -> Path:
    """A file that only its owner may read."""
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    return path
