"""What ``status`` says of the router: thresholds, calibration of what is live, and how well it loads ahead."""

from typing import Any

from assistant.core.errors import ModelError
from assistant.core.paths import Paths
from assistant.core.settings import RouterSettings
from assistant.core.store import Store
from assistant.router import confidence, usage


def facts(paths: Paths, store: Store, settings: RouterSettings, engine: str | None, base: str) -> dict[str, Any]:
    """The router's part of ``status --json``; ``base`` is the SHA-256 of the base's weights."""
    calibrations = calibrated(paths, store, engine, base)
    habits = usage.read(paths.usage)
    known, unknown = ([model for model, found in calibrations.items() if (found is not None) == wanted] for wanted in (True, False))
    return {
        "thresholds": {"confidence": settings.confidence, "complexity": settings.complexity, "near": settings.near},
        "escalation": settings.escalation,
        "memory_budget_mb": settings.memory_budget_mb,
        "calibrated": known,
        "uncalibrated": unknown,
        "preloading": {"needed": habits.needed, "found": habits.found, "hit_rate": habits.hit_rate},
        "note": note(settings, unknown),
    }


def note(settings: RouterSettings, uncalibrated: list[str]) -> str:
    """The thresholds in one line, and whose confidence decides nothing."""
    hands = "hands over" if settings.escalation == "auto" else "offers"
    missing = f"; not calibrated: {', '.join(uncalibrated)} (`calibrate`)" if uncalibrated else ""
    return f"{hands} below {settings.confidence:.0%} confidence or from {settings.complexity:.0%} complexity{missing}"


def preloading(data: dict[str, Any]) -> str:
    """How often a needed specialist was loaded already, in one line."""
    if not data["needed"]:
        return "no specialist was needed yet"
    return f"{data['found']} of {data['needed']} times a needed specialist was in memory already ({data['hit_rate']:.0%})"


def calibrated(paths: Paths, store: Store, engine: str | None, base: str) -> dict[str, confidence.Calibration | None]:
    """The calibration of the base and of everything live, for an engine."""
    found = {"base": confidence.known(paths.base, base, engine)}
    for model in store.models():
        try:
            version = store.current(model).version
        except ModelError:
            continue
        if version:
            found[model] = confidence.load(store.version_folder(model, version) / confidence.FILE, engine)
    return found
