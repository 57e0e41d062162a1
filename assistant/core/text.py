"""Text of a person, a model or a file, made safe for a terminal."""

import re

# Escape sequences: CSI, OSC up to its end, and two-letter ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-_a-z0-9=>])")
# A joiner and a variation selector belong to emoji, so they stay.
_KEPT = frozenset("\n\t\u200d\ufe0f")


def clean(text: str) -> str:
    """Text without escape sequences and control characters, which could move the cursor or hide text; line breaks and tabs stay."""
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return "".join(letter if letter in _KEPT or letter.isprintable() else " " * letter.isspace() for letter in text)
