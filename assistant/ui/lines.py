"""Is a typed line a command or a message?"""

import re

from assistant.chat.commands import REGISTRY
from assistant.core.errors import UsageError

_WORD = re.compile(r"(?:/(?P<slash>[a-z]+)(?::|\s|$)|(?P<colon>[a-z]+):)\s*(?P<rest>.*)", re.DOTALL)


def command(line: str) -> list[str] | None:
    """A command line as its name and the rest, or None for a message.

    ``retry:`` and ``/retry`` are commands; ``note: buy milk`` and ``/etc/hosts is …`` are messages, because their first word is no command.
    """
    match = _WORD.fullmatch(line.strip())
    if match is None:
        return None
    try:
        found = REGISTRY.find(match["slash"] or match["colon"])
    except UsageError:
        return None
    return [found.name, match["rest"].strip()] if match["rest"].strip() or found.params else [found.name]
