"""The checks of one row: pure, a row in, its faults and warnings out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from assistant.core.values import CATEGORIES
from finetuning.data.config import DataLimits
from finetuning.data.records import DIFFICULTIES

Kind = Literal["classification", "unified", "dialogue"]
FIELDS: dict[str, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "unified": ("input_text", "target_text", "category"),
    "dialogue": ("input_text", "target_text"),
}
_LISTS = ("key_facts", "expert_facts")
_FORM = re.compile(r"System: .*?\S.*?\n\nUser: .*\nAssistant:", re.DOTALL)
_SILENT = re.compile(r"(?:\A|\n)User:\s*\nAssistant:\s*\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEMPLATE = re.compile(
    r"<\|[a-z_0-9]{2,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|</?think>|\[(?:PAD|UNK|CLS|SEP|MASK)\]"
)
_EMAIL = re.compile(r"\b(?!git@)[\w.+-]{1,64}@(?!example\.)[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_PHONE = re.compile(
    r"(?<![\w.,@<-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}"
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|01[016789]-?\d{3,4}-?\d{4})"
    r"(?![\w.,-]\d|\w)"
)
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,-]\d|\d)")
_RESIDENT = re.compile(r"(?<!\d)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-4]\d{6}(?!\d)")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one field of a row. A warning leaves the row usable."""

    field: str
    code: str
    message: str
    warning: bool = False


def kind_of(name: str, row: dict[str, Any] | None = None) -> Kind | None:
    """What the rows of a file are, by its name, else by the keys of its first row; None for something else."""
    for kind in ("classification", "unified", "dialogue"):
        if name.startswith(f"{kind}_"):
            return kind  # type: ignore[return-value]
    if name in ("train.jsonl", "validation.jsonl", "test.jsonl"):
        return "dialogue"
    keys = set(row or {})
    if "text" in keys and "label" in keys:
        return "classification"
    return "dialogue" if {"input_text", "target_text"} <= keys else None


def check_row(row: dict[str, Any], kind: Kind, limits: DataLimits) -> Iterator[Finding]:
    """Everything that can be said of a row alone."""
    for field in FIELDS[kind]:
        if field not in row:
            yield Finding(field, "missing", f"the field '{field}' is missing.")
        elif field == "label":
            yield from _label(row[field])
        elif field == "category":
            yield from _category(row[field])
        else:
            yield from _text(field, row[field], limits)
    yield from _form(row, kind)
    yield from _extras(row, kind)


def _label(value: Any) -> Iterator[Finding]:
    if type(value) is not int or value not in (0, 1, 2):
        yield Finding("label", "label", f"'label' is {_shown(value)}. Use 0 (qna), 1 (technical) or 2 (general).")


def _category(value: Any) -> Iterator[Finding]:
    if value not in CATEGORIES:
        yield Finding("category", "category", f"'category' is {_shown(value)}. Use {', '.join(CATEGORIES)}.")


def _text(field: str, value: Any, limits: DataLimits) -> Iterator[Finding]:
    if not isinstance(value, str):
        yield Finding(field, "type", f"'{field}' is {_shown(value)}, not text.")
        return
    if not value.strip():
        yield Finding(field, "empty", f"'{field}' is empty.")
        return
    least, most = limits.of(field)
    if not least <= len(value) <= most:
        code = "too_short" if len(value) < least else "too_long"
        yield Finding(
            field, code, f"'{field}' has {len(value):,} characters; {least:,} to {most:,} are allowed (training_config.yaml, data)."
        )
    yield from _characters(field, value)


def _characters(field: str, value: str) -> Iterator[Finding]:
    if value.isascii() and value.isprintable() and "@" not in value and "<" not in value and "[" not in value:
        yield from _numbers(field, value)
        return
    if _SURROGATE.search(value):
        yield Finding(field, "encoding", f"'{field}' holds half a surrogate pair, which is no character.")
    if control := _CONTROL.search(value):
        yield Finding(
            field, "control", f"'{field}' holds the control character U+{ord(control[0]):04X} at position {control.start() + 1}.", True
        )
    if "\ufffd" in value:
        yield Finding(field, "undecoded", f"'{field}' holds U+FFFD: somewhere before, the file was read in a wrong encoding.", True)
    if token := _TEMPLATE.search(value):
        yield Finding(field, "template_token", f"'{field}' holds the chat-template token {token[0]}; it is trained as plain text.", True)
    if "@" in value and (address := _EMAIL.search(value)):
        yield Finding(field, "personal", f"'{field}' holds an e-mail address ({_hidden(address[0])}).", True)
    yield from _numbers(field, value)


def _numbers(field: str, value: str) -> Iterator[Finding]:
    if sum(map(value.count, "0123456789")) < 9:
        return
    if number := _RESIDENT.search(value):
        yield Finding(field, "personal", f"'{field}' holds what looks like a resident registration number ({_hidden(number[0])}).", True)
    elif number := next((found for found in _CARD.finditer(value) if _luhn(found[0])), None):
        yield Finding(field, "personal", f"'{field}' holds what looks like a card number ({_hidden(number[0])}).", True)
    elif number := _PHONE.search(value):
        yield Finding(field, "personal", f"'{field}' holds what looks like a phone number ({_hidden(number[0])}).", True)


def _form(row: dict[str, Any], kind: Kind) -> Iterator[Finding]:
    text = row.get("input_text")
    if not isinstance(text, str) or not text.strip():
        return
    if _SILENT.search(text):
        yield Finding("input_text", "empty", "'input_text' asks nothing: its last 'User:' is empty.")
    elif kind == "unified" and not _FORM.fullmatch(text):
        yield Finding("input_text", "form", "'input_text' is not 'System: …', an empty line, 'User: …', and 'Assistant:' as the last line.")


def _extras(row: dict[str, Any], kind: Kind) -> Iterator[Finding]:
    if row.get("difficulty") not in (None, "", *DIFFICULTIES):
        yield Finding("difficulty", "difficulty", f"'difficulty' is {_shown(row['difficulty'])}. Use {', '.join(DIFFICULTIES)}.", True)
    for field in _LISTS:
        facts = row.get(field)
        if facts is not None and not (isinstance(facts, list) and all(isinstance(fact, str) and fact.strip() for fact in facts)):
            yield Finding(field, "type", f"'{field}' is {_shown(facts)}, not a list of texts.")
    if kind != "dialogue" and row.get("id") is not None and not isinstance(row["id"], (str, int)):
        yield Finding("id", "type", f"'id' is {_shown(row['id'])}, not text.", True)


def _luhn(text: str) -> bool:
    digits = [int(letter) for letter in text if letter.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _hidden(text: str) -> str:
    return f"{text[:2]}…{text[-2:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
