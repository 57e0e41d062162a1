"""``--ask``: one question, one answer."""

from collections.abc import Iterator

from assistant.chat.commands import check_model
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context, guarded
from assistant.core.errors import UsageError
from assistant.core.events import Event
from assistant.core.paths import Paths
from assistant.core.prompts import SYSTEM


def ask(paths: Paths, question: str, model: str = "auto", category: str | None = None) -> Iterator[Event]:
    """The events of one greedy answer; nothing is kept."""
    return guarded("--ask", _events(paths, question, model, category), Context(paths))


def _events(paths: Paths, question: str, model: str, category: str | None) -> Iterator[Event]:
    live = Live(paths, configuration.load(paths))
    pinned = check_model(model, live.store)
    if category is not None and category not in SYSTEM:
        raise UsageError(f"There is no category '{category}'.", f"Choose from {', '.join(SYSTEM)}.")
    live.start()
    session = Session(paths, live, greedy=True, pinned=pinned, system=SYSTEM[category] if category else None)
    yield from session.say(question)
