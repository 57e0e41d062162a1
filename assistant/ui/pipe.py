"""The chat and the menu for a pipe: plain lines in, plain text out."""

from collections.abc import Iterator
from typing import TextIO

from assistant.chat.commands import REGISTRY as CHAT
from assistant.chat.commands import check_model
from assistant.chat.history import History
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context, Registry, guarded, split
from assistant.core.events import Event
from assistant.core.paths import Paths
from assistant.ui import lines
from assistant.ui.cli import show


def chat_lines(paths: Paths, source: TextIO, model: str, fine_tuning: Registry) -> int:
    """Answer each line of ``source``; returns the worst exit status."""
    live = Live(paths, configuration.load(paths))
    session = Session(paths, live, History(paths.history), pinned=check_model(model, live.store))
    live.start()
    context = Context(paths, chat=session)
    worst = 0
    for line in source:
        text = line.strip()
        if lines.command(text) == ["ft", ""]:
            worst = max(worst, menu_lines(fine_tuning, context, source))
        elif text:
            worst = max(worst, show(answer(text, session, context, fine_tuning)))
        if session.closed or worst == 130:
            break
    live.release()
    return worst


def answer(text: str, session: Session, context: Context, fine_tuning: Registry) -> Iterator[Event]:
    """The events of one typed line: a command or a message."""
    words = lines.command(text)
    if words is None:
        return guarded("answer", session.say(text), context)
    if words[0] == "ft":
        return guarded(f"ft: {words[1]}", _fine_tuning(fine_tuning, words[1], context), context)
    return CHAT.run(words, context)


def menu_lines(registry: Registry, context: Context, source: TextIO) -> int:
    """Run each line of ``source``: a menu number, or a command with its words; 0 leaves. Returns the worst exit status."""
    worst = 0
    print_menu(registry)
    for line in source:
        text = line.strip()
        if text == "0":
            break
        if text:
            worst = max(worst, show(guarded(text, _fine_tuning(registry, text, context), context)))
        if worst == 130:
            break
    return worst


def print_menu(registry: Registry) -> None:
    """The numbered menu as plain lines."""
    print("PZ2 fine-tuning")
    for item, _ in registry.menu():
        print(f"  {item.number:>2}  {item.label}")
    print("   0  Back", flush=True)


def fine_tuning_words(registry: Registry, text: str) -> list[str]:
    """The command line a typed one stands for: a menu number is replaced by its words. An empty one is a UsageError."""
    words = split(text)
    if words and words[0].isdigit():
        words = [*registry.numbered(int(words[0])), *words[1:]]
    return words


def _fine_tuning(registry: Registry, text: str, context: Context) -> Iterator[Event]:
    yield from registry.run(fine_tuning_words(registry, text), context)
