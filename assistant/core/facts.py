"""What "right" means: whether an answer holds the key facts of its row."""

import re
import unicodedata
from collections.abc import Sequence

# Everything but letters, digits, percent and degree signs separates words, so case, punctuation and Markdown do not matter.
_BETWEEN_WORDS = re.compile(r"[^\w%°]+|_")


def normalise(text: str) -> str:
    """A text as bare words: compatibility forms unified, case folded, punctuation and Markdown gone."""
    return " ".join(_BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split())


def facts_present(answer: str, facts: Sequence[str]) -> tuple[str, ...]:
    """The facts that stand in the answer, whole words only: ``E`` is not in "Edge"."""
    words = f" {normalise(answer)} "
    return tuple(fact for fact in facts if _stands_in(fact, words, answer))


def is_right(answer: str, facts: Sequence[str]) -> bool | None:
    """Whether all facts stand in the answer; None when there are none to judge by."""
    return len(facts_present(answer, facts)) == len(facts) if facts else None


def recall(answer: str, facts: Sequence[str]) -> float | None:
    """The share of the facts that stand in the answer; None when there are none to judge by."""
    return len(facts_present(answer, facts)) / len(facts) if facts else None


def _stands_in(fact: str, words: str, answer: str) -> bool:
    bare = normalise(fact)
    # A fact of signs alone (`+=`) has no words and is looked for as it is written.
    return f" {bare} " in words if bare else bool(fact.strip()) and fact.strip() in answer
