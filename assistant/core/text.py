"""Text of a person, a model or a file, made safe for a terminal; and words that were probably meant."""

import difflib
import re

# Escape sequences: CSI, OSC up to its end, and two-letter ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)?|[@-_a-z0-9=>])")
# The beginning of one, or of a line break of Windows, at the end of what has come.
_BEGUN = re.compile(r"\r\Z|\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b\n]{0,200}\x1b?)?\Z")
# A joiner and a variation selector belong to emoji, so they stay.
_KEPT = frozenset("\n\t\u200d\ufe0f")


def clean(text: str) -> str:
    """Text without escape sequences and control characters, which could move the cursor or hide text; line breaks and tabs stay."""
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return "".join(letter if letter in _KEPT or letter.isprintable() else " " * letter.isspace() for letter in text)


class Cleaner:
    """``clean`` for a text that comes in pieces, which may cut an escape sequence in two."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What of the text so far may be shown now."""
        text, self._held = self._held + piece, ""
        if begun := _BEGUN.search(text):
            text, self._held = text[: begun.start()], text[begun.start() :]
        return clean(text)


def meant(name: str, known: list[str]) -> str:
    """The beginning of an advice that names the known word that was probably meant; "" where none is near."""
    near = closest(name, known)
    return f"Did you mean '{near}'? " if near else ""


def closest(name: str, known: list[str]) -> str | None:
    """The known word that is spelt most like a name, or None."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)
