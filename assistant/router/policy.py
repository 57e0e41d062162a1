"""Who answers: pure, values in, a Route out."""

from collections.abc import Collection

from assistant.core.values import Judgement, Route


def decide(judgement: Judgement | None, *, pinned: str | None, requested: bool, trained: Collection[str]) -> Route:
    """The route of one question.

    ``trained`` are the models with a live version; the untouched base is always there and stands in for what is not trained.
    A pinned model comes first, then the user's own request; else the unified model answers.
    """
    if pinned:
        return Route(pinned, "pinned", f"{pinned} is pinned (`model: auto` lets the router decide again)")
    if requested:
        specialist = _specialist(judgement)
        if specialist is None:
            return Route(_default(trained), None, "everyday talk stays with the unified model, which needs no expert")
        if specialist in trained:
            return Route(specialist, "request", f"you asked for the expert, and the question is {specialist}")
        return Route(
            _default(trained),
            "request",
            f"you asked for the expert, but the {specialist} specialist is not trained yet (`ft: train {specialist}`)",
        )
    if "unified" not in trained:
        return Route("base", None, "nothing is trained yet, so the base model answers")
    return Route("unified", None, "the unified model answers by default")


def _default(trained: Collection[str]) -> str:
    return "unified" if "unified" in trained else "base"


def _specialist(judgement: Judgement | None) -> str | None:
    """The specialist for a question: by the likelier of the two specialist categories, unless it is clearly general talk."""
    if judgement is None:
        return "technical"
    if judgement.category == "general":
        return None
    return max(("qna", "technical"), key=lambda category: judgement.probabilities[category])
