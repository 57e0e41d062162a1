"""Words by which a user asks for the specialist, in English and Korean."""

import re
import unicodedata
from collections.abc import Collection

_REQUEST = re.compile(
    r"""
    \b(?:expert|specialist|professional)\s+(?:mode|answer|help|version|opinion)\b
    | \b(?:ask|use|call|want|need|get|switch\s+to)\s+(?:me\s+)?(?:the|an|your|a)\s+(?:expert|specialist)\b
    | \bmore\s+(?:accurate|precise|detailed|exact|thorough|professional)\s+(?:answer|reply|explanation|response)\b
    | \b(?:a\s+)?better\s+answer\b
    | \bin\s+expert\s+mode\b
    | 전문가\s*(?:모드|답변|에게|한테|로)
    | (?:더|좀\s*더|보다)\s*(?:정확|전문|자세|상세)[가-힣]*\s*(?:답변|답|설명|대답|정보)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:no|not|don'?t|without|never)\b[^.?!]{0,20}\b(?:expert|specialist)|전문가\s*(?:모드)?[가-힣]*\s*(?:말고|없이|필요\s*없|싫)",
    re.IGNORECASE,
)
# What may stand around the request without being a question of its own.
_COURTESY = re.compile(
    r"\b(?:yes|yeah|yep|ok|okay|sure|please|pls|thanks|thank|you|ahead|can|could|would|will|i|we|me|let'?s|lets|go|do|give|get|have|like|want|need|to|in|into|with|for|the|a|an|it|this|that|"
    r"one|now|then|use|ask|answer|it|again|try|switch|turn|on|mode|just|and|expert|specialist|be|your)\b"
    r"|네|예|응|그래|좋아|좋아요|부탁(?:해|드려)?요?|주세요|주실래요|해\s*주세요|해줘(?:요)?|해|줘|으로|로|를|을|한번|다시|답변|알려|모드",
    re.IGNORECASE,
)


# A follow-up is short: a long question says itself what it is about.
SHORT = 9
_YES = re.compile(r"\b(?:yes|yeah|yep|sure|ok|okay|please|go ahead|do it)\b|네|예|응|그래|좋아|부탁|해\s*줘|해\s*주세요", re.IGNORECASE)
_NO = re.compile(r"\b(?:no|not|don'?t|never|thanks|thank|nah)\b|아니|싫|고마|감사", re.IGNORECASE)
_ASKS = re.compile(
    r"\?|？|^\W*(?:and|so|then|but|what|how|why|where|when|which|who|can|could|does|is)\b|^\W*(?:그럼|그러면|그리고|왜|어떻게)",
    re.IGNORECASE,
)
_LEANS = re.compile(
    r"\b(?:it|its|that|this|they|them|those|these|there|one)\b|^\W*(?:and|so|then|but|(?:what|how) about|why)\b"
    r"|그럼|그러면|그리고|그건|그거|왜",
    re.IGNORECASE,
)


def asks_for_specialist(text: str) -> bool:
    """Whether the user asks for the specialist in words ("expert mode", "더 정확한 답변" …)."""
    plain = unicodedata.normalize("NFKC", text)
    return bool(_REQUEST.search(plain)) and not _REFUSED.search(plain)


def asks_only_for_specialist(text: str) -> bool:
    """Whether the request is the whole message ("yes, expert mode please"), so that the previous question is meant."""
    if not asks_for_specialist(text):
        return False
    return not re.search(r"\w", without_request(text))


def without_name(text: str, model: str) -> str:
    """A message without the name of a specialist, so that "ask the law specialist" reads like "ask the specialist"."""
    return re.sub(re.escape(model.replace("_", " ")), " ", unicodedata.normalize("NFKC", text), flags=re.IGNORECASE)


def accepts(text: str) -> bool:
    """Whether a message only says yes, to an offer made before ("yes please", "go ahead", "네")."""
    plain = unicodedata.normalize("NFKC", text)
    return bool(_YES.search(plain)) and not _NO.search(plain) and not re.search(r"\w", without_request(plain))


def named(text: str, models: Collection[str]) -> str | None:
    """The specialist among the models that a message names ("ask the law specialist"), or None."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    for model in models:
        words = re.escape(model.replace("_", " "))
        asked = (
            rf"\b(?:ask|use|call|want|need|get|take|try)\s+(?:the|your|a|an)?\s*{words}\s+(?:expert|specialist|model)\b|{words}\s*전문가"
        )
        if model not in ("unified", "base") and re.search(asked, plain) and not _REFUSED.search(plain):
            return model
    return None


def leans_on_the_last(text: str) -> bool:
    """Whether a message is a short question that means nothing without the one before it ("and how do I undo that?", "그럼 왜?")."""
    plain = unicodedata.normalize("NFKC", text).strip()
    return len(plain.split()) <= SHORT and bool(_ASKS.search(plain)) and bool(_LEANS.search(plain)) and not _NO.search(plain)


def without_request(text: str) -> str:
    """A message without its request for the specialist and the courtesy around it: what is left is the question."""
    plain = _REQUEST.sub(" ", unicodedata.normalize("NFKC", text))
    return _COURTESY.sub(" ", plain)


def is_korean(text: str) -> bool:
    """Whether a message is written in Korean letters for the larger part."""
    letters = [letter for letter in text if letter.isalpha()]
    hangul = sum("가" <= letter <= "힣" or "ㄱ" <= letter <= "ㅣ" for letter in letters)
    return bool(letters) and hangul * 3 >= len(letters)


def is_foreign(text: str, base: str) -> bool:
    """Whether a message is in a language that the configured base does not know: Korean on the embedded one."""
    return base == "embedded" and is_korean(text)
