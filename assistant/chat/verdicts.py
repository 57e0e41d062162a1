"""``good:`` and ``bad:``: what the user says of an answer is a label for its confidence and, between two answers, a preference pair."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from assistant.chat.history import Turn
from assistant.chat.session import Session
from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Event, Notice
from assistant.core.preferences import add_pick
from assistant.core.prompts import system_prompt
from assistant.core.values import Message, Reply


def good(context: Context) -> Iterator[Event]:
    """The last answer was right; of two answers to the same question it is the better one."""
    session = _session(context)
    turn = session.turns[-1]
    other = rival(session.turns)
    _label(session, turn, right=True)
    kept = other is not None and _pick(session, turn, turn.reply.answer, other.answer, "good:")
    yield Notice(_thanks("right", kept, f"better than that of {other.model}" if other else ""))


def bad(context: Context, answer: str) -> Iterator[Event]:
    """The last answer was wrong; a better one may be given, else the other model's answer counts as better."""
    session = _session(context)
    turn, better = session.turns[-1], answer.strip()
    other = rival(session.turns)
    _label(session, turn, right=False, better=better)
    chosen = better or (other.answer if other else "")
    kept = bool(chosen) and _pick(session, turn, chosen, turn.reply.answer, "bad:")
    against = "worse than yours" if better else f"worse than that of {other.model}" if other else ""
    yield Notice(_thanks("wrong", kept, against))


def rival(turns: Sequence[Turn]) -> Reply | None:
    """The other answer to the last question: the draft it took over from, or another model's in the turn before."""
    last = turns[-1]
    if last.draft is not None:
        return last.draft
    before = turns[-2].reply if len(turns) > 1 else None
    if before is not None and before.question == last.reply.question and before.model != last.reply.model:
        return before
    return None


def _pick(session: Session, turn: Turn, chosen: str, rejected: str, source: str) -> bool:
    earlier = [message for item in session.turns[:-1] for message in _messages(item) if item.reply.question != turn.reply.question]
    prompt = [Message("system", system_prompt("unified")), *earlier, Message("user", turn.reply.question)]
    return add_pick(session.paths, prompt, chosen, rejected, source)


def _messages(turn: Turn) -> list[Message]:
    return [Message("user", turn.reply.question), Message("assistant", turn.reply.answer)]


def _label(session: Session, turn: Turn, *, right: bool, better: str = "") -> None:
    """Keep a label; the features are there for answers of this window only."""
    whole, early = turn.signs or ((), ())
    label = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "question": turn.reply.question,
        "answer": turn.reply.answer,
        "model": turn.reply.model,
        "version": turn.reply.version,
        "engine": session.live.engine.name,
        "category": turn.reply.category,
        "confidence": turn.reply.confidence,
        "right": right,
        "better": better or None,
        "features": [round(value, 5) for value in whole],
        "early": [round(value, 5) for value in early],
    }
    files.append_line(session.paths.labels, json.dumps(label, ensure_ascii=False))


def _thanks(word: str, pair: bool, against: str) -> str:
    kept = f" and as a preference pair ({against})" if pair else ""
    return f"Kept as {word}{kept}. `ft: calibrate` counts it from then on."


def _session(context: Context) -> Session:
    if context.chat is None:
        raise UsageError("This command works only in the chat.", "Start it with `python main.py`.")
    if not context.chat.turns:
        raise UsageError("There is no answer yet to judge.", "Ask something first.")
    return context.chat
