"""Rows of a dialogue file as token ids, by the same chat format that answers: the prompt, then the answer that is trained. No torch."""

import json
import math
import random
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.core.errors import DataError
from assistant.core.prompts import ChatFormat, from_input_text, system_prompt
from assistant.core.values import Message

FAULTS_NAMED = 5
BYTES_A_TOKEN = 3
# Of an answer with so many wordings one can be set apart; fewer than so many rows judge nothing.
WORDINGS, FEWEST = 3, 16
# Of so many answers and fewer a part is all of them: they are learned in minutes.
SMALL = 100
# Tokens of an answer that tell which one it is.
OPENING = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its token ids, of which the first ``prompt`` are read and the others are trained.

    Of a preference pair ``ids`` are the prompt with the chosen answer, and ``rejected`` the ids of the other answer. ``entry`` is the id
    of what it was written from.
    """

    ids: tuple[int, ...]
    prompt: int
    rejected: tuple[int, ...] = ()
    entry: str = ""

    @property
    def tokens(self) -> int:
        """How many tokens are computed."""
        return len(self.ids) + (self.prompt + len(self.rejected) if self.rejected else 0)

    @property
    def trained(self) -> int:
        """How many tokens count in the loss."""
        return len(self.ids) - self.prompt + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file as rows. ``cut`` of them were longer than allowed; the last ``replayed`` are not of the file but against forgetting."""

    rows: tuple[Row, ...]
    cut: int = 0
    replayed: int = 0

    @property
    def tokens(self) -> int:
        """All tokens of all rows."""
        return sum(row.tokens for row in self.rows)

    @property
    def answers(self) -> int:
        """How many different answers the rows have."""
        return len({row.ids[row.prompt :] for row in self.rows})

    @property
    def trained(self) -> int:
        """The tokens that count in the loss."""
        return sum(row.trained for row in self.rows)


def encode(path: Path, chat: ChatFormat, model: str, max_length: int) -> Encoded:
    """Every row of a file. Rows without a trained token, and broken ones, are named in one DataError with file and line."""
    rows: list[Row] = []
    faults: list[str] = []
    cut = 0
    for number, line in _lines(path):
        fault, document = _read(line)
        if fault:
            faults.append(f"{path.name}, line {number}: {fault}")
            continue
        row, was_cut = encode_row(document, chat, model, max_length)
        if row.trained < 1:
            faults.append(f"{path.name}, line {number}: no token of the answer is trained, the prompt alone fills {max_length} tokens.")
            continue
        rows.append(row)
        cut += was_cut
    if faults:
        more = f" And {len(faults) - FAULTS_NAMED} more." if len(faults) > FAULTS_NAMED else ""
        raise DataError(" ".join(faults[:FAULTS_NAMED]) + more, "Correct these rows; `validate` shows every fault of a dataset.")
    if not rows:
        raise DataError(f"{path} holds no rows.", "Write or import the dataset again.")
    return Encoded(tuple(rows), cut)


def part(encoded: Encoded, share: float, seed: int) -> Encoded:
    """That share of the answers, and at least ``SMALL``, each with all its questions: fewer things, learned as well as all would be.

    Topic after topic is drawn (what entries' names begin with: "autocad-layer-lock" is of "autocad"), so that the questions of what was not
    learned can be told from those of what was.
    """
    wanted = max(math.ceil(encoded.answers * share), SMALL)
    if wanted >= encoded.answers:
        return encoded
    topics: dict[str, dict[tuple[int, ...], None]] = {}
    for row in encoded.rows:
        topics.setdefault(row.entry.partition("-")[0], {})[row.ids[row.prompt :]] = None
    draw = random.Random(f"{seed}/share")
    answers = [
        answer for topic in draw.sample(list(topics), len(topics)) for answer in draw.sample(list(topics[topic]), len(topics[topic]))
    ]
    chosen = set(answers[:wanted])
    return replace(encoded, rows=tuple(row for row in encoded.rows if row.ids[row.prompt :] in chosen))


def divided(encoded: Encoded, share: float, judged: int, seed: int) -> tuple[Encoded, tuple[Row, ...]]:
    """What a run learns of a file, and at most ``judged`` of its wordings that are set apart to judge on."""
    return apart(part(encoded, share, seed), judged, seed)


def apart(encoded: Encoded, count: int, seed: int) -> tuple[Encoded, tuple[Row, ...]]:
    """Set rows apart to judge on: one wording each of at most ``count`` answers that are learned from two other wordings or more.

    They tell when the answers are known. Rows of other answers tell only when the manner is known: what a model knows of these
    gets worse while it learns facts. At most a tenth of the rows is set apart, and none where that would be under ``FEWEST``.
    """
    wordings: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(encoded.rows):
        wordings.setdefault(row.ids[row.prompt :], []).append(place)
    several = [places for places in wordings.values() if len(places) >= WORDINGS]
    wanted = min(count, len(encoded.rows) // 10, len(several))
    if not wanted or wanted < min(FEWEST, count):
        return encoded, ()
    draw = random.Random(f"{seed}/apart")
    judged = {draw.choice(places) for places in draw.sample(several, wanted)}
    kept = tuple(row for place, row in enumerate(encoded.rows) if place not in judged)
    return replace(encoded, rows=kept), tuple(row for place, row in enumerate(encoded.rows) if place in judged)


def opened(encoded: Encoded, share: float, seed: int) -> Encoded:
    """With that share of each answer's rows cut after the answer's first ``OPENING`` tokens.

    Which answer a question means shows in its beginning and takes more sightings than how it goes on (measured: docs/LOG.md).
    """
    if not share:
        return encoded
    places: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(encoded.rows):
        places.setdefault(row.ids[row.prompt :], []).append(place)
    draw = random.Random(f"{seed}/opened")
    chosen = {place for own in places.values() for place in draw.sample(own, int(len(own) * share))}
    cut = (replace(row, ids=row.ids[: row.prompt + OPENING]) if place in chosen else row for place, row in enumerate(encoded.rows))
    return replace(encoded, rows=tuple(cut))


def estimated(path: Path, model: str, max_length: int) -> Encoded:
    """Rows of about the right lengths, without a tokenizer: rather too many tokens."""
    rows = []
    for _, line in _lines(path):
        fault, document = _read(line)
        if fault:
            continue
        prompt = sum(about_tokens(message.content) + 5 for message in messages(document["input_text"], model))
        whole = prompt + about_tokens(document["target_text"]) + 2
        # The answer's hash stands for its tokens, so that equal answers are known.
        ids = (0,) * min(prompt, max_length - 1)
        answer = (zlib.crc32(document["target_text"].encode()),) * (min(whole, max_length) - len(ids))
        rows.append(Row((*ids, *answer), len(ids), entry=str(document.get("id") or "")))
    if not rows:
        raise DataError(f"{path} holds no rows.", "Write or import the dataset again.")
    return Encoded(tuple(rows))


def about_tokens(text: str) -> int:
    """How many tokens a text has at most, about: one for three letters of ASCII, and one for each byte of any other character.

    A vocabulary without Korean falls back to bytes there; one with it needs a third of them and less.
    """
    plain = len(text.encode("ascii", "ignore"))
    return plain // BYTES_A_TOKEN + len(text.encode()) - plain


def encode_row(document: dict[str, Any], chat: ChatFormat, model: str, max_length: int) -> tuple[Row, bool]:
    """One row as its token ids, and whether it was longer than allowed."""
    prompt = chat.encode(messages(document["input_text"], model))
    ids = [*prompt, *chat.encode_answer(document["target_text"])]
    row = Row(tuple(ids[:max_length]), min(len(prompt), max_length), entry=str(document.get("id") or ""))
    return row, len(ids) > max_length


def messages(input_text: str, model: str) -> list[Message]:
    """The messages of a row; one without a system line gets the model's own."""
    found = from_input_text(input_text)
    return found if found[0].role == "system" else [Message("system", system_prompt(model)), *found]


def questions(
    path: Path, chat: ChatFormat, model: str, max_length: int, answers: Collection[tuple[int, ...]]
) -> tuple[list[str], list[str]]:
    """What a file's rows of one turn ask, each question once: those that have one of these answers, and the others.

    What is asked after earlier turns may mean nothing without them.
    """
    found: tuple[dict[str, None], dict[str, None]] = {}, {}
    for _, line in _lines(path):
        fault, document = _read(line)
        if not fault and len(asked := messages(document["input_text"], model)) == 2:
            row, _ = encode_row(document, chat, model, max_length)
            found[row.ids[row.prompt :] not in answers][asked[-1].content] = None
    own, others = found
    return list(own), [question for question in others if question not in own]


def system(path: Path, model: str) -> str:
    """The system prompt that most rows of a file are trained with; the model is asked with the same one."""
    found: Counter[str] = Counter()
    for _, line in _lines(path):
        fault, document = _read(line)
        if not fault:
            found[messages(document["input_text"], model)[0].content] += 1
    return found.most_common(1)[0][0] if found else system_prompt(model)


def shared_prefix(rows: Sequence[Row]) -> int:
    """How many tokens all prompts begin with alike; at least one token of each prompt is left out of it."""
    if not rows:
        return 0
    first = rows[0].ids
    length = min(row.prompt for row in rows) - 1
    for row in rows:
        place = 0
        while place < length and row.ids[place] == first[place]:
            place += 1
        length = place
    return max(0, length)


def _lines(path: Path) -> list[tuple[int, bytes]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Make it first (`generate` writes the training files).")
    with path.open("rb") as file:
        return [(number, line) for number, line in enumerate(file, 1) if line.strip()]


def _read(line: bytes) -> tuple[str, dict[str, Any]]:
    """What is wrong with a line, or "" and its object."""
    try:
        document = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        return f"not valid JSON ({error}).", {}
    if not isinstance(document, dict):
        return "not a JSON object.", {}
    for name in ("input_text", "target_text"):
        if not isinstance(document.get(name), str) or not document[name].strip():
            return (
                f"'{name}' is missing or empty, so no token would be trained."
                if name == "target_text"
                else f"'{name}' is missing or empty.",
                {},
            )
    return "", document
