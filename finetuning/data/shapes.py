"""The shapes people keep questions and answers in: which column means what, and a row as one or more records."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from finetuning.data.cleaning import clean


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What a column may mean, with the names people give it, the surest first; case, spaces and signs do not matter.
ROLES: dict[str, tuple[str, ...]] = {
    "messages": _names("messages conversations conversation dialog dialogue chat 대화"),
    "question": _names(
        "question q query instruction prompt questiontext userquestion ask utterance problem user human text "
        "질문 문의 질의 물음 문제 질문내용 문의내용 사용자질문 사용자"
    ),
    # Of a preference pair the chosen answer is the one to learn, whatever else stands beside it.
    "answer": _names(
        "chosen answer a response completion output reply solution correctanswer bestanswer acceptedanswer target assistant "
        "responses answers answertext answerkey 답변 답 응답 대답 해답 정답 답변내용 해결방법"
    ),
    "context": _names("input context background 문맥 배경 참고 입력"),
    "category": _names("category categoryname knowledgecategory taskcategory intent class 분류 카테고리 범주 유형 구분 분야"),
    "difficulty": _names("difficulty difficultylevel level 난이도 수준 레벨"),
    "system": _names("system systemprompt systemmessage 시스템 시스템프롬프트"),
    "id": _names("id uuid key questionid no 번호 아이디 식별자"),
    "key_facts": _names("keyfacts keyfact facts 핵심사실 핵심 핵심어"),
    "rejected": _names("rejected rejectedresponse worse"),
    "instances": _names("instances"),
}
MAPPABLE = ("question", "answer", "context", "category", "difficulty", "system", "id", "key_facts")
DIFFICULTY_WORDS = {
    "basic": _names("basic easy beginner simple low novice 초급 쉬움 하 기초 입문 초보"),
    "intermediate": _names("intermediate medium normal moderate middle average 중급 보통 중 중간"),
    "advanced": _names("advanced hard difficult expert high professional 고급 어려움 상 심화 전문"),
}
_SPEAKERS = {
    **dict.fromkeys(("user", "human", "prompter", "question", "사용자", "질문"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "answer", "ai", "챗봇", "답변"), "assistant"),
    "system": "system",
}


class Unusable(Exception):
    """A row that gives no record; its text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to learn: the turns before the answer (the last is the user's), the answer, and what is known about it."""

    turns: tuple[tuple[str, str], ...]
    answer: str
    system: str = ""
    category: str = ""
    difficulty: str = ""
    id: str = ""
    key_facts: tuple[str, ...] = ()
    rejected: str = ""

    @property
    def question(self) -> str:
        """All turns as one text: what must not stand in two splits."""
        return "\n".join(text for _, text in self.turns)


def bare_name(name: str) -> str:
    """A column name without case, spaces and signs."""
    return re.sub(r"[\W_]+", "", name.casefold())


def guess(columns: Sequence[str], sample: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """Which column means what, by their names; the first name of a role's list wins. ``sample`` settles which hold anything."""
    filled = {column for row in sample for column, value in row.items() if value not in (None, "", [], {})}
    found: dict[str, str] = {}
    # A column that holds something goes before one that is empty, whatever their names.
    for known in ([column for column in columns if column in filled], columns):
        by_name = {bare_name(column): column for column in reversed(known)}
        for role, names in ROLES.items():
            column = next((by_name[name] for name in names if name in by_name and by_name[name] not in found.values()), None)
            if column is not None:
                found.setdefault(role, column)
    if "messages" in found and not any(_messages(row.get(found["messages"])) for row in sample):
        del found["messages"]
    return found


def is_head(fields: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first record of a table names its columns: it holds a known name, or nothing that looks like a row."""
    if any(bare_name(field) in names for field in fields for names in ROLES.values()):
        return True
    repeated = any(field.strip() and any(row[place : place + 1] == (field,) for row in below) for place, field in enumerate(fields))
    return not repeated and not any(len(field) > 40 or field.rstrip().endswith(("?", ".", "!")) for field in fields)


def complete(mapping: Mapping[str, str]) -> bool:
    """Whether a mapping says where question and answer stand."""
    asked = "question" in mapping and ("answer" in mapping or "instances" in mapping)
    return "messages" in mapping or asked or "_tree" in mapping


def two_text_columns(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Question and answer of a file with nameless columns: its only two columns that hold words."""
    wordy = [column for column in columns if sum(" " in str(row.get(column, "")).strip() for row in sample) > 0.3 * len(sample)]
    return (wordy[0], wordy[1]) if len(wordy) == 2 else None


def records(values: Mapping[str, Any], mapping: Mapping[str, str]) -> Iterator[Record]:
    """The records of a row; Unusable with the reason when it gives none."""
    about = {
        "category": text_of(values.get(mapping.get("category", ""))),
        "difficulty": text_of(values.get(mapping.get("difficulty", ""))),
        "id": text_of(values.get(mapping.get("id", ""))),
        "key_facts": _facts(values.get(mapping.get("key_facts", ""))),
        "system": text_of(values.get(mapping.get("system", ""))),
    }
    if isinstance(tree := values.get(mapping.get("question", "")), dict) and "replies" in tree:
        turns = _best_path(tree)
    elif turns := _messages(values.get(mapping.get("messages", ""))):
        pass
    else:
        yield from _asked(values, mapping, about)
        return
    yield from _conversation(turns, about)


def difficulty_of(text: str) -> str:
    """A difficulty in the words of the datasets; "" for an unknown one."""
    bare = bare_name(text)
    return next((level for level, words in DIFFICULTY_WORDS.items() if bare in words), "")


def text_of(value: Any) -> str:
    """The text of a value of whatever shape: of a list its first, of an object its text."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        turns = _messages(value)
        return turns[-1][1] if turns else next((text for item in value if (text := text_of(item))), "")
    if isinstance(value, dict):
        return next((text for key in ("text", "content", "value", "answer") if (text := text_of(value.get(key)))), "")
    return clean(str(value))


def _asked(values: Mapping[str, Any], mapping: Mapping[str, str], about: dict[str, Any]) -> Iterator[Record]:
    prompt = _messages(values.get(mapping.get("question", "")))
    question = text_of(values.get(mapping.get("question", "")))
    context = text_of(values.get(mapping.get("context", "")))
    if not question:
        raise Unusable("no question")
    system = [text for role, text in prompt if role == "system"]
    before = tuple(turn for turn in prompt[:-1] if turn[0] != "system")
    about = {**about, "system": about["system"] or "\n".join(system)}
    instances = values.get(mapping.get("instances", ""))
    if isinstance(instances, list):
        pairs = [(text_of(item.get("input")), text_of(item.get("output"))) for item in instances if isinstance(item, dict)]
    else:
        pairs = [(context, _answer(values, mapping))]
    pairs = [pair for pair in pairs if pair[1]]
    if not pairs:
        raise Unusable("no answer")
    for extra, answer in pairs:
        asked = f"{question}\n\n{extra}" if extra else question
        yield Record((*before, ("user", asked)), answer, rejected=text_of(values.get(mapping.get("rejected", ""))), **about)


def _answer(values: Mapping[str, Any], mapping: Mapping[str, str]) -> str:
    answer = text_of(values.get(mapping.get("answer", "")))
    choices = values.get("choices")
    if isinstance(choices, dict) and answer in (labels := list(choices.get("label") or ())):
        return text_of(list(choices.get("text") or labels)[labels.index(answer)])
    return answer


def _conversation(turns: list[tuple[str, str]], about: dict[str, Any]) -> Iterator[Record]:
    """One record a reply, the turns before it included."""
    system = "\n".join(text for role, text in turns if role == "system")
    about = {**about, "system": about["system"] or system}
    spoken = [turn for turn in turns if turn[0] != "system"]
    if not spoken:
        raise Unusable("no turns")
    if spoken[0][0] != "user":
        spoken = spoken[1:]
    if any(one[0] == other[0] for one, other in pairwise(spoken)):
        raise Unusable("two turns of one speaker follow each other")
    replies = [place for place, (role, text) in enumerate(spoken) if role == "assistant" and text]
    if not replies:
        raise Unusable("no answer in the conversation")
    for place in replies:
        yield Record(tuple(spoken[:place]), spoken[place][1], **about)


def _messages(value: Any) -> list[tuple[str, str]]:
    """The turns of a value that is a conversation; [] for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return []
    turns = []
    for turn in value:
        role = _SPEAKERS.get(str(turn.get("role", turn.get("from", turn.get("speaker", "")))).casefold())
        text = turn.get("content", turn.get("value", turn.get("text")))
        if role is None or not isinstance(text, (str, list)):
            return []
        turns.append((role, text_of(text)))
    return turns


def _best_path(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """The conversation along the best-ranked replies of a message tree (OpenAssistant)."""
    turns: list[tuple[str, str]] = []
    node: Any = tree
    while isinstance(node, dict):
        turns.append((_SPEAKERS.get(str(node.get("role")), "user"), text_of(node.get("text"))))
        replies = [reply for reply in node.get("replies") or [] if isinstance(reply, dict) and not reply.get("deleted")]
        node = min(replies, key=lambda reply: reply.get("rank") if isinstance(reply.get("rank"), int) else 99, default=None)
    return turns


def _facts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    parts = value if isinstance(value, list) else re.split(r"[;|]", value) if isinstance(value, str) else []
    return tuple(text for part in parts if (text := text_of(part)))
