"""Is a typed line a command or a message?"""

import difflib
import re

from assistant.chat.commands import REGISTRY
from assistant.core.errors import UsageError

# How like a command a word must be to be a slip: alone, and with one word after it, when it could be a message.
_ALONE, _WITH_A_WORD = 0.6, 0.8
_WORD = re.compile(r"(?:/(?P<slash>[a-z]+)(?::|\s|$)|(?P<colon>[a-z]+):)\s*(?P<rest>.*)", re.DOTALL)


def command(line: str) -> list[str] | None:
    """A command line as its name and the rest, or None for a message.

    ``retry:`` and ``/retry`` are commands; ``note: buy milk`` and ``/etc/hosts is …`` are messages, because their first word is no command.
    ``retyr:`` alone and ``modle: base`` are slips: commands too, which the table answers with the nearest right one.
    """
    match = _WORD.fullmatch(line.strip())
    if match is None:
        return None
    name = match["slash"] or match["colon"]
    try:
        found = REGISTRY.find(name)
    except UsageError:
        likeness = _ALONE if not match["rest"] else _WITH_A_WORD
        slip = len(match["rest"].split()) <= 1 and difflib.get_close_matches(name, [known.name for known in REGISTRY.commands], 1, likeness)
        return [name] if slip else None
    return [found.name, match["rest"].strip()] if match["rest"].strip() or found.params else [found.name]
