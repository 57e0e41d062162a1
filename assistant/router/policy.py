"""Who answers: pure, values in, a decision out. The user's request, the pin, then complexity and the answer's calibrated confidence.

``first`` decides before an answer, ``after`` when the unified model's answer is there, ``likeliest`` among several that could take over.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from assistant.core.settings import RouterSettings
from assistant.core.values import Judgement, Route, Trigger

SPECIALISTS = ("qna", "technical")
DEFAULTS = ("unified", "base")


@dataclass(frozen=True, slots=True)
class Next:
    """What follows an answer: nothing, an offer of a specialist, or handing the question over; ``reason`` says it with its numbers."""

    step: Literal["keep", "offer", "hand over"]
    model: str | None = None
    trigger: Trigger | None = None
    reason: str = ""


KEEP = Next("keep")


def first(
    judgement: Judgement | None,
    *,
    pinned: str | None,
    requested: bool,
    trained: Collection[str],
    able: Mapping[str, bool],
    named: str | None = None,
    follows: str | None = None,
) -> Route:
    """Who answers a question first.

    ``trained`` are the models with a live version; the untouched base is always there and stands in for what is not trained. ``able`` are
    those whose training covers the question, each with whether that is sure. The user's own request comes first (``named``: for this
    specialist), then a pinned model, then the specialist whose answer the question ``follows``; else the unified model answers, or the
    base where the unified model's training does not cover the question.
    """
    if requested:
        return _requested(judgement, trained, able, named)
    if pinned:
        return Route(pinned, "pinned", f"{pinned} is pinned (`model: auto` and `ft: switch auto` let the router decide again)")
    if follows in trained and follows not in DEFAULTS:
        return Route(follows, None, f"it goes on from the answer before, which was the {follows} specialist's")
    if "unified" not in trained:
        if own := next((model for model, sure in able.items() if sure), None):
            return Route(own, None, f"it lies within what the {own} specialist was trained on")
        return Route("base", None, "nothing is trained yet, so the base model answers" if not trained else _NO_UNIFIED)
    if "unified" not in able:
        return Route("base", None, "it lies outside of what the unified model was trained on, so the base model answers")
    return Route("unified", None, "the unified model answers by default")


def after(
    route: Route,
    judgement: Judgement | None,
    complexity: float | None,
    confidence: float | None,
    trained: Collection[str],
    settings: RouterSettings,
) -> Next:
    """What follows the default model's answer. A None is a number that is not known and decides nothing."""
    specialist = specialist_of(judgement)
    if route.trigger is not None or route.model not in DEFAULTS or judgement is None or specialist is None:
        return KEEP
    ready = specialist in trained and settings.complexity < 1
    if ready and complexity is not None and judgement.category != "unsure" and complexity >= settings.complexity - settings.near:
        told = f"its complexity is {complexity:.0%}"
        if complexity < settings.complexity + settings.near:
            return Next("offer", specialist, "complexity", f"{told}, near the threshold of {settings.complexity:.0%}")
        return _step(settings, specialist, "complexity", f"{told}, above {settings.complexity:.0%}")
    if confidence is None or not settings.confidence or confidence >= settings.confidence + settings.near:
        return KEEP
    others = [model for model in candidates(judgement, trained) if model != route.model]
    if not others:
        return KEEP
    told = f"the {route.model} model's answer is right with {confidence:.0%}"
    if confidence >= settings.confidence - settings.near:
        offered = next((model for model in others if model != "base"), None)
        near = f"{told}, near the threshold of {settings.confidence:.0%}"
        return Next("offer", offered, "confidence", near) if offered else KEEP
    return _step(settings, others[0], "confidence", f"{told}, below {settings.confidence:.0%}")


def candidates(judgement: Judgement | None, trained: Collection[str]) -> list[str]:
    """Who could answer instead of the unified model, the one whose category it is first, the untouched base last."""
    shares = judgement.probabilities if judgement else {}
    known = sorted((model for model in SPECIALISTS if model in trained), key=lambda model: -shares.get(model, 0.0))
    sure = judgement is not None and judgement.category in SPECIALISTS
    # A sure category leaves the other one's specialist out; a domain of the user's may always be the one.
    own = [model for model in known if not sure or (judgement is not None and model == judgement.category)]
    domains = [model for model in trained if model not in (*SPECIALISTS, *DEFAULTS)]
    return [*own, *domains, *(["base"] if "unified" in trained else [])]


def likeliest(draft: float | None, others: Mapping[str, float | None]) -> str | None:
    """Who of the others takes over from a draft that is right with ``draft``: the likeliest, when it is likelier than the draft.

    A specialist without a calibration is taken only when nobody else has one either, the untouched base never.
    """
    known = {model: share for model, share in others.items() if share is not None}
    if not known:
        return next((model for model in others if model != "base"), None)
    best = max(known, key=lambda model: known[model])
    return best if draft is None or known[best] > draft else None


def successor(after: Next, draft: float | None, heard: Mapping[str, float | None], unlikely: float) -> str | None:
    """Who takes over from a draft that is right with ``draft``, of those ``heard``, each with how likely its first words are right.

    Nobody does whose own first words are ``unlikely`` to be right: that costs the time of a second answer and seldom gains (docs/LOG.md).
    Of the others a complex question's guide follows its short answer, and any question goes to whoever is likelier than the draft.
    """
    able = {model: share for model, share in heard.items() if share is None or share >= unlikely}
    return next(iter(able), None) if after.trigger == "complexity" else likeliest(draft, able)


def declined(heard: Mapping[str, float | None]) -> Next:
    """The draft stays, with how likely those are right who were ``heard`` and do not take over."""
    shares = [
        f"{'the untouched base' if model == 'base' else model} with {share:.0%}" for model, share in heard.items() if share is not None
    ]
    return replace(KEEP, reason=f", and nobody takes over (right by their first words: {', '.join(shares)})" if shares else "")


def specialist_of(judgement: Judgement | None) -> str | None:
    """The specialist that may take a question over by itself; None where general talk is likeliest, which never escalates."""
    if judgement is None or max(judgement.probabilities, key=lambda category: judgement.probabilities[category]) == "general":
        return None
    return likelier(judgement)


def likelier(judgement: Judgement | None) -> str:
    """The likelier of the two specialist categories."""
    if judgement is None:
        return "technical"
    return max(SPECIALISTS, key=lambda category: judgement.probabilities[category])


def _requested(judgement: Judgement | None, trained: Collection[str], able: Mapping[str, bool], named: str | None) -> Route:
    if named is not None:
        return Route(named, "request", f"you asked for the {named} specialist")
    domains = [model for model in trained if model not in (*SPECIALISTS, *DEFAULTS)]
    sure = next((model for model in domains if able.get(model)), None)
    if judgement is not None and judgement.category == "general" and not sure:
        return Route(_default(trained), None, f"everyday talk stays with the {_default(trained)} model, which needs no expert")
    specialist = likelier(judgement)
    if specialist in trained:
        return Route(specialist, "request", f"you asked for the expert, and the question is {specialist}")
    if domain := sure or next(iter(domains), None):
        return Route(domain, "request", f"you asked for the expert, and the {domain} specialist is at hand")
    missing = f"you asked for the expert, but the {specialist} specialist is not trained yet (`ft: train {specialist}`)"
    return Route(_default(trained), "request", missing)


def _step(settings: RouterSettings, model: str, trigger: Trigger, reason: str) -> Next:
    return Next("offer" if settings.escalation == "offer" and model != "base" else "hand over", model, trigger, reason)


def _default(trained: Collection[str]) -> str:
    return "unified" if "unified" in trained else "base"


_NO_UNIFIED = "the unified model is not trained yet, so the base model answers"
