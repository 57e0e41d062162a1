"""The same question as another hand would type it: case, courtesy, contractions, a slip of the fingers."""

import random
import re
from collections.abc import Callable

_CONTRACTIONS = (
    ("what is", "what's"),
    ("how is", "how's"),
    ("where is", "where's"),
    ("that is", "that's"),
    ("it is", "it's"),
    ("i am", "i'm"),
    ("i have", "i've"),
    ("i would", "i'd"),
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("can not", "can't"),
    ("cannot", "can't"),
    ("is not", "isn't"),
    ("are not", "aren't"),
    ("will not", "won't"),
    ("you are", "you're"),
)
_BEFORE = (
    "Quick question: ",
    "Hi, ",
    "Hello, ",
    "Hey, ",
    "Excuse me, ",
    "One question: ",
    "Sorry to bother you, ",
    "Not sure where to ask this: ",
)
_AFTER = (" Thanks!", " Thank you.", " Thanks in advance.", " please", " Please help.", " Any help is welcome.")
_QUESTION = re.compile(r"(?i)^(how|what|which|where|why|when|who|can|could|is|are|does|do|should|explain|tell|show)\b")
# Code, paths, numbers, keys and names keep their letters: a slip there would ask something else.
_PLAIN_WORD = re.compile(r"(?<![\w`'./\\@#&<-])[a-z]{5,}(?![\w`'./\\@#(&>=-])")


def vary(text: str, category: str, rng: random.Random) -> str:
    """The text in another natural form. One to three small changes; the same ``rng`` state gives the same text."""
    changes = _SMALL if category == "general" else _SMALL + _COURTEOUS
    for _ in range(1 + _below(rng, 3)):
        text = changes[_below(rng, len(changes))](text, rng)
    return text


def _below(rng: random.Random, limit: int) -> int:
    # random() is the one method whose sequence Python promises for all versions.
    return int(rng.random() * limit)


def _lower(text: str, rng: random.Random) -> str:
    return text if "`" in text or len(text) > 160 else text.lower()


def _no_end(text: str, rng: random.Random) -> str:
    return text.rstrip("?.! ") or text


def _question_mark(text: str, rng: random.Random) -> str:
    return f"{text}?" if _QUESTION.match(text) and text[-1].isalnum() else text


def _contract(text: str, rng: random.Random) -> str:
    for whole, short in _CONTRACTIONS:
        found = re.search(rf"(?i)\b{whole}\b(?=\s\w)", text)
        if found:
            first = short[0].upper() if found[0][0].isupper() else short[0]
            return text[: found.start()] + first + short[1:] + text[found.end() :]
    return text


def _no_apostrophe(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<=[a-z])'(?=(?:t|s|re|m|ve|d|ll)\b)", "", text)


def _capital(text: str, rng: random.Random) -> str:
    return text[:1].upper() + text[1:]


def _slip(text: str, rng: random.Random) -> str:
    words = list(_PLAIN_WORD.finditer(text))
    if not words or "`" in text:
        return text
    word = words[_below(rng, len(words))]
    place = word.start() + 1 + _below(rng, len(word[0]) - 2)
    kind = _below(rng, 3)
    if kind == 0:
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + (text[place] * 2 if kind == 1 else "") + text[place + 1 :]


def _before(text: str, rng: random.Random) -> str:
    if not _QUESTION.match(text):
        return text
    opening = _BEFORE[_below(rng, len(_BEFORE))]
    return opening + text[0].lower() + text[1:] if text[1:2].islower() else opening + text


def _after(text: str, rng: random.Random) -> str:
    ending = _AFTER[_below(rng, len(_AFTER))]
    if ending == " please":
        return text.rstrip("?.! ") + ending if _QUESTION.match(text) else text
    return text + ending if text[-1] in "?.!" else f"{text}.{ending}" if " " in text else text


_Change = Callable[[str, random.Random], str]
_SMALL: tuple[_Change, ...] = (_lower, _no_end, _question_mark, _contract, _no_apostrophe, _capital, _slip)
_COURTEOUS: tuple[_Change, ...] = (_before, _after)
