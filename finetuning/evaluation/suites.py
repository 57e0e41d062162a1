"""Suites of questions that programs judge: those of the project, and the user's own from a file."""

import hashlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assistant.core import files
from assistant.core.errors import DataError, UsageError
from assistant.core.settings import nearest
from finetuning.evaluation.checkers import CHECKS, Check

FOLDER = Path(__file__).with_name("suites")
GENERAL = "general_ability"
MAX_TOKENS = 128
_KEYS = {"id", "group", "system", "question", "key_facts", "choices", "answer", "checks", "turns", "right", "wrong"}
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """What is said to the model, and what its answer must keep; without checks only the conversation goes on."""

    user: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question: turns to answer, or ``choices`` of which ``answer`` (an index) is the right one.

    ``right`` and ``wrong`` are example answers to the last turn, which the checks must tell apart.
    """

    id: str
    group: str
    turns: tuple[Turn, ...]
    system: str = ""
    choices: tuple[str, ...] = ()
    answer: int = -1
    right: str = ""
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """Questions of one kind, the most tokens of an answer, and a hash of what was read."""

    name: str
    questions: tuple[Question, ...]
    max_tokens: int
    sha256: str


def names() -> list[str]:
    """The suites that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Suite:
    """A suite of the project by its name; an unknown one is a UsageError."""
    if name not in names():
        raise UsageError(f"There is no suite '{name}'.", f"Suites: {', '.join(names())}; or name a .yaml or .jsonl file of your own.")
    return read(FOLDER / f"{name}.yaml")


def read(path: Path) -> Suite:
    """A suite from a YAML or JSON Lines file; everything wrong in it is named in one DataError."""
    if not path.is_file():
        raise DataError(f"{path} does not exist.", f"Name a suite ({', '.join(names())}) or a .yaml or .jsonl file.")
    content = path.read_bytes()
    head = _document(path, content)
    faults: list[str] = []
    questions = [_question(item, number, faults) for number, item in enumerate(head.get("questions") or [], 1)]
    found = [question for question in questions if question is not None]
    faults += [f"the id '{name}' stands {count} times." for name, count in _repeated(question.id for question in found)]
    if not questions:
        faults.append("it holds no questions.")
    if faults:
        more = f" … and {len(faults) - _SHOWN} more." if len(faults) > _SHOWN else ""
        raise DataError(f"{path.name}: {' '.join(faults[:_SHOWN])}{more}", "Correct the file; the suites of the project show the form.")
    most = int(head.get("max_tokens") or MAX_TOKENS)
    return Suite(str(head.get("name") or path.stem), tuple(found), most, hashlib.sha256(content).hexdigest())


def _document(path: Path, content: bytes) -> dict[str, Any]:
    if path.suffix == ".jsonl":
        return {"questions": files.read_jsonl(path)}
    try:
        document = yaml.safe_load(content.decode("utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DataError(f"{path.name}, line {line}: not valid YAML ({error.problem}).", "Correct the line.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: not YAML in UTF-8 ({error}).", "Save it as UTF-8.") from error
    if isinstance(document, list):
        document = {"questions": document}
    if not isinstance(document, dict) or not isinstance(document.get("questions"), list):
        raise DataError(f"{path.name}: holds no list of questions.", "Write `questions:` and under it one `- question: …` each.")
    return document


def _question(item: Any, number: int, faults: list[str]) -> Question | None:
    if not isinstance(item, dict):
        faults.append(f"question {number} is no group of keys.")
        return None
    name = str(item.get("id") or f"q{number:03d}")
    before = len(faults)
    faults += [f"{name}: there is no key '{key}'; {nearest(str(key), sorted(_KEYS))}" for key in item if key not in _KEYS]
    turns = tuple(_turn(turn, f"{name}, turn {place}", faults) for place, turn in enumerate(item.get("turns") or [item], 1))
    choices, answer = _choices(item, name, faults)
    if not choices and not any(turn.checks for turn in turns):
        faults.append(f"{name}: nothing to judge by; give key_facts, checks, or choices and answer.")
    if len(faults) > before:
        return None
    text = {key: str(item.get(key) or "") for key in ("system", "right", "wrong")}
    return Question(name, str(item.get("group") or "all"), turns, choices=choices, answer=answer, **text)


def _turn(item: Any, name: str, faults: list[str]) -> Turn:
    user = item.get("question") or item.get("user") if isinstance(item, dict) else None
    if not isinstance(user, str) or not user.strip():
        faults.append(f"{name}: 'question' is missing or empty.")
        return Turn("", ())
    given = item.get("checks") or []
    if item.get("key_facts"):
        given = [*given, {"kind": "facts", "facts": item["key_facts"]}]
    checks = [_check(check, name, faults) for check in given] if isinstance(given, list) else []
    return Turn(user, tuple(check for check in checks if check is not None))


def _check(item: Any, name: str, faults: list[str]) -> Check | None:
    if not isinstance(item, dict) or item.get("kind") not in CHECKS:
        kind = item.get("kind") if isinstance(item, dict) else item
        faults.append(f"{name}: there is no check '{kind}'; {nearest(str(kind), sorted(CHECKS))}")
        return None
    # `text` is the answer's own name in a check, so the one a user gives is handed on with an underscore.
    wants = {"text_" if key == "text" else key: value for key, value in item.items() if key != "kind"}
    try:
        inspect.signature(CHECKS[item["kind"]]).bind("", (), **wants)
    except TypeError as error:
        faults.append(f"{name}: the check '{item['kind']}' cannot be used so ({error}).")
        return None
    return Check(item["kind"], wants)


def _choices(item: dict[str, Any], name: str, faults: list[str]) -> tuple[tuple[str, ...], int]:
    choices = tuple(str(choice) for choice in item.get("choices") or ())
    if not choices:
        return (), -1
    answer = str(item.get("answer"))
    if choices.count(answer) != 1 or len(set(choices)) < len(choices):
        faults.append(f"{name}: 'answer' must be exactly one of the choices, and no choice may stand twice.")
        return choices, -1
    return choices, choices.index(answer)


def _repeated(ids: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for name in ids:
        counts[name] = counts.get(name, 0) + 1
    return [(name, count) for name, count in counts.items() if count > 1]


def fingerprint(suite: Suite, questions: tuple[Question, ...]) -> str:
    """A short hash of what was asked: the suite and which of its questions."""
    asked = json.dumps([suite.sha256, suite.max_tokens, [question.id for question in questions]])
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
