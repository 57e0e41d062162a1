"""Is a typed line a command or a message?"""

import difflib
import re

from assistant.chat.commands import REGISTRY
from assistant.core.errors import UsageError

_WORD = re.compile(r"(?:/(?P<slash>[a-z]+)(?::|\s|$)|(?P<colon>[a-z]+):)\s*(?P<rest>.*)", re.DOTALL)


def command(line: str) -> list[str] | None:
    """A command line as its name and the rest, or None for a message.

    ``retry:`` and ``/retry`` are commands; ``note: buy milk`` and ``/etc/hosts is …`` are messages, because their first word is no command.
    ``retyr:`` alone is a slip: it is a command too, which the table answers with the nearest right one.
    """
    match = _WORD.fullmatch(line.strip())
    if match is None:
        return None
    name = match["slash"] or match["colon"]
    try:
        found = REGISTRY.find(name)
    except UsageError:
        slip = not match["rest"] and difflib.get_close_matches(name, [known.name for known in REGISTRY.commands], n=1)
        return [name] if slip else None
    return [found.name, match["rest"].strip()] if match["rest"].strip() or found.params else [found.name]
