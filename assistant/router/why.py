"""Why an answer came from that model, in a few plain lines with its numbers, and the one thing that would have changed it. Pure."""

from collections.abc import Collection

from assistant.core.settings import RouterSettings
from assistant.core.values import Reply
from assistant.router import policy


def explain(reply: Reply, draft: Reply | None, trained: Collection[str], settings: RouterSettings) -> list[str]:
    """The lines of ``why:``. ``draft`` is the answer that ``reply`` took over from, if there was one."""
    name = f"{reply.model} {reply.version}" if reply.version else reply.model
    lines = [f"{name} answered: {reply.reason}."]
    if reply.category_probabilities:
        shares = ", ".join(f"{category} {share:.0%}" for category, share in reply.category_probabilities.items())
        known = "the category is unsure" if reply.category == "unsure" else f"it was read as {reply.category}"
        depth = f"; complexity {reply.complexity:.0%} (threshold {settings.complexity:.0%})" if reply.complexity is not None else ""
        lines.append(f"The question: {known} ({shares}){depth}.")
    lines.append(_confidence(reply, draft, settings))
    if reply.stopped == "repetition":
        lines.append("The answer went round in circles and was cut.")
    lines.append(f"What would have changed it: {_otherwise(reply, draft, trained, settings)}.")
    return lines


def _confidence(reply: Reply, draft: Reply | None, settings: RouterSettings) -> str:
    if reply.confidence is None and reply.category == "general":
        return "It is talk, which holds no facts that could be right or wrong, so it has no confidence."
    if reply.confidence is None:
        return f"How likely this answer is right is not known: {reply.model} is not calibrated here (`ft: calibrate {reply.model}`)."
    before = f", the draft before it with {draft.confidence:.0%}" if draft is not None and draft.confidence is not None else ""
    return f"This answer is right with {reply.confidence:.0%}{before} (threshold {settings.confidence:.0%})."


def _otherwise(reply: Reply, draft: Reply | None, trained: Collection[str], settings: RouterSettings) -> str:
    match reply.trigger:
        case "pinned":
            return "`model: auto` (and `ft: switch auto`) let the router decide"
        case "request":
            return "without your request the unified model would have answered first" if reply.escalated else _training(reply)
        case "complexity":
            return f"`ft: settings router.complexity` above {_above(reply.complexity)} would have left it with {_first(draft)}"
        case "confidence":
            share = draft.confidence if draft else None
            return f"`ft: settings router.confidence` at {_at(share)} or lower would have left it with {_first(draft)}"
    return _kept(reply, trained, settings)


def _kept(reply: Reply, trained: Collection[str], settings: RouterSettings) -> str:
    """Why nobody took over from the default model."""
    if reply.model == "base" and "unified" in trained:
        return "`model: unified` makes the unified model answer all the same"
    likeliest = max(reply.category_probabilities or {"": 1.0}, key=lambda name: (reply.category_probabilities or {"": 1.0})[name])
    if likeliest == "general":
        return "nothing; everyday talk stays with the unified model (`model: NAME` pins another one)"
    specialists = [model for model in trained if model not in policy.DEFAULTS]
    if not specialists:
        return _training(reply)
    if reply.confidence is None:
        return "your request (`expert:`), or a calibration, so that its confidence could count"
    if settings.escalation == "offer":
        return "your request (`expert:`); `router.escalation` is `offer`, so nothing is handed over by itself"
    if reply.complexity is not None and reply.category != "unsure" and reply.complexity >= settings.complexity + settings.near:
        return f"a specialist whose first words are right with {settings.unlikely:.0%} or more, or your request (`expert:`)"
    if reply.confidence >= settings.confidence:
        return f"a confidence below {settings.confidence:.0%} (it was {reply.confidence:.0%}), or your request (`expert:`)"
    return f"somebody right with more than {max(reply.confidence, settings.unlikely):.0%}, or your request (`expert:`)"


def _training(reply: Reply) -> str:
    likely = [name for name in policy.SPECIALISTS if name == reply.category] or ["technical"]
    return f"a specialist for it: `ft: train {likely[0]}`"


def _first(draft: Reply | None) -> str:
    return f"{draft.model}'s short answer" if draft else "the unified model"


def _above(share: float | None) -> str:
    return f"{share:.2f}" if share is not None else "its complexity"


def _at(share: float | None) -> str:
    return f"{share:.2f}" if share is not None else "0"
