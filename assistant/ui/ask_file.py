"""``--ask-file``: every line of a file as its own conversation, one JSON object a line, in order."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from assistant.chat.commands import check_model
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context, guarded
from assistant.core.errors import DataError, PZ2Error, UsageError
from assistant.core.events import Event, Notice, Progress, TurnDone
from assistant.core.paths import Paths, find
from assistant.core.prompts import SYSTEM


def ask_file(
    paths: Paths, file: str, screen: TextIO, out: str | None, model: str, category: str | None, route_only: bool
) -> Iterator[Event]:
    """Answer the questions of ``file``. With ``out`` the answers go there and an earlier run is taken up where it stopped."""
    return guarded("--ask-file", _events(paths, file, screen, out, model, category, route_only), Context(paths))


def questions(path: Path) -> list[str]:
    """The questions of a file: plain lines, or JSON Lines with ``question``; blank lines are left out."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist.", "Name a text file with one question a line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
    found = [_question(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f"{path.name} holds no question.", "Write one question a line.")
    return found


def _events(
    paths: Paths, file: str, screen: TextIO, out: str | None, model: str, category: str | None, route_only: bool
) -> Iterator[Event]:
    asked = questions(find(file, paths))
    live = Live(paths, configuration.load(paths))
    pinned = check_model(model, live.store)
    if category is not None and category not in SYSTEM:
        raise UsageError(f"There is no category '{category}'.", f"Choose from {', '.join(SYSTEM)}.")
    target = Path(out).expanduser() if out else None
    done = _done(target, asked) if target else 0
    if done:
        yield Notice(f"{done} of {len(asked)} answers are there already; going on with the next.")
    live.start()
    writer = target.open("a", encoding="utf-8") if target else screen
    try:
        for number, question in enumerate(asked[done:], done + 1):
            session = Session(paths, live, greedy=True, pinned=pinned, system=SYSTEM[category] if category else None)
            writer.write(json.dumps(_answer(session, question, route_only), ensure_ascii=False) + "\n")
            writer.flush()
            yield Progress(number, len(asked), "questions")
    finally:
        if target:
            writer.close()
        live.release()


def _answer(session: Session, question: str, route_only: bool) -> dict[str, Any]:
    """The document of one question; one that cannot be answered says why in ``error``."""
    try:
        if route_only:
            asked = session.decide(question)
            judged, then = asked.judgement, session.foreseen(asked)
            handed = then.step == "hand over"
            return {
                "question": question,
                "category": judged.category if judged else None,
                "category_probabilities": judged.probabilities if judged else None,
                "complexity": asked.complexity,
                "trigger": asked.route.trigger or then.trigger,
                "model": then.model if handed else asked.route.model,
                "reason": then.reason or asked.route.reason,
            }
        return next({**asdict(event.reply), "question": question} for event in session.say(question) if isinstance(event, TurnDone))
    except PZ2Error as error:
        if isinstance(error, UsageError):
            return {"question": question, "error": error.what, "fix": error.fix}
        raise


def _question(path: Path, number: int, line: str) -> str:
    if not line.lstrip().startswith("{"):
        return line.strip()
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path.name}, line {number}: not valid JSON ({error.msg}).", 'Write JSON objects with a "question", or plain lines.'
        ) from error
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise DataError(f"{path.name}, line {number}: 'question' is missing or empty.", 'Give every object a "question".')
    return row["question"].strip()


def _done(target: Path, asked: list[str]) -> int:
    """How many answers an earlier run left in ``target``; a half-written last line is cut off, another file's answers are refused."""
    if not target.is_file():
        return 0
    whole = 0
    done = 0
    with target.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                question = json.loads(line).get("question")
            except (ValueError, AttributeError):
                question = None
            if done >= len(asked) or question != asked[done]:
                raise UsageError(
                    f"{target}, line {done + 1} is no answer to question {done + 1} of this file.",
                    "Name another --out file, or delete this one.",
                )
            done += 1
            whole += len(line)
    with target.open("r+b") as file:
        file.truncate(whole)
    return done
