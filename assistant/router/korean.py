"""Korean questions read by their words: a base that knows no Korean has no state of mind about them, so its probe would guess.

A small list of word stems for each category; a question without any of them is left to the classifier. Pure.
"""

import re
import unicodedata

from assistant.core.values import CATEGORIES, Judgement

# How sure a reading by words is, and one where words of two categories meet.
SURE, SPLIT = 0.92, 0.62
COMPLEXITY = {"general": 0.1, "qna": 0.3, "technical": 0.3}

_TECHNICAL = re.compile(
    r"sketchup|autocad|\bcad\b|blender|revit|fusion|solidworks|rhino|v-?ray|excel|word|windows|linux|ubuntu|python|wi-?fi|usb|pdf"
    r"|스케치업|캐드|블렌더|레빗|라이노|엑셀|윈도우|리눅스|우분투|파이썬|와이파이|프린터|노트북|컴퓨터|모니터|드라이버|소프트웨어|프로그램"
    r"|모델링|렌더링|곡면|도면|단축키|플러그인|레이어|메시|폴리곤|치수|설치|업데이트|오류|에러|버그|파일|폴더|재부팅|비밀번호|인쇄",
    re.IGNORECASE,
)
_GENERAL = re.compile(
    r"날씨|안녕|반가|고마|감사|미안|기분|슬프|슬퍼|슬픈|우울|외로|힘들|힘든|지쳤|피곤|심심|행복|기뻐|사랑|걱정|불안|무서|화가|짜증|속상|울고"
    r"|농담|이름이\s*뭐|잘\s*지내|뭐\s*해|밥\s*먹|배고|졸려|잘\s*자|좋은\s*(?:아침|하루|밤)|주말|생일|친구랑|비\s*(?:와|오)|눈\s*(?:와|오)|더워|추워",
)
_FACTS = re.compile(
    r"무엇|뭐야|뭔가요|무슨|누구|누가|언제|어디|몇\s|얼마|왜|뜻|의미|정의|설명|차이|역사|수도|인구|법|이란|란\s*무|인가요|이유|원리|알려",
)


def read(question: str) -> Judgement | None:
    """The category of a Korean question by its words; None when none is known. Software outweighs talk, and talk outweighs asking words."""
    text = unicodedata.normalize("NFKC", question)
    found = [name for name, words in (("technical", _TECHNICAL), ("general", _GENERAL), ("qna", _FACTS)) if words.search(text)]
    if not found:
        return None
    first = found[0]
    # "알려줘" and the like say nothing against software or talk.
    share = SPLIT if found[:2] == ["technical", "general"] else SURE
    rest = (1 - share) / (len(CATEGORIES) - 1)
    return Judgement(first, {category: share if category == first else rest for category in CATEGORIES}, COMPLEXITY[first])
