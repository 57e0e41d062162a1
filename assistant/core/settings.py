"""The configuration of the live side: ``model_config.yaml`` and the root's own ``models/settings.yaml``."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from assistant.core.errors import ConfigError
from assistant.core.paths import Paths
from assistant.core.text import closest

ENGINES = ("auto", "llama", "hf")
ESCALATIONS = ("auto", "offer")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How the chat samples, and how far it looks back."""

    max_tokens: int = 400
    temperature: float = 0.0
    top_p: float = 0.9
    repeat_penalty: float = 1.0
    context_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """When a question is handed to a specialist, and what of the specialists stays in memory."""

    escalation: str = "auto"
    confidence: float = 0.70
    complexity: float = 0.60
    near: float = 0.05
    hopeless: float = 0.05
    unlikely: float = 0.50
    memory_budget_mb: int = 256
    learn: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything in ``model_config.yaml``."""

    base: str = "embedded"
    engine: str = "auto"
    chat: ChatSettings = field(default_factory=ChatSettings)
    router: RouterSettings = field(default_factory=RouterSettings)


def load(paths: Paths, own: bool = True) -> Settings:
    """The settings of this root, without its ``own`` those that ship with PZ2. Every wrong key or value is named in one ConfigError."""
    settings = Settings()
    for path in (paths.configs / "model_config.yaml", paths.models / "settings.yaml")[: 2 if own else 1]:
        if path.is_file():
            faults: list[str] = []
            settings = merge(settings, read_yaml(path), "", faults)
            faults += out_of_range(settings)
            if faults:
                raise ConfigError(f"{path}: " + " ".join(faults), "Correct the file; its comments say what each key means.")
    return settings


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a broken file is a ConfigError that names the line."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}, line {line}: not valid YAML ({error.problem}).", "Correct the line.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML in UTF-8 ({error}).", "Correct the file.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds no mapping of keys to values.", "Write lines like `key: value`.")
    return document


def nearest(key: str, known: list[str]) -> str:
    """A hint that names the key that was probably meant, or all of them."""
    near = closest(key, known)
    return f"did you mean '{near}'?" if near else f"known are {', '.join(known)}."


def merge(value: Any, document: dict[str, Any], where: str, faults: list[str]) -> Any:
    """``value`` (a frozen dataclass) with the document's keys in place; faults are collected."""
    known = {item.name: getattr(value, item.name) for item in fields(value)}
    changes: dict[str, Any] = {}
    for key, given in document.items():
        name = f"{where}{key}"
        if key not in known:
            faults.append(f"there is no key '{name}'; {nearest(str(key), list(known))}")
        elif is_dataclass(known[key]):
            if isinstance(given, dict):
                changes[key] = merge(known[key], given, f"{name}.", faults)
            else:
                faults.append(f"'{name}' holds a group of keys, not {given!r}.")
        elif isinstance(known[key], float) and isinstance(given, int) and not isinstance(given, bool):
            changes[key] = float(given)
        elif type(given) is not type(known[key]):
            faults.append(f"'{name}' is {given!r}; a value like {known[key]!r} belongs there.")
        else:
            changes[key] = given
    return replace(value, **changes)


def out_of_range(settings: Settings) -> list[str]:
    """A sentence for every value that cannot be."""
    chat, router = settings.chat, settings.router
    checks = [
        (settings.engine in ENGINES, f"'engine' is {settings.engine!r}; use one of {', '.join(ENGINES)}."),
        (chat.max_tokens >= 1, f"'chat.max_tokens' is {chat.max_tokens}; at least 1."),
        (0 <= chat.temperature <= 5, f"'chat.temperature' is {chat.temperature}; between 0 and 5."),
        (0 < chat.top_p <= 1, f"'chat.top_p' is {chat.top_p}; above 0, at most 1."),
        (chat.repeat_penalty >= 1, f"'chat.repeat_penalty' is {chat.repeat_penalty}; at least 1."),
        (chat.context_tokens >= 256, f"'chat.context_tokens' is {chat.context_tokens}; at least 256."),
        (router.escalation in ESCALATIONS, f"'router.escalation' is {router.escalation!r}; use one of {', '.join(ESCALATIONS)}."),
        *((0 <= share <= 1, f"'router.{name}' is {share}; between 0 and 1.") for name, share in _shares(router)),
        (router.memory_budget_mb >= 0, f"'router.memory_budget_mb' is {router.memory_budget_mb}; at least 0."),
    ]
    return [sentence for right, sentence in checks if not right]


def _shares(router: RouterSettings) -> list[tuple[str, float]]:
    return [(item.name, value) for item in fields(router) if isinstance(value := getattr(router, item.name), float)]
