"""Questions to the person in front of the terminal. questionary is imported at the first one: the prompt does not wait for it."""

from collections.abc import Sequence
from types import ModuleType

from assistant.core.text import clean
from assistant.ui import keys
from assistant.ui.render import Screen


class Terminal:
    """Asks with questionary. Ctrl-C raises KeyboardInterrupt, which ``Screen.follow`` catches for every command."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def text(self, question: str, default: str = "") -> str:
        """A line of text."""
        questionary = self._begin()
        return str(questionary.text(_sentence(question), default=default).unsafe_ask()).strip()

    def choice(self, question: str, options: Sequence[str], default: str | None = None) -> str:
        """One of the options."""
        questionary = self._begin()
        chosen = default if default in options else None
        return str(
            questionary.select(_sentence(question), choices=list(options), default=chosen, instruction="(arrows, Enter)").unsafe_ask()
        )

    def confirm(self, question: str, default: bool = False) -> bool:
        """Yes or no."""
        questionary = self._begin()
        return bool(questionary.confirm(clean(question), default=default).unsafe_ask())

    def _begin(self) -> ModuleType:
        import questionary

        self._screen.rest()
        keys.forget()
        return questionary


def _sentence(text: str) -> str:
    text = clean(text)
    return text[:1].upper() + text[1:]
