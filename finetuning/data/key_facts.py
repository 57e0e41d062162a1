"""Key facts of an answer that came without any: what is surely a fact in its text. Deterministic, and rather none than a doubtful one."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from assistant.core.facts import facts_present, normalise
from finetuning.data.audit import question_of

# All facts of a row must be in a right answer, so a few telling ones are kinder than many.
MOST = 3
MOST_TRIED = 8
# Above so many rows words are not counted, and only numbers, articles and quoted names are facts.
MOST_ROWS_COUNTED = 20_000
_ARTICLE = re.compile(r"제\s?\d+조(?:의\d+)?|(?:Article|Section|Rule|Chapter)\s\d+[A-Za-z]?(?:\.\d+)*|§\s?\d+\w*")
_NUMBER = re.compile(
    r"\d+분의\s?\d+"
    r"|(?<![\w.,+-])\d[\d,.]*(?<=\d)\s?(?:천|백)?(?:만|억)?\s?(?:세|살|년|개월|주일|주|일|시간|분|초|원|명|인|회|기|배|퍼센트|도|쪽|점|단계)"
    r"|(?<![\w.,+-])\d[\d,.]*(?<=\d)(?:\s?(?:%|°C|°F|°|percent|kg|km|cm|mm|MB|GB|TB|ms|Hz|px)(?![A-Za-z0-9])"
    r"|\s(?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|euros?|dollars?|pounds?|people|points?|meters?|metres?|degrees?|times)\b)"
    r"|(?<![\w.,+-])\d[\d,]*\d(?:\.\d+)?(?![\w.,]*\d)"
)
_QUOTED = re.compile(
    r"「([^」\n]{2,40})」|『([^』\n]{2,40})』|“([^”\n]{2,40})”|\"([^\"\n]{2,40})\"|`([^`\n]{1,40})`|\*\*([^*\n]{2,40})\*\*"
)
# "1주 40시간": the one is what the other is counted by.
_ONE = re.compile(r"1\s?\D{1,7}")
# Names that are no common words: Ctrl+S, F8, CamelCase, snake_case, NASA, B100.
_NAME = re.compile(
    r"\b(?:(?:Ctrl|Alt|Shift|Cmd|Command|Option)(?:\s?\+\s?\w+)+|F\d{1,2}|[A-Z][a-z]+[A-Z]\w+|[a-z]+_[a-z_]+|[A-Z]{3,}[A-Z0-9]*|[A-Z]{1,4}-?\d{2,}[A-Z]?)\b"
)
# A Korean compound of four syllables and more before a particle that only nouns take.
_COMPOUND = re.compile(r"(?<![가-힣])([가-힣]{4,})(?:을|를|이|가|에|에게|에서|의|입니다)(?![가-힣])")
_NO_NOUN = re.compile(r"(?:하|되|않|있|없|것|함|음|같|받|습니다|니다)$")


@dataclass(slots=True)
class Found:
    """Rows that got key facts, of how many; counts on while rows are written."""

    derived: int = 0
    rows: int = 0


@dataclass(slots=True)
class Finder:
    """Finds facts in the answers of one dataset. ``common`` counts in how many answers a compound stands; None leaves compounds out."""

    common: Counter[str] | None
    found: Found = field(default_factory=Found)

    def added(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows, those with facts in their answers with ``key_facts``."""
        for row in rows:
            self.found.rows += 1
            facts = self.facts(question_of(row, "dialogue"), row["target_text"])
            if facts:
                self.found.derived += 1
                row["key_facts"] = facts
            yield row

    def facts(self, question: str, answer: str) -> list[str]:
        """At most MOST facts of an answer, in the order of its text. What the question says already is none."""
        first = [*_matches(_NUMBER, answer), *_matches(_ARTICLE, answer), *_matches(_QUOTED, answer), *_matches(_NAME, answer)]
        first.sort(key=lambda found: _ONE.fullmatch(found[1]) is not None)
        rare = [(place, word) for place, word in _compounds(answer) if self.common is not None and self.common[word] == 1]
        kept: dict[str, tuple[int, str]] = {}
        for place, fact in [*first, *rare][:MOST_TRIED]:
            kept.setdefault(normalise(fact), (place, fact))
        kept.pop("", None)
        facts = [fact for _, fact in kept.values()]
        said, asked = set(facts_present(question, facts)), normalise(question).replace(" ", "")
        present = set(facts_present(answer, facts))
        sure = [
            found for bare, found in kept.items() if found[1] in present and found[1] not in said and bare.replace(" ", "") not in asked
        ]
        return [fact for _, fact in sorted(sure[:MOST])]


def finder(answers: Iterable[str]) -> Finder:
    """A finder for a dataset with these answers."""
    common: Counter[str] = Counter()
    for number, answer in enumerate(answers):
        if number == MOST_ROWS_COUNTED:
            return Finder(None)
        common.update({word for _, word in _compounds(answer)})
    return Finder(common)


def told(finder: Finder | None) -> str:
    """How the answers of a domain will be judged, once its rows are written; None when its file gave the facts."""
    if finder is None:
        return "Key facts are those of the file; answers are judged by them."
    found = finder.found
    if not found.derived:
        return "No key facts are given, and none are sure in the answers: the loss on held-out rows decides whether a training is good."
    rest = "" if found.derived == found.rows else "; for the others the held-out loss decides"
    return f"No key facts are given. {found.derived:,} of {found.rows:,} answers hold sure ones (numbers, articles, names): taken{rest}."


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    for match in pattern.finditer(text):
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        # The number of a list's line is none of its facts.
        if pattern is _NUMBER and not before.strip() and text[match.end() : match.end() + 1] in (".", ")"):
            continue
        yield match.start(), next((group for group in match.groups() if group), match[0]).strip()


def _compounds(answer: str) -> Iterator[tuple[int, str]]:
    for match in _COMPOUND.finditer(answer):
        if not _NO_NOUN.search(match[1]):
            yield match.start(), match[1]
