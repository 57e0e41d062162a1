"""Words by which a user asks for the specialist, in English and Korean."""

import re
import unicodedata

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
    r"\b(?:yes|yeah|yep|ok|okay|sure|please|pls|thanks|thank|you|can|could|would|will|i|we|me|let'?s|lets|go|do|give|get|have|like|want|need|to|in|into|with|for|the|a|an|it|this|that|"
    r"one|now|then|use|ask|answer|it|again|try|switch|turn|on|mode|just|and|expert|specialist|be|your)\b"
    r"|네|예|응|그래|좋아|좋아요|부탁(?:해|드려)?요?|주세요|주실래요|해\s*주세요|해줘(?:요)?|해|줘|으로|로|를|을|한번|다시|답변|알려|모드",
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


def without_request(text: str) -> str:
    """A message without its request for the specialist and the courtesy around it: what is left is the question."""
    plain = _REQUEST.sub(" ", unicodedata.normalize("NFKC", text))
    return _COURTESY.sub(" ", plain)


def is_korean(text: str) -> bool:
    """Whether a message is written in Korean letters for the larger part."""
    letters = [letter for letter in text if letter.isalpha()]
    hangul = sum("가" <= letter <= "힣" or "ㄱ" <= letter <= "ㅣ" for letter in letters)
    return bool(letters) and hangul * 3 >= len(letters)
