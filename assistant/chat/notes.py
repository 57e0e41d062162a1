"""The lines that stand beside an answer: what the user may do, or should know of it."""

from collections.abc import Iterator

from assistant.core.events import Notice
from assistant.core.values import Judgement, Reply, Route
from assistant.router import policy, triggers
from assistant.router.policy import Next

KOREAN = "This base model knows no Korean, so it answers in English."


def instead(route: Route, version: str | None, last: Reply) -> Notice | None:
    """What is said to somebody who asks the expert to answer again, when the version that would answer has just done so."""
    if (route.model, version) != (last.model, last.version):
        return None
    if route.model in policy.DEFAULTS:
        return Notice(f"{_sentence(route.reason)}; the answer above stays.")
    return Notice(f"The answer above is that of the {route.model} specialist; `retry:` asks for other words.")


def under(route: Route, judgement: Judgement | None, after: Next, draft: float | None, reply: Reply, unlikely: float) -> Iterator[Notice]:
    """The one line under an answer: an offer, why no expert spoke, which of two is the likelier one, or that nobody is likely right."""
    if after.step == "offer":
        words = "네, 전문가 모드로 해주세요" if triggers.is_korean(reply.question) else "yes, expert mode please"
        yield Notice(f"The {after.model} specialist can answer this too ({after.reason}): say “{words}”.")
    elif route.trigger == "request" and route.model in policy.DEFAULTS:
        yield Notice(f"{_sentence(route.reason)}.")
    elif draft is not None and reply.confidence is not None and draft > max(reply.confidence, unlikely):
        yield Notice(f"The first answer is the likelier one: it is right with {draft:.0%}, this one with {reply.confidence:.0%}.")
    elif (
        reply.confidence is not None
        and reply.confidence < unlikely
        and reply.trigger != "pinned"
        and policy.specialist_of(judgement) is not None
    ):
        yield Notice(f"Nobody here is likely to know this: the answer is right with {reply.confidence:.0%}. Better look it up.")


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
