"""The checks of all rows together: duplicates, leaks between splits, contradictions, language."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from assistant.core.facts import normalise
from finetuning.data.checks import Kind
from finetuning.data.config import DataLimits
from finetuning.data.dedupe import near_duplicates
from finetuning.data.reader import Fault

# Trained rows come first: a leak is told at the judged row, and names the trained one.
SPLITS = ("train", "validation", "test", "test_phrasing")
FOREIGN_SHARE = 0.3
# Which splits may not share questions, by their places in SPLITS.
_COMPARED = ((0, 1), (0, 2), (1, 2), (0, 3))
_SYSTEM = re.compile(r"\ASystem: .*?\n\n(?=User: )", re.DOTALL)
_LETTER = re.compile(r"[^\W\d_]")
_SCRIPTS = {
    "Korean": re.compile("[가-힣ㄱ-ㅣ]"),
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Chinese": re.compile("[\u4e00-\u9fff]"),
    "Cyrillic": re.compile("[\u0400-\u04ff]"),
    "Arabic": re.compile("[\u0600-\u06ff]"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands, and the entry it belongs to ("" when the row names none)."""

    file: str
    line: int
    id: str


@dataclass(slots=True)
class Audit:
    """Collects what is needed of each row; ``results`` judges when all rows are in. ``english`` says that the rows should be English."""

    english: bool
    _first: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _labels: dict[str, tuple[object, Place]] = field(default_factory=dict)
    _texts: list[dict[str, list[Place]]] = field(default_factory=lambda: [{} for _ in SPLITS])
    _ids: list[dict[str, list[Place]]] = field(default_factory=lambda: [{} for _ in SPLITS])
    _scripts: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    _rows: int = 0

    def add(self, file: str, line: int, row: dict[str, Any], kind: Kind) -> Iterator[tuple[Fault, bool]]:
        """Take one sound row in; yields what can be told at once, each with whether it is only a warning."""
        text = question_of(row, kind)
        if not text.strip():
            return
        self._rows += 1
        place = Place(file, line, str(row.get("id") or ""))
        bare = normalise(text) or text.strip()
        yield from self._repeated(place, text, row, kind)
        yield from self._contradiction(place, bare, row, kind)
        split = split_of(file)
        if split is not None:
            self._texts[split].setdefault(bare, []).append(place)
            if place.id:
                self._ids[split].setdefault(place.id, []).append(place)
        self._scripts[script_of(f"{text} {row.get('target_text', '')}")].append(place)

    def results(self, limits: DataLimits) -> Iterator[Fault]:
        """The warnings that need all rows."""
        told: set[tuple[str, int | None]] = set()
        for leak in (*self._entry_leaks(), *self._text_leaks(), *self._near_leaks(limits.near_duplicate)):
            # One leak a row says enough; the surest comes first.
            if (leak.file, leak.line) not in told:
                told.add((leak.file, leak.line))
                yield leak
        yield from self._languages()

    def _repeated(self, place: Place, text: str, row: dict[str, Any], kind: Kind) -> Iterator[tuple[Fault, bool]]:
        answer = str(row.get("label")) if kind == "classification" else " ".join(str(row.get("target_text")).split())
        key = (place.file, " ".join(text.split()))
        if key not in self._first:
            self._first[key] = (place.line, answer)
            return
        line, before = self._first[key]
        if before == answer:
            yield Fault(place.file, place.line, "", "duplicate", f"the same row as line {line}."), True
        elif kind != "classification":
            yield (
                Fault(place.file, place.line, "target_text", "two_answers", f"the same question as line {line} with another answer."),
                True,
            )

    def _contradiction(self, place: Place, bare: str, row: dict[str, Any], kind: Kind) -> Iterator[tuple[Fault, bool]]:
        name = {"classification": "label", "unified": "category"}.get(kind)
        if name is None:
            return
        value = row.get(name)
        before = self._labels.setdefault(f"{name} {bare}", (value, place))
        if before[0] != value:
            where = f"{before[1].file}, line {before[1].line}"
            yield (
                Fault(
                    place.file, place.line, name, "label_conflict", f"the same text has {name} {value!r} here and {before[0]!r} in {where}."
                ),
                False,
            )

    def _entry_leaks(self) -> Iterator[Fault]:
        for one, other in ((0, 1), (0, 2), (1, 2)):
            for id in sorted(self._ids[one].keys() & self._ids[other].keys()):
                trained = self._ids[one][id][0]
                for place in self._ids[other][id]:
                    yield _leak(place, f"its entry '{id}' also stands in {trained.file}, line {trained.line}")

    def _text_leaks(self) -> Iterator[Fault]:
        for one, other in _COMPARED:
            for bare in sorted(self._texts[one].keys() & self._texts[other].keys()):
                trained, judged = self._texts[one][bare], self._texts[other][bare]
                if _exempt(trained, judged, other):
                    continue
                for place in judged:
                    yield _leak(place, f"the same question stands in {trained[0].file}, line {trained[0].line}")

    def _near_leaks(self, threshold: float) -> Iterator[Fault]:
        texts, parts = [], []
        for split, known in enumerate(self._texts):
            texts += known
            parts += [split] * len(known)
        if len(set(parts)) < 2:
            return
        told: set[str] = set()
        for pair in near_duplicates(texts, threshold, parts):
            one, other = parts[pair.first], parts[pair.second]
            trained, judged = self._texts[one][texts[pair.first]], self._texts[other][texts[pair.second]]
            known = texts[pair.second] in told or texts[pair.first] == texts[pair.second]
            if known or (one, other) not in _COMPARED or _exempt(trained, judged, other):
                continue
            told.add(texts[pair.second])
            for place in judged:
                message = f"nearly the same question ({pair.likeness:.2f}) stands in {trained[0].file}, line {trained[0].line}"
                yield _leak(place, message, "near_leak")

    def _languages(self) -> Iterator[Fault]:
        main = "Latin" if self.english else max(self._scripts, key=lambda script: len(self._scripts[script]), default="Latin")
        expected = "English" if self.english else f"{main} letters like most rows"
        for script, places in self._scripts.items():
            if script not in (main, ""):
                for place in places:
                    yield Fault(place.file, place.line, "", "language", f"written in {script} letters; {expected} is expected here.")


def question_of(row: dict[str, Any], kind: Kind) -> str:
    """What a person asks in a row: the text, or the conversation without its system line and frame."""
    value = row.get("text" if kind == "classification" else "input_text")
    if not isinstance(value, str):
        return ""
    if kind == "classification":
        return value
    return _SYSTEM.sub("", value).removesuffix("Assistant:").strip().removeprefix("User: ")


def split_of(file: str) -> int | None:
    """Which of the splits a file belongs to, by its name; None for another file."""
    name = file.removesuffix(".jsonl")
    for number in (3, 2, 1, 0):
        if name == SPLITS[number] or name.endswith(f"_{SPLITS[number]}"):
            return number
    return None


def script_of(text: str) -> str:
    """The letters a text is written in: ``Latin``, or the name of another script that holds a large share; "" without letters."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else ""
    letters = len(_LETTER.findall(text))
    if not letters:
        return ""
    return next((name for name, script in _SCRIPTS.items() if len(script.findall(text)) > FOREIGN_SHARE * letters), "Latin")


def _exempt(trained: list[Place], judged: list[Place], split: int) -> bool:
    """An unseen wording of a trained entry is near to it by design."""
    return SPLITS[split] == "test_phrasing" and bool({place.id for place in judged} & {place.id for place in trained} - {""})


def _leak(place: Place, message: str, code: str = "leak") -> Fault:
    return Fault(place.file, place.line, "", code, f"{message}: the result would be better than the model.")
