"""A domain of the user's own under datasets/NAME/: its name, its split, its files."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.core import store
from assistant.core.errors import UsageError
from assistant.core.values import CATEGORIES
from finetuning.data.audit import question_of
from finetuning.data.dedupe import clusters, near_duplicates
from finetuning.data.shapes import difficulty_of
from finetuning.data.split import TEST_SHARE
from finetuning.data.spool import Spool

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SPLIT_FILES = ("train.jsonl", "validation.jsonl", "test.jsonl")
VALIDATION_SHARE = 0.1
# Nearly equal questions are kept in one split up to so many rows; above, only equal ones are.
MOST_ROWS_COMPARED = 200_000
# Besides the names that no model may have: categories and words that mean something else here.
RESERVED = {*CATEGORIES, "daily_chat", "starter", "preference", "preferences", "exports", "datasets", "models", "logs"}
RESERVED |= {"con", "prn", "aux", "nul"}
DUPLICATE, FILTERED = 3, 4


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of each row: ``of`` is its split (a place in SPLIT_FILES), DUPLICATE or FILTERED; ``first`` its equal before it."""

    of: "Array"
    first: "Array"


def check_name(name: str) -> str:
    """The name, when a domain may have it; else a UsageError."""
    if name in RESERVED or name.endswith(("_specialist", "_cleaned")):
        raise UsageError(f"'{name}' is a reserved name.", f"Choose another one, for example my_{name.split('_')[0]}.")
    return store.check_name(name)


def decide(spool: Spool, seed: int, wanted: "Array", near: float) -> Fate:
    """The split of every row: equal questions together, equal rows once, each category and difficulty divided in the same shares.

    ``wanted`` is False for rows that a filter leaves out.
    """
    import numpy as np

    fate = np.zeros(len(spool), dtype=np.uint8)
    fate[~wanted] = FILTERED
    pairs = np.frombuffer(spool.pairs, dtype=np.uint64)
    kept = np.flatnonzero(wanted)
    _, first, inverse = np.unique(pairs[kept], return_index=True, return_inverse=True)
    first_of = np.arange(len(spool))
    first_of[kept] = kept[first[inverse]]
    fate[first_of != np.arange(len(spool))] = DUPLICATE
    rows = np.flatnonzero(fate == 0)
    groups = _groups(spool, rows, near)
    strata = np.frombuffer(spool.strata, dtype=np.uint32)[rows]
    fate[rows] = split(groups, strata, seed)
    return Fate(fate, first_of)


def split(groups: "Array", strata: "Array", seed: int) -> "Array":
    """A split number for every row: rows of one group alike, the shares kept within every stratum."""
    import numpy as np

    if not len(groups):
        return np.zeros(0, dtype=np.uint8)
    names, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    stratum_of, order = strata[first], _mixed(names, seed)
    by_stratum = np.lexsort((order, stratum_of))
    chosen = np.zeros(len(names), dtype=np.uint8)
    # The shares are carried on from stratum to stratum, so that many small ones still add up.
    for number, share in ((2, TEST_SHARE), (1, VALIDATION_SHARE)):
        free = by_stratum[chosen[by_stratum] == 0]
        rest = share * len(names) / max(1, len(free))
        # The middle of each step, not its end: a stratum of five gives one of ten rather than none.
        steps = np.floor(np.arange(1, len(free) + 1) * rest + 0.5)
        chosen[free[np.diff(steps, prepend=0.0) > 0]] = number
    for number in (2, 1):
        if len(names) >= 3 and not (chosen == number).any():
            chosen[by_stratum[np.flatnonzero(chosen[by_stratum] == 0)[0]]] = number
    return chosen[inverse]


def files(spool: Spool, fate: Fate, scale: dict[str, str], unique_ids: bool, name: str) -> dict[str, Iterator[dict[str, Any]]]:
    """The rows of the three files and of the rejects, each as a stream."""
    streams = {file: _of_split(spool, fate, number, scale, unique_ids, name) for number, file in enumerate(SPLIT_FILES)}
    return {**streams, "rejects.jsonl": _rejects(spool, fate)}


def difficulty_scale(raw: Sequence[str]) -> dict[str, str]:
    """What each difficulty of the source means; a scale of numbers is divided in three. Unknown words mean ""."""
    scale = {text: difficulty_of(text) for text in raw if text}
    numbers = sorted({int(text) for text in scale if re.fullmatch(r"\d{1,2}", text)})
    if len(numbers) < 2:
        return scale
    least, most = numbers[0], numbers[-1]
    for text in scale:
        if re.fullmatch(r"\d{1,2}", text):
            share = (int(text) - least) / (most - least)
            scale[text] = "basic" if share < 1 / 3 else "intermediate" if share <= 2 / 3 else "advanced"
    return scale


def unique(numbers: Sequence[int], lines: Sequence[int]) -> bool:
    """Whether every row of the source has an id of its own (the records of one row share it)."""
    import numpy as np

    ids, places = np.asarray(numbers, dtype=np.uint64), np.asarray(lines, dtype=np.uint64)
    if not len(ids) or (ids == 0).any():
        return False
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return bool((places[first][inverse] == places).all())


def tally(spool: Spool, fate: Fate, scale: dict[str, str]) -> tuple[dict[str, Counter[int]], dict[str, Counter[int]]]:
    """Rows of each split by category and by difficulty."""
    names = {number: stratum for stratum, number in spool.stratum_names.items()}
    categories: dict[str, Counter[int]] = {}
    levels: dict[str, Counter[int]] = {}
    for stratum, where in zip(spool.strata, fate.of.tolist(), strict=True):
        if where < len(SPLIT_FILES):
            category, difficulty = names[stratum]
            categories.setdefault(category, Counter())[where] += 1
            levels.setdefault(scale.get(difficulty, ""), Counter())[where] += 1
    return categories, levels


def _of_split(spool: Spool, fate: Fate, number: int, scale: dict[str, str], unique_ids: bool, name: str) -> Iterator[dict[str, Any]]:
    where = fate.of.tobytes()
    for place, row in spool.rows(lambda place: where[place] == number):
        if not unique_ids:
            row["id"] = f"{name}-{spool.lines[place]}"
        level = scale.get(row.pop("difficulty", ""), "")
        if level:
            row["difficulty"] = level
        yield row


def _rejects(spool: Spool, fate: Fate) -> Iterator[dict[str, Any]]:
    yield from spool.rejects()
    where = fate.of.tobytes()
    for place, row in spool.rows(lambda place: where[place] == DUPLICATE):
        reason = f"the same question and answer as line {spool.lines[int(fate.first[place])]}"
        what = {"input_text": row["input_text"], "target_text": row["target_text"]}
        yield {"line": spool.lines[place], "reason": reason, "row": what}


def _groups(spool: Spool, rows: "Array", near: float) -> "Array":
    """A number for every row that is shared by rows which must not be parted: equal questions, nearly equal ones, one source row."""
    import numpy as np

    questions = np.frombuffer(spool.questions, dtype=np.uint64)[rows]
    lines = np.frombuffer(spool.lines, dtype=np.uint64)[rows]
    same = _joined(questions, lines)
    if not len(rows) or len(rows) > MOST_ROWS_COMPARED:
        return questions[same]
    chosen = set(rows.tolist())
    texts = [question_of(row, "dialogue") for _, row in spool.rows(chosen.__contains__)]
    root = np.asarray(clusters(len(rows), near_duplicates(texts, near)), dtype=np.int64)
    return questions[_joined(root[same], lines)]


def _joined(one: "Array", other: "Array") -> "Array":
    """For every row the first one that it is joined to by equal numbers in either array, directly or through others."""
    import numpy as np

    numbers = [np.unique(keys, return_inverse=True)[1].astype(np.int32) for keys in (one, other)]
    place = np.arange(len(one), dtype=np.int32)
    for _ in range(8):
        before = place
        for number in numbers:
            least = np.full(int(number.max(initial=-1)) + 1, len(one), dtype=np.int32)
            np.minimum.at(least, number, place)
            place = least[number]
        if (place == before).all():
            break
    return place


def _mixed(numbers: "Array", seed: int) -> "Array":
    import numpy as np

    mixed = numbers.astype(np.uint64) ^ np.uint64((seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
