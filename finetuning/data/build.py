"""The rows of every file, chosen from the corpus: a pure function of corpus, seed, categories and size."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assistant.core.facts import normalise
from assistant.core.values import CATEGORIES
from finetuning.data.corpus import Corpus
from finetuning.data.dedupe import Pair, clusters, near_duplicates
from finetuning.data.records import (
    Asked,
    Dialogue,
    Entry,
    Question,
    classification_row,
    dialogue_rows,
    question_row,
    specialist_row,
    unified_row,
)
from finetuning.data.split import Keyed, Split, by_entry, held_out, place, shuffled
from finetuning.data.vary import vary

NINE_FILES = (
    *(f"classification_{split}.jsonl" for split in ("train", "validation", "test")),
    *(f"dialogue_{category}_train.jsonl" for category in CATEGORIES),
    *(f"unified_{split}.jsonl" for split in ("train", "validation", "test")),
)
# Judging is by generation, which is slow: so many wordings of each unseen entry are enough.
JUDGED_PHRASINGS = 2
# Of a given size, dialogues of several turns take at most this share.
DIALOGUE_SHARE = 0.1
# Entries with phrasings so much alike count as one question: they may not stand on both sides of a split.
SAME_QUESTION = 0.7
# Of a given size, at most every so many-th row of a label in the classifier's file is a bare question.
QUESTION_SHARE = 12
# A phrasing is varied at most so often before a further row would be mere repetition.
MOST_VARIATIONS = 40

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The corpus, divided: what is trained, what judges unseen entries, and the one wording held out of each trained entry."""

    entries: dict[Split, list[Entry]]
    dialogues: dict[Split, list[Dialogue]]
    held_out: dict[str, int]


def build(corpus: Corpus, seed: int, categories: Sequence[str] = CATEGORIES, size: int | None = None) -> dict[str, Rows]:
    """All files of the dataset as rows. The same corpus, seed, categories and size give the same rows in the same order."""
    parts = divide(corpus, seed, categories)
    parts = _without_leaks(parts)
    forbidden = {normalise(text) for text in _texts_for_judging(parts)}
    dialogues = parts.dialogues["train"]
    if size is not None:
        dialogues = _first_rows(shuffled(dialogues, seed, key=lambda dialogue: dialogue.id), int(size * DIALOGUE_SHARE))
    spoken = len(_spoken(dialogues, "unified"))
    wordings = {
        category: _wordings([entry for entry in parts.entries["train"] if entry.category == category], parts.held_out, forbidden, seed)
        for category in categories
    }
    asked = {category: list(_take(wordings[category], _target(category, categories, size, spoken))) for category in categories}
    labelled = _labelled(corpus, categories, None if size is None else size // QUESTION_SHARE)
    most = max((len(rows) + len(labelled[category]) for category, rows in asked.items()), default=0)
    balanced = {
        category: asked[category] + list(_take(wordings[category], most - len(asked[category]) - len(labelled[category])))
        for category in categories
    }
    trained = {one.entry.id for rows in asked.values() for one in rows}
    files = _training_files(asked, balanced, labelled, dialogues, seed)
    files |= _judging_files(parts, categories, seed)
    files |= _unseen_wording_files(parts, trained, seed)
    return {name: files[name] for name in (*NINE_FILES, *sorted(set(files) - set(NINE_FILES)))}


def divide(corpus: Corpus, seed: int, categories: Sequence[str] = CATEGORIES) -> Parts:
    """The corpus by split, and the held-out phrasing of each trained entry that no other entry resembles."""
    entries = [entry for entry in corpus.entries if entry.category in categories]
    dialogues = [dialogue for dialogue in corpus.dialogues if dialogue.category in categories]
    groups = _groups(entries, dialogues)
    asked = Counter(groups[entry.id] for entry in entries)
    dialogues = [replace(dialogue, follow_ups_only=asked[groups[dialogue.id]] > 0) for dialogue in dialogues]
    splits = by_entry([Keyed(item.id, item.category, groups[item.id]) for item in (*entries, *dialogues)], seed)
    alone = [entry for entry in entries if splits[entry.id] == "train" and asked[groups[entry.id]] == 1]
    kept = {entry.id: held_out(entry.id, len(entry.phrasings), seed) for entry in alone}
    names: tuple[Split, ...] = ("train", "validation", "test")
    return Parts(
        {name: [entry for entry in entries if splits[entry.id] == name] for name in names},
        {name: [dialogue for dialogue in dialogues if splits[dialogue.id] == name] for name in names},
        {id: phrasing for id, phrasing in kept.items() if phrasing is not None},
    )


def _groups(entries: Sequence[Entry], dialogues: Sequence[Dialogue]) -> dict[str, str]:
    """For every entry and dialogue the first one that is asked in nearly the same words: they stay in one split."""
    asked = [(entry.id, text) for entry in entries for text in entry.phrasings] + [
        (dialogue.id, dialogue.turns[0][0]) for dialogue in dialogues
    ]
    names = {id: number for number, id in enumerate(dict.fromkeys(id for id, _ in asked))}
    ids = list(names)
    pairs = near_duplicates([text for _, text in asked], SAME_QUESTION)
    joined = [Pair(*sorted((names[asked[pair.first][0]], names[asked[pair.second][0]])), pair.likeness) for pair in pairs]
    return {id: ids[root] for id, root in zip(ids, clusters(len(ids), joined), strict=True)}


def _texts_for_judging(parts: Parts) -> list[str]:
    judged = [*parts.entries["validation"], *parts.entries["test"]]
    texts = [text for entry in judged for text in entry.phrasings]
    return texts + [entry.phrasings[parts.held_out[entry.id]] for entry in parts.entries["train"] if entry.id in parts.held_out]


def _without_leaks(parts: Parts) -> Parts:
    """Phrasings that are only trained, without those that nearly ask what judges; entries that judge have none of them."""
    judging = _texts_for_judging(parts)
    trained = parts.entries["train"]
    more = [text for entry in trained for text in entry.more_phrasings]
    pairs = near_duplicates(judging + more, SAME_QUESTION, [0] * len(judging) + [1] * len(more))
    leaks = {more[max(pair.first, pair.second) - len(judging)] for pair in pairs}
    kept: dict[Split, list[Entry]] = {
        "train": [replace(entry, more_phrasings=tuple(text for text in entry.more_phrasings if text not in leaks)) for entry in trained],
        "validation": [replace(entry, more_phrasings=()) for entry in parts.entries["validation"]],
        "test": [replace(entry, more_phrasings=()) for entry in parts.entries["test"]],
    }
    return replace(parts, entries=kept)


def _wordings(entries: list[Entry], kept: dict[str, int], forbidden: set[str], seed: int) -> Iterator[Asked]:
    """Every wording of the entries: first each phrasing as written, entry after entry, then varied ones, until nothing new comes."""
    order = {entry.id: _phrasings(entry, kept.get(entry.id), seed) for entry in entries}
    entries = shuffled(entries, seed, key=lambda entry: entry.id)
    seen: set[str] = set()
    for variation in range(MOST_VARIATIONS + 1):
        for rank in range(max(map(len, order.values()), default=0)):
            for entry in entries:
                if rank >= len(order[entry.id]):
                    continue
                phrasing = order[entry.id][rank]
                text = _text(entry, phrasing, variation, order[entry.id], seed)
                if text in seen or normalise(text) in forbidden:
                    continue
                seen.add(text)
                yield Asked(entry, phrasing, variation, text)


def _phrasings(entry: Entry, kept: int | None, seed: int) -> list[int]:
    places = [number for number in range(len(entry.wordings)) if number != kept]
    return sorted(places, key=lambda number: place(seed, "rank", entry.id, number))


def _text(entry: Entry, phrasing: int, variation: int, usable: list[int], seed: int) -> str:
    text = entry.wordings[phrasing]
    if variation == 0:
        return text
    rng = random.Random(f"{seed}/{entry.id}/{phrasing}/{variation}")
    # A forum post: a short head, then the long story. It keeps a classifier from taking length for a category.
    if variation % 4 == 2 and entry.category != "general" and len(text) < 60:
        longest = max((entry.wordings[number] for number in usable), key=len)
        if longest != text:
            return f"{vary(text, 'general', rng)}\n\n{longest}"
    return vary(text, entry.category, rng)


def _target(category: str, categories: Sequence[str], size: int | None, spoken: int) -> int | None:
    if size is None:
        return None
    rest = size - spoken
    return rest // len(categories) + (1 if categories.index(category) < rest % len(categories) else 0)


def _labelled(corpus: Corpus, categories: Sequence[str], most: int | None) -> dict[str, list[Question]]:
    """The bare questions by category, at most so many of each, without those that an entry or a dialogue asks in nearly the same words."""
    trained = {normalise(text) for entry in corpus.entries for text in entry.more_phrasings}
    asked = [text for entry in corpus.entries for text in entry.phrasings] + [dialogue.turns[0][0] for dialogue in corpus.dialogues]
    pairs = near_duplicates([question.text for question in corpus.questions] + asked, SAME_QUESTION)
    ends = [sorted((pair.first, pair.second)) for pair in pairs]
    known = {first for first, second in ends if first < len(corpus.questions) <= second}
    new = {one.text: one for place, one in enumerate(corpus.questions) if place not in known and normalise(one.text) not in trained}
    return {category: [one for one in new.values() if one.category == category][:most] for category in categories}


def _take(wordings: Iterator[Asked], count: int | None) -> Iterator[Asked]:
    """So many of the next wordings; for None all that stand in the corpus as they are."""
    while count is None or count > 0:
        one = next(wordings, None)
        if one is None or (count is None and one.variation):
            return
        yield one
        count = None if count is None else count - 1


def _first_rows(dialogues: list[Dialogue], rows: int) -> list[Dialogue]:
    chosen: list[Dialogue] = []
    for dialogue in dialogues:
        rows -= len(dialogue_rows(dialogue, "unified"))
        if rows < 0:
            break
        chosen.append(dialogue)
    return chosen


def _training_files(
    asked: dict[str, list[Asked]],
    balanced: dict[str, list[Asked]],
    labelled: dict[str, list[Question]],
    dialogues: list[Dialogue],
    seed: int,
) -> dict[str, Rows]:
    everything = [one for rows in asked.values() for one in rows]
    bare = [question_row(one) for rows in labelled.values() for one in rows]
    files = {
        "classification_train.jsonl": _mixed([classification_row(one) for rows in balanced.values() for one in rows] + bare, seed),
        "unified_train.jsonl": _mixed([unified_row(one) for one in everything] + _spoken(dialogues, "unified"), seed),
    }
    for category in CATEGORIES:
        rows = [specialist_row(one) for one in asked.get(category, [])]
        files[f"dialogue_{category}_train.jsonl"] = _mixed(rows + _spoken(dialogues, category), seed)
    return files


def _judging_files(parts: Parts, categories: Sequence[str], seed: int) -> dict[str, Rows]:
    files: dict[str, Rows] = {}
    for split in ("validation", "test"):
        entries, dialogues = parts.entries[split], parts.dialogues[split]
        asked = [
            Asked(entry, number, 0, entry.phrasings[number])
            for entry in entries
            for number in _phrasings(entry, None, seed)[:JUDGED_PHRASINGS]
        ]
        files[f"unified_{split}.jsonl"] = _mixed([unified_row(one) for one in asked] + _spoken(dialogues, "unified"), seed)
        for category in CATEGORIES:
            rows = [specialist_row(one) for one in asked if one.entry.category == category]
            files[f"dialogue_{category}_{split}.jsonl"] = _mixed(rows + _spoken(dialogues, category), seed)
        files[f"classification_{split}.jsonl"] = _mixed(_level(entries, categories, seed), seed)
    return files


def _level(entries: list[Entry], categories: Sequence[str], seed: int) -> Rows:
    """Classification rows with equally many of each label, spread over all entries."""
    plain = {
        category: list(_take(_wordings([entry for entry in entries if entry.category == category], {}, set(), seed), None))
        for category in categories
    }
    least = min(map(len, plain.values()), default=0)
    return [classification_row(one) for asked in plain.values() for one in asked[:least]]


def _unseen_wording_files(parts: Parts, trained: set[str], seed: int) -> dict[str, Rows]:
    asked = [
        Asked(entry, parts.held_out[entry.id], 0, entry.phrasings[parts.held_out[entry.id]])
        for entry in parts.entries["train"]
        if entry.id in parts.held_out and entry.id in trained
    ]
    files = {
        "unified_test_phrasing.jsonl": _mixed([unified_row(one) for one in asked], seed),
        "classification_test_phrasing.jsonl": _mixed([classification_row(one) for one in asked], seed),
    }
    for category in ("qna", "technical"):
        files[f"dialogue_{category}_test_phrasing.jsonl"] = _mixed(
            [specialist_row(one) for one in asked if one.entry.category == category], seed
        )
    return files


def _spoken(dialogues: list[Dialogue], model: str) -> Rows:
    return [row for dialogue in dialogues if model in ("unified", dialogue.category) for row in dialogue_rows(dialogue, model)]


def _mixed(rows: Rows, seed: int) -> Rows:
    return shuffled(rows, seed, key=lambda row: (row["id"], row["phrasing"], row["variation"]))
