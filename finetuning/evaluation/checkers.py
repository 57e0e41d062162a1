"""Checks that a program can decide: does an answer keep what its question demands?

The kinds follow IFEval's verifiable instructions (Zhou et al. 2023, arXiv 2311.07911) and add facts, order and tool calls.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistant.core.facts import normalise

_BULLET = re.compile(r"^\s*[-*•+]\s+(.+)$", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*(?:\*\*)?(\d+)[.)]\s*(.+)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]”’*]*(?=\s|$)")
# A point after these words, or after one capital letter, ends no sentence.
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|e\.g|i\.e|etc|vs|[A-Z])\.(?=\s)", re.IGNORECASE)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
# The commonest short words of each language; the language with the most of them is the answer's.
_COMMON_WORDS = {
    "en": "the and is of to in it you that for are with this have not be they was can a",
    "fr": "le la les des une est et dans pour que qui avec sur pas je vous nous il elle sont au bonjour un",
    "es": "el los las una es y en para que con por no se su del al como más está son hola un yo",
    "de": "der die das und ist nicht ein eine mit für auf zu den im von sie ich es wir sind guten",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One demand: its kind and what the kind needs to know."""

    kind: str
    wants: dict[str, Any] = field(default_factory=dict)


def kept(check: Check, answer: str, before: Sequence[str] = ()) -> bool:
    """Whether an answer keeps a demand. ``before`` are the answers of the earlier turns; an empty answer keeps nothing."""
    text = answer.strip()
    return bool(text) and CHECKS[check.kind](text, before, **check.wants)


def all_kept(checks: Sequence[Check], answer: str, before: Sequence[str] = ()) -> bool:
    """Whether an answer keeps every demand."""
    return all(kept(check, answer, before) for check in checks)


def sentences(text: str) -> list[str]:
    """The sentences of a text, list marks and abbreviations respected."""
    bare = re.sub(r"^\s*(?:[-*•+]|\d+[.)])\s+", "", text, flags=re.MULTILINE)
    bare = _ABBREVIATION.sub(lambda match: match.group().replace(".", ""), bare)
    return [part.strip() for part in _SENTENCE_END.split(bare) if re.search(r"\w", part)]


def words(text: str) -> list[str]:
    """The words of a text as a person counts them."""
    return re.findall(r"[\w%°]+(?:[-'’.,/][\w%°]+)*", text)


def json_in(text: str) -> Any:
    """The JSON value that is the whole answer, or stands in its code block; None when there is none."""
    fenced = _FENCE.search(text)
    try:
        return json.loads(fenced.group(1) if fenced else text)
    except (json.JSONDecodeError, RecursionError):
        return None


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object anywhere in a text; None when there is none."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        return value
    return None


def _facts(text: str, _: Sequence[str], facts: Sequence[Any]) -> bool:
    bare = f" {normalise(text)} "
    groups = [fact["any_of"] if isinstance(fact, dict) else [fact] for fact in facts]
    return all(any(f" {normalise(str(option))} " in bare for option in group) for group in groups)


def _within(count: int, least: int | None, most: int | None) -> bool:
    return (least is None or count >= least) and (most is None or count <= most)


def _counted(count: Callable[[str], int]) -> Callable[..., bool]:
    def check(text: str, _: Sequence[str], min: int | None = None, max: int | None = None) -> bool:
        return _within(count(text), min, max)

    return check


def _paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n\s*\n|\n\s*\*{3}\s*\n", text))


def _times(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()))


def _contains(text: str, _: Sequence[str], words: Sequence[str]) -> bool:
    return all(_times(text, word) for word in words)


def _contains_times(text: str, _: Sequence[str], word: str, min: int | None = None, max: int | None = None) -> bool:
    return _within(_times(text, word), min, max)


def _avoids(text: str, _: Sequence[str], words: Sequence[str]) -> bool:
    # A sign such as a comma has no word boundary and is looked for as it is.
    return not any(_times(text, word) if word[:1].isalnum() else word in text for word in words)


def _letter_times(text: str, _: Sequence[str], letter: str, min: int | None = None, max: int | None = None) -> bool:
    return _within(text.casefold().count(letter.casefold()), min, max)


def _starts_with(text: str, _: Sequence[str], text_: str) -> bool:
    return text.lstrip("\"'*_# ").casefold().startswith(text_.casefold())


def _ends_with(text: str, _: Sequence[str], text_: str) -> bool:
    return text.rstrip("\"'*_ ").casefold().endswith(text_.casefold())


def _case(text: str, _: Sequence[str], form: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        return False
    if form == "title":
        return all(word[0].isupper() for word in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text) if len(word) > 3)
    return text == (text.upper() if form == "upper" else text.lower())


def _json(text: str, _: Sequence[str], keys: Sequence[str] = (), only: bool = False) -> bool:
    value = json_in(text)
    return isinstance(value, dict) and set(keys) <= set(value) and (not only or set(keys) == set(value))


def _json_list(text: str, _: Sequence[str], min: int | None = None, max: int | None = None) -> bool:
    value = json_in(text)
    return isinstance(value, list) and _within(len(value), min, max)


def _comma_list(text: str, _: Sequence[str], min: int | None = None, max: int | None = None) -> bool:
    items = [item.strip() for item in text.rstrip(".").split(",")]
    short = all(item and len(item.split()) <= 4 for item in items)
    return "\n" not in text and short and _within(len(items), min, max)


def _order(text: str, _: Sequence[str], items: Sequence[Any]) -> bool:
    bare, place = f" {normalise(text)} ", 0
    for item in items:
        options = [f" {normalise(str(option))} " for option in (item["any_of"] if isinstance(item, dict) else [item])]
        found = [at for at in (bare.find(option, place) for option in options) if at >= 0]
        if not found:
            return False
        place = min(found) + 1
    return True


def _one_of(text: str, _: Sequence[str], options: Sequence[str]) -> bool:
    return normalise(text) in {normalise(option) for option in options}


def _number(text: str, _: Sequence[str], value: float, alone: bool = False) -> bool:
    found = [float(number.replace(",", "")) for number in re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?", text)]
    if alone and not re.fullmatch(r"-?\d+(?:,\d{3})*(?:\.\d+)?\.?", text):
        return False
    return bool(found) and found[-1] == value


def _language(text: str, _: Sequence[str], code: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    hangul = sum("\uac00" <= letter <= "\ud7a3" for letter in letters)
    if code == "ko":
        return hangul * 2 > len(letters)
    bare = normalise(text).split()
    counts = {name: sum(word in common.split() for word in bare) for name, common in _COMMON_WORDS.items()}
    return hangul == 0 and counts[code] > 0 and counts[code] == max(counts.values())


def _matches(text: str, _: Sequence[str], pattern: str) -> bool:
    return re.search(pattern, text) is not None


def _code_block(text: str, _: Sequence[str], contains: str = "") -> bool:
    fenced = _FENCE.search(text)
    return fenced is not None and bool(fenced.group(1).strip()) and contains in fenced.group(1)


def _table(text: str, _: Sequence[str], columns: int, min_rows: int = 1) -> bool:
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if "|" in line]
    rule = [index for index, cells in enumerate(lines) if all(re.fullmatch(r"\s*:?-{2,}:?\s*", cell) for cell in cells)]
    return rule == [1] and len(lines) >= 2 + min_rows and all(len(cells) == columns for cells in lines)


def _quoted(text: str, _: Sequence[str]) -> bool:
    return len(text) > 2 and text[0] in '"“' and text[-1] in '"”' and not any(mark in text[1:-1] for mark in '"“”')


def _alphabetical(text: str, _: Sequence[str], min: int = 2) -> bool:
    items = [item.casefold() for item in list_items(text)]
    return len(items) >= min and items == sorted(items)


def _different(text: str, _: Sequence[str], min: int = 2) -> bool:
    items = [normalise(item) for item in list_items(text)]
    return len(items) >= min and len(set(items)) == len(items)


def list_items(text: str) -> list[str]:
    """The items of the list that an answer is: bullets, numbers, lines, or words between commas."""
    marked = _BULLET.findall(text) or [item for _, item in _NUMBERED.findall(text)]
    parts = marked or ([line for line in text.splitlines() if line.strip()] if "\n" in text else text.rstrip(".").split(","))
    return [re.sub(r"^and\s+", "", part.strip().strip("*").rstrip(".")) for part in parts]


def _numbered(text: str) -> int:
    numbers = [int(number) for number, _ in _NUMBERED.findall(text)]
    return len(numbers) if numbers == list(range(1, len(numbers) + 1)) else 0


def _every_word(text: str, _: Sequence[str], letter: str, min: int = 1) -> bool:
    found = words(text)
    return len(found) >= min and all(word.casefold().startswith(letter.casefold()) for word in found)


def _shorter(text: str, before: Sequence[str], times: float = 1.0) -> bool:
    return bool(before) and len(words(text)) < len(words(before[-1])) * times


def _longer(text: str, before: Sequence[str]) -> bool:
    return bool(before) and len(words(text)) > len(words(before[-1]))


def _changed(text: str, before: Sequence[str]) -> bool:
    return bool(before) and normalise(text) != normalise(before[-1])


def _tool_call(text: str, _: Sequence[str], tool: str, arguments: dict[str, Any]) -> bool:
    call = first_object(text)
    given = call.get("arguments") if call else None
    if call is None or call.get("tool") != tool or not isinstance(given, dict) or set(given) != set(arguments):
        return False
    return all(_same(given[name], wanted) for name, wanted in arguments.items())


def _same(given: Any, wanted: Any) -> bool:
    options = wanted["any_of"] if isinstance(wanted, dict) else [wanted]
    return any(normalise(str(given)) == normalise(str(option)) for option in options)


CHECKS: dict[str, Callable[..., bool]] = {
    "facts": _facts,
    "words": _counted(lambda text: len(words(text))),
    "sentences": _counted(lambda text: len(sentences(text))),
    "paragraphs": _counted(_paragraphs),
    "lines": _counted(lambda text: sum(bool(line.strip()) for line in text.splitlines())),
    "bullets": _counted(lambda text: len(_BULLET.findall(text))),
    "numbered": _counted(_numbered),
    "headings": _counted(lambda text: len(re.findall(r"^#{1,6} \S", text, re.MULTILINE))),
    "bold": _counted(lambda text: len(re.findall(r"\*\*[^*\n]+\*\*", text))),
    "placeholders": _counted(lambda text: len(re.findall(r"\[[^\[\]\n]+\]", text))),
    "emoji": _counted(lambda text: len(_EMOJI.findall(text))),
    "exclamations": _counted(lambda text: text.count("!")),
    "question_marks": _counted(lambda text: text.count("?")),
    "contains": _contains,
    "contains_times": _contains_times,
    "avoids": _avoids,
    "letter_times": _letter_times,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "case": _case,
    "json": _json,
    "json_list": _json_list,
    "comma_list": _comma_list,
    "order": _order,
    "one_of": _one_of,
    "number": _number,
    "language": _language,
    "matches": _matches,
    "code_block": _code_block,
    "table": _table,
    "quoted": _quoted,
    "alphabetical": _alphabetical,
    "different": _different,
    "every_word": _every_word,
    "shorter": _shorter,
    "longer": _longer,
    "changed": _changed,
    "tool_call": _tool_call,
}
