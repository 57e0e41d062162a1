"""How much an answer a question wants: the classifier's reading, raised where the words themselves ask for steps or depth."""

import re
import unicodedata

from assistant.core.values import Judgement

# What a how-to in software is worth at least: one sentence of the unified model does not draw a line.
STEPS = 0.75
DEPTH = 0.80

_STEPS = re.compile(
    r"""
    ^\W*(?:please\s+)?(?:(?:can|could|would)\s+you\s+)?(?:tell|show|explain|teach|walk)?\s*(?:me\s+|us\s+)?(?:through\s+)?
        how\s+(?:do|does|can|could|should|would|to|am)\b
    | \bstep[\s-]by[\s-]step\b | \b(?:steps|way|ways|guide|tutorial|workflow|procedure|instructions)\s+(?:to|for|on|of)\b
    | 어떻게 | 방법 | 순서 | 단계별 | 하는\s*법 | 따라\s*하
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DEPTH = re.compile(
    r"\b(?:advanced|professional|in[\s-]depth|in\s+detail|detailed|comprehensive|complex|sophisticated|expert[\s-]level)\b"
    r"|고급|심화|전문적|상세|자세[히한]|복잡한",
    re.IGNORECASE,
)


def complexity(judgement: Judgement | None, question: str) -> float | None:
    """The complexity of a question from 0 to 1; None without a classifier. General talk is as complex as the classifier reads it."""
    if judgement is None or judgement.complexity is None:
        return None
    read = judgement.complexity
    if judgement.category == "technical" and wants_depth(question):
        return max(read, DEPTH)
    if judgement.category == "technical" and wants_steps(question):
        return max(read, STEPS)
    if judgement.category == "qna" and wants_depth(question):
        return max(read, DEPTH)
    return read


def wants_steps(question: str) -> bool:
    """Whether a question asks how to do something, in English or Korean."""
    return bool(_STEPS.search(unicodedata.normalize("NFKC", question)))


def wants_depth(question: str) -> bool:
    """Whether a question asks for something advanced or detailed."""
    return bool(_DEPTH.search(unicodedata.normalize("NFKC", question)))
