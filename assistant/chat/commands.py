"""The chat's half of the command table: what a line like ``retry:`` or ``/retry`` does."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from assistant.chat import pins
from assistant.chat.session import Session
from assistant.core import files
from assistant.core.commands import Command, Context, Param, Registry
from assistant.core.errors import UsageError
from assistant.core.events import Event, Lines, Notice, Report, Table
from assistant.core.store import BUILT_IN, Store, no_model
from assistant.router.why import explain

COMMANDS: tuple[Command, ...] = (
    Command("help", "what can be typed here", "assistant.chat.commands:show_help"),
    Command(
        "ft",
        "the fine-tuning menu, or one of its commands: `ft: status`",
        "assistant.chat.commands:menu",
        (Param("words", "a command", rest=True),),
    ),
    Command(
        "model",
        "pin the model of this conversation, or `auto`",
        "assistant.chat.commands:model",
        (Param("name", "auto, base, unified, qna …", rest=True),),
    ),
    Command(
        "expert",
        "ask the specialist: the last question, or a new one",
        "assistant.chat.commands:expert",
        (Param("question", "a question", rest=True),),
    ),
    Command("why", "why the last answer came from that model", "assistant.chat.commands:why"),
    Command("good", "the last answer was right; between two answers: the better one", "assistant.chat.verdicts:good"),
    Command(
        "bad",
        "the last answer was wrong: `bad: a better answer`",
        "assistant.chat.verdicts:bad",
        (Param("answer", "a better answer", rest=True),),
    ),
    Command("retry", "answer the last message once more", "assistant.chat.commands:retry"),
    Command("undo", "take the last turn away", "assistant.chat.commands:undo"),
    Command(
        "edit",
        "replace the last message: `edit: better words`",
        "assistant.chat.commands:edit",
        (Param("text", "the new message", rest=True, required=True),),
    ),
    Command("new", "begin a new conversation", "assistant.chat.commands:new"),
    Command(
        "sessions",
        "list earlier conversations, or open one: `sessions: 3`",
        "assistant.chat.commands:sessions",
        (Param("number", "its number", rest=True),),
    ),
    Command(
        "save",
        "write this conversation to a file: `save: talk.md`",
        "assistant.chat.commands:save",
        (Param("file", "the Markdown file", rest=True, required=True),),
    ),
    Command("status", "what is trained, live and loaded", "assistant.chat.models:status"),
    Command("quit", "leave", "assistant.chat.commands:leave", aliases=("exit",)),
)

REGISTRY = Registry(COMMANDS)


def show_help(context: Context) -> Iterator[Event]:
    """The commands of the chat."""
    rows = tuple((f"{command.name}:", command.summary) for command in COMMANDS)
    keys = (
        "Enter sends; Alt-Enter or Ctrl-J begins a new line; a line that ends in \\ goes on.",
        "Up and down go through what you typed. Tab completes commands.",
        "Ctrl-C stops the answer, not the program. Ctrl-D or `quit:` leaves.",
        "`/help` works like `help:`. Any other line is a message.",
    )
    yield Report("Help", {command.name: command.summary for command in COMMANDS}, (Table(("type", "to"), rows), Lines("Keys", keys)))


def menu(context: Context, words: str) -> Iterator[Event]:
    """The door opens the fine-tuning menu itself; this line is reached only where there is none."""
    raise UsageError("The fine-tuning menu is opened by the chat window.", "Use `python main.py ft` in a shell.")
    yield


def model(context: Context, name: str) -> Iterator[Event]:
    """Pin a model for this conversation."""
    session = _session(context)
    name = name.strip()
    if not name:
        everywhere = pins.pinned(session.paths)
        shown = session.pinned or (f"{everywhere}, pinned for every chat" if everywhere else "auto: the router decides")
        yield Report(
            "Model",
            {"pinned": session.pinned},
            (Lines("Model of this conversation", (shown, f"Choose from: {', '.join(model_names(session.live.store))}")),),
        )
        return
    session.pinned = check_model(name, session.live.store)
    everywhere = pins.pinned(session.paths)
    yield Notice(
        (f"{everywhere} answers: it is pinned for every chat. `ft: switch auto` ends that." if everywhere else "The router decides again.")
        if name == "auto"
        else f"{name} answers this conversation from now on. `model: auto` gives it back to the router."
    )


def expert(context: Context, question: str) -> Iterator[Event]:
    """Ask the specialist: the question given, or the previous one."""
    session = _session(context)
    if question.strip():
        yield from session.say(question, expert=True)
    elif session.turns:
        yield from session.say(session.turns[-1].reply.question, expert=True)
    else:
        raise UsageError("There is no question yet to ask the expert.", "Write it after the colon: `expert: how do I …`.")


def why(context: Context) -> Iterator[Event]:
    """The reason of the last route, with its numbers."""
    session = _session(context)
    if not session.turns:
        raise UsageError("There is no answer yet to explain.", "Ask something first.")
    turn = session.turns[-1]
    reply = turn.reply
    lines = explain(reply, turn.draft, session.live.trained(), session.live.settings.router)
    data = {
        "reason": reply.reason,
        "trigger": reply.trigger,
        "category_probabilities": reply.category_probabilities,
        "complexity": reply.complexity,
        "confidence": reply.confidence,
        "draft_confidence": turn.draft.confidence if turn.draft else None,
        "otherwise": lines[-1],
    }
    yield Report("Why", data, (Lines("", tuple(lines)),))


def retry(context: Context) -> Iterator[Event]:
    """Answer the last message once more."""
    yield from _session(context).retry()


def undo(context: Context) -> Iterator[Event]:
    """Take the last turn away."""
    turn = _session(context).undo()
    yield Notice(f"Taken away: “{turn.said[:60]}”.")


def edit(context: Context, text: str) -> Iterator[Event]:
    """Replace the last message."""
    yield from _session(context).edit(text)


def new(context: Context) -> Iterator[Event]:
    """Begin a new conversation."""
    _session(context).new()
    yield Notice("A new conversation. The old one is in `sessions:`.")


def sessions(context: Context, number: str) -> Iterator[Event]:
    """List conversations, or open one."""
    session = _session(context)
    if session.history is None:
        raise UsageError("There is no history here.", "Start the chat with `python main.py`.")
    if number.strip():
        if not number.strip().isdigit():
            raise UsageError(f"'{number.strip()}' is not a conversation's number.", "`sessions:` lists them.")
        session.open(int(number))
        last = session.turns[-1].said if session.turns else ""
        yield Notice(f"Conversation {number.strip()} goes on ({_turns(len(session.turns))}; the last: “{last[:60]}”).")
        return
    listed = session.history.listed()
    rows = tuple((str(item.id), item.title, str(item.turns), _local(item.started)) for item in listed)
    data = [{"id": item.id, "title": item.title, "turns": item.turns, "started": item.started} for item in listed]
    if not rows:
        yield Notice("No conversation has been saved yet.")
        return
    yield Report("Conversations", data, (Table(("no.", "began with", "turns", "started"), rows, "Open one with `sessions: NUMBER`"),))


def save(context: Context, file: str) -> Iterator[Event]:
    """Write the conversation as Markdown. An existing file is replaced only when it was written by PZ2."""
    session = _session(context)
    path = Path(file.strip()).expanduser()
    if path.suffix.lower() != ".md":
        raise UsageError(f"'{path}' is not a Markdown file's name.", "Give a name that ends in .md.")
    if not session.turns:
        raise UsageError("There is nothing to save yet.", "Ask something first.")
    head = "# A conversation with PZ2"
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(head):
        raise UsageError(f"{path} exists and is not a saved conversation.", "Choose another name.")
    parts = [head]
    for turn in session.turns:
        reply = turn.reply
        parts.append(f"**You:** {turn.said}\n\n**PZ2** ({reply.model}{f' {reply.version}' if reply.version else ''}):\n\n{reply.answer}")
    files.write_text(path, "\n\n".join(parts) + "\n")
    yield Notice(f"Saved {_turns(len(session.turns))} to {path}.")


def leave(context: Context) -> Iterator[Event]:
    """End the chat."""
    _session(context).closed = True
    yield Notice("Goodbye.")


def model_names(store: Store) -> list[str]:
    """What `model:` and ``--model`` take."""
    return list(dict.fromkeys(["auto", "base", *BUILT_IN, *store.models()]))


def check_model(name: str, store: Store) -> str | None:
    """The model to pin, None for ``auto``; an unknown name is a UsageError."""
    known = model_names(store)
    if name not in known:
        raise no_model(name, known)
    pins.check(store, name)
    return None if name == "auto" else name


def _session(context: Context) -> Session:
    if context.chat is None:
        raise UsageError("This command works only in the chat.", "Start it with `python main.py`.")
    return context.chat


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


def _local(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")
