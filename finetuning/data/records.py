"""What the corpus holds, and the rows that are made of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assistant.core.prompts import SYSTEM, to_input_text
from assistant.core.values import CATEGORIES, Message

LABELS = {category: label for label, category in enumerate(CATEGORIES)}
DIFFICULTIES = ("basic", "intermediate", "advanced")
# A reply of a dialogue that is at least so long is a specialist's: the corpus keeps brief answers under 60 words.
EXPERT_WORDS = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One question of the corpus in several phrasings, with its answers. ``expert_answer`` is "" for general talk.

    One of ``phrasings`` is held out where the entry is trained; ``more_phrasings`` are only ever trained, so that they move no split.
    """

    id: str
    topic: str
    category: str
    difficulty: str
    phrasings: tuple[str, ...]
    answer: str
    expert_answer: str
    key_facts: tuple[str, ...]
    expert_facts: tuple[str, ...]
    comment_ko: str
    source: str
    line: int
    more_phrasings: tuple[str, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """All phrasings; those that are only trained come last."""
        return self.phrasings + self.more_phrasings


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation of several turns; ``turns`` are (user, assistant) pairs.

    ``follow_ups_only`` when an entry asks its first question too: that question then is a row of the entry alone.
    """

    id: str
    topic: str
    category: str
    difficulty: str
    turns: tuple[tuple[str, str], ...]
    comment_ko: str
    source: str
    line: int
    follow_ups_only: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A question without an answer: it teaches the classifier alone."""

    text: str
    category: str
    source: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One wording in which an entry is asked: which of its phrasings, and whether it was varied (0: as written)."""

    entry: Entry
    phrasing: int
    variation: int
    text: str


def unified_row(asked: Asked) -> dict[str, Any]:
    """The row that teaches the unified model its brief answer."""
    entry = asked.entry
    return {
        "input_text": input_text("unified", [("user", asked.text)]),
        "target_text": entry.answer,
        "category": entry.category,
        **_about(entry, asked),
        "key_facts": list(entry.key_facts),
        "comment_ko": entry.comment_ko,
    }


def specialist_row(asked: Asked) -> dict[str, Any]:
    """The row that teaches a specialist its complete answer (general talk has no specialist: its answer stays brief)."""
    entry = asked.entry
    return {
        "input_text": input_text(entry.category, [("user", asked.text)]),
        "target_text": entry.expert_answer or entry.answer,
        "category": entry.category,
        **_about(entry, asked),
        "key_facts": list(entry.key_facts),
        "expert_facts": list(entry.expert_facts),
        "comment_ko": entry.comment_ko,
    }


def classification_row(asked: Asked) -> dict[str, Any]:
    """The row that teaches the classifier."""
    return {"text": asked.text, "label": LABELS[asked.entry.category], **_about(asked.entry, asked)}


def question_row(question: Question) -> dict[str, Any]:
    """The row of a question without an answer; how difficult it is nobody said."""
    name = hashlib.sha256(question.text.encode()).hexdigest()[:10]
    about = {"id": f"asked-{name}", "phrasing": 0, "variation": 0, "source": question.source}
    return {"text": question.text, "label": LABELS[question.category], **about}


def dialogue_rows(dialogue: Dialogue, model: str) -> list[dict[str, Any]]:
    """One row a reply, the turns before it in its ``input_text``; a specialist is taught its long replies alone."""
    rows = []
    for place, (_, reply) in enumerate(dialogue.turns):
        brief = model in ("qna", "technical") and len(reply.split()) < EXPERT_WORDS
        if brief or (place == 0 and dialogue.follow_ups_only):
            continue
        messages = [("user", dialogue.turns[0][0])]
        for earlier in range(place):
            messages += [("assistant", dialogue.turns[earlier][1]), ("user", dialogue.turns[earlier + 1][0])]
        row = {
            "input_text": input_text(model, messages),
            "target_text": reply,
            "category": dialogue.category,
            "id": dialogue.id,
            "phrasing": place,
            "variation": 0,
            "difficulty": dialogue.difficulty,
            "source": dialogue.source,
            "key_facts": [],
        }
        extra = {} if model == "unified" else {"expert_facts": []}
        rows.append({**row, **extra, "comment_ko": dialogue.comment_ko})
    return rows


def input_text(model: str, messages: Sequence[tuple[str, str]]) -> str:
    """A conversation as the prompt text of that model, open for its answer."""
    return to_input_text([Message("system", SYSTEM[model]), *(Message(role, text) for role, text in messages)])  # type: ignore[arg-type]


def _about(entry: Entry, asked: Asked) -> dict[str, Any]:
    return {
        "id": entry.id,
        "phrasing": asked.phrasing,
        "variation": asked.variation,
        "difficulty": entry.difficulty,
        "source": entry.source,
    }
