"""What "right" means: whether an answer holds the key facts of its row."""

import re
import unicodedata
from collections.abc import Sequence

# Everything but letters, digits, percent and degree signs separates words, so case, punctuation and Markdown do not matter.
_BETWEEN_WORDS = re.compile(r"[^\w%°]+|_")
# What Korean writes onto a word: "제750조에" holds the fact "제750조". At most two follow each other ("에서는").
_PARTICLES = (
    "(?:은|는|이|가|을|를|의|에|에서|에게|께|로|으로|와|과|도|만|까지|부터|간|나|이나|며|이며|고|이고|면|이면|인|란|이란|라고|이라고|라는|이라는|"
    "므로|이므로|보다|마다|씩|이다|입니다|이에요|예요|였습니다|이었습니다){1,2}"
)
# "10만" is ten thousand times ten.
_AFTER_DIGITS = _PARTICLES.replace("|만|", "|")


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
    if not bare:
        return bool(fact.strip()) and fact.strip() in answer
    return f" {bare} " in words or _with_particle(bare, words)


def _with_particle(bare: str, words: str) -> bool:
    # One syllable and a particle are often another word: "사" and "사과".
    if len(bare) < 2 or f" {bare}" not in words:
        return False
    return re.search(f" {re.escape(bare)}{_AFTER_DIGITS if bare[-1].isdigit() else _PARTICLES} ", words) is not None
