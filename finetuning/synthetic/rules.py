"""When a written row is kept: pure rules, each with a name; a row and the limits in, the reason against it out ("" when there is none)."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from assistant.core.facts import normalise
from finetuning.data.audit import script_of
from finetuning.synthetic.config import SyntheticConfig

Row = dict[str, Any]
Rule = Callable[[Row, SyntheticConfig], str]
# Texts with fewer words are too short to tell a language by its common words.
TELLING_WORDS = 20
# So many common words of another language, and more than English ones, tell that language.
FOREIGN_WORDS = 2
# Below this an answer is too short to repeat itself.
REPEATING_WORDS = 12
SHORT_LINE_WORDS = 8

_TEMPLATE = re.compile(
    r"<\|[^|<>]{1,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|</?think>"
    r"|^\s*(?:User|Assistant|System|Human|AI)\s*:|^\s*#{2,}\s*(?:Instruction|Response|Input)\b",
    re.MULTILINE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_REFUSAL = re.compile(
    r"\bas an? (?:large |helpful )?(?:ai|artificial intelligence)\b(?: language)?(?: model| assistant)?"
    r"|\bi(?:'m| am) (?:just |only )?(?:an? )?(?:ai\b|language model|(?:helpful |digital |virtual |technical )*assistant\b|smollm)"
    r"|\bi(?:'m| am) (?:sorry|afraid)[,.]? (?:but |that )?i(?:'m| am)? ?(?:can(?:no|')t|can not|unable|not able|do(?:n't| not) have)"
    r"|\bi(?:'m| am) (?:unable|not able) to\b"
    r"|\bi (?:cannot|can't|can not|am not able to|am unable to) (?:assist|help|provide|answer|fulfil|comply|access|browse|see|open)"
    r"|\bmy (?:knowledge|training) (?:cutoff|data)\b",
    re.IGNORECASE | re.DOTALL,
)
# What an assistant says, where a user should have spoken.
_ROLE_SWAPPED = re.compile(
    r"\A(?:(?:hi|hello|hey|sure|of course|certainly|absolutely|great|welcome|yes)[!,. ]+)*"
    r"(?:how (?:can|may) i (?:help|assist)|what can i (?:help|do for)"
    r"|i(?:'m| am| will be|'d be| would be) (?:here|happy|glad|ready) to (?:help|assist)|(?:i )?(?:can|will|'ll) (?:help|assist) you"
    r"|here(?:'s| is| are) (?:a|an|the|some|your)|sure[!,]|of course[!,]|certainly[!,]|you are a|thank you for (?:your|asking|reaching))",
    re.IGNORECASE,
)
# A request that speaks of material which is not there.
_MISSING = re.compile(
    r"\b(?:the (?:following|given|above|provided|attached|text below)"
    r"|this (?:text|passage|article|paragraph|sentence|code|image|picture|document))\b",
    re.IGNORECASE,
)
# Material: something after a colon, in quotation marks, in code, or on a line of its own.
_MATERIAL = re.compile(r":\s*\S|[\"“'‘`]\w.*[\"”'’`]|\n", re.DOTALL)
_CLOSED = re.compile(r"[.!?…:;)\]}>\"'”’»*_`|\d]\s*\Z|\A\S+\Z")
_LIST = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+\S")
_OPEN_END = re.compile(r"(?:[,:;(\[{–-]|\b(?:and|or|the|a|an|of|with|because|but))\s*\Z", re.IGNORECASE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _words(
    "the a an and or but if of to in on at by for from with as is are was were be been am do does did have has had will would "
    "can could should may might this that these those it its i you he she we they my your his her our their me him them what "
    "which who when where why how not no yes there here so than then about into over after before up down out more most some "
    "any all each other one two also just use make need want like "
)
# Common words of German, French, Spanish, Italian, Portuguese and Dutch that are no English words.
_FOREIGN = _words(
    "der das und ist nicht ein eine einen von zu auf für wie kann ich sie wir warum jeden zum zur dem des sich auch "
    "le la les un une des est et dans pour que qui sur avec pas vous je nous ce cette du au aux sont "
    "el los las una del por para con como más está son qué cómo su sus es y o se "
    "il di che non sono della nel gli più questo dei è "
    "um uma não em ao das você ele ela seu sua "
    "het een niet zijn voor deze dat wat hoe ook aan"
)


def template(row: Row, limits: SyntheticConfig) -> str:
    """Marks of a chat template, or a turn of a conversation inside a text."""
    for name in ("instruction", "response"):
        if found := _TEMPLATE.search(row[name]):
            return f"the {name} holds '{found[0].strip()}'"
    return ""


def length(row: Row, limits: SyntheticConfig) -> str:
    """Too few or too many words."""
    for name, least, most in (
        ("instruction", limits.min_instruction_words, limits.max_instruction_words),
        ("response", limits.min_answer_words, limits.max_answer_words),
    ):
        words = len(row[name].split())
        if not least <= words <= most:
            return f"the {name} has {words} words; {least} to {most} are kept"
    return ""


def language(row: Row, limits: SyntheticConfig) -> str:
    """Not English: other letters, more common words of another language, or too few of English in a longer text; code aside."""
    for name in ("instruction", "response"):
        text = _CODE.sub(" ", row[name])
        script = script_of(text)
        if script not in ("Latin", ""):
            return f"the {name} is written in {script} letters"
        words = [word.casefold() for word in _WORD.findall(text)]
        english, foreign = (sum(word in known for word in words) for known in (_COMMON, _FOREIGN))
        if foreign >= FOREIGN_WORDS and foreign > english:
            return f"the {name} has {foreign} common words of another language and {english} English ones"
        if len(words) >= TELLING_WORDS and english / len(words) < limits.min_english:
            return f"the {name} has {english / len(words):.0%} common English words, below {limits.min_english:.0%}"
    return ""


def repetition(row: Row, limits: SyntheticConfig) -> str:
    """The same again: lines, sentences, groups of three words, or the request itself as its answer."""
    if normalise(row["response"]) == normalise(row["instruction"]):
        return "the response is the instruction again"
    for name in ("instruction", "response"):
        pieces = [normalise(piece) for piece in re.split(r"\n+|(?<=[.!?])\s+", row[name])]
        for line, times in Counter(piece for piece in pieces if len(piece.split()) > 2).most_common(1):
            if times > limits.max_same_line:
                return f"the {name} says “{line[:40]}” {times} times"
        words = normalise(row[name]).split()
        groups = list(zip(words, words[1:], words[2:], strict=False))
        if len(words) >= REPEATING_WORDS and (share := len(set(groups)) / len(groups)) < limits.min_distinct:
            return f"{share:.0%} of the {name}'s groups of three words differ, below {limits.min_distinct:.0%}"
    return ""


def refusal(row: Row, limits: SyntheticConfig) -> str:
    """A refusal, talk about being a machine, or an assistant's words where a user should ask."""
    for name in ("instruction", "response"):
        if found := _REFUSAL.search(row[name]):
            return f"the {name} says “{' '.join(found[0].split())[:60]}”"
    if found := _ROLE_SWAPPED.search(row["instruction"]):
        return f"the instruction begins like an assistant: “{found[0].strip()[:60]}”"
    return ""


def completeness(row: Row, limits: SyntheticConfig) -> str:
    """Cut off, without its end, with an open block of code, or about material that is not there."""
    for name in ("instruction", "response"):
        if not row[f"{name}_ended"]:
            return f"the {name} was cut off"
        text = row[name].rstrip()
        if text.count("```") % 2:
            return f"the {name} leaves a block of code open"
        if _OPEN_END.search(text):
            return f"the {name} breaks off after “{text[-30:]}”"
    lines = row["response"].strip().splitlines() or [""]
    # The last of several short lines may stand without a full stop: an entry, a name under a letter.
    ends = _CLOSED.search(lines[-1]) or _LIST.match(lines[-1]) or (len(lines) > 1 and len(lines[-1].split()) <= SHORT_LINE_WORDS)
    if lines[-1] and not ends:
        return f"the response has no end: “{lines[-1][-40:]}”"
    if (found := _MISSING.search(row["instruction"])) and not _MATERIAL.search(row["instruction"].strip()):
        return f"the instruction speaks of “{found[0]}”, which is not there"
    return ""


# In this order; the first that speaks is the reason a row is counted under.
RULES: dict[str, Rule] = {
    "template": template,
    "length": length,
    "language": language,
    "refusal": refusal,
    "completeness": completeness,
    "repetition": repetition,
}


def judge_request(row: Row, limits: SyntheticConfig) -> tuple[str, str]:
    """``judge`` of the request alone, as if it had been answered well."""
    return judge({**row, "response": "A short answer, in plain words.", "response_ended": True}, limits)


def judge(row: Row, limits: SyntheticConfig) -> tuple[str, str]:
    """The first rule against a row and its reason; two empty texts when it is kept."""
    for name, rule in RULES.items():
        if reason := rule(row, limits):
            return name, reason
    return "", ""
