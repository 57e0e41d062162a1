"""``settings``: every key of model_config.yaml with its value and what it costs; changed ones go to this root's models/settings.yaml."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import yaml

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import ConfigError, UsageError
from assistant.core.events import Event, Lines, Notice, Report, Table
from assistant.core.paths import Paths
from assistant.core.settings import Settings

LEAVE = "leave everything as it is"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its dotted name, what holds now, what ships with PZ2, and what it means."""

    name: str
    value: Any
    default: Any
    meaning: str


def settings(context: Context, key: str | None = None, value: str | None = None, forget: bool = False) -> Iterator[Event]:
    """Show all settings, one, or change one; ``default`` as a value puts it back. ``forget`` drops what the router learned from use."""
    paths = context.paths
    if forget:
        paths.usage.unlink(missing_ok=True)
        yield Notice("Forgotten which models tend to come next.")
        return
    if key is None:
        yield _report(keys(paths), paths)
        if context.questions is None:
            return
        key = context.questions.choice("Change", [LEAVE, *(item.name for item in keys(paths))], LEAVE)
        if key == LEAVE:
            return
    item = find(paths, key)
    if value is None and context.questions is not None:
        value = context.questions.text(f"{item.name} ({item.meaning})", str(_shown(item.value)))
    if value is None:
        yield _report([item], paths)
        return
    yield from _change(context, item, value.strip())


def keys(paths: Paths) -> list[Key]:
    """Every setting, in the order of the file."""
    now, shipped = configuration.load(paths), configuration.load(paths, own=False)
    meanings = _meanings((paths.configs / "model_config.yaml").read_text(encoding="utf-8"))
    given = dict(_flat(shipped))
    return [Key(name, value, given[name], meanings.get(name, "")) for name, value in _flat(now)]


def find(paths: Paths, name: str) -> Key:
    """The setting of that name (its last part is enough where it is the only one); an unknown one is a UsageError with the nearest."""
    known = keys(paths)
    found = [item for item in known if item.name == name or item.name.rpartition(".")[2] == name]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"There is no setting '{name}'.", f"{configuration.nearest(name, [item.name for item in known])}".capitalize())


def _change(context: Context, item: Key, text: str) -> Iterator[Event]:
    paths = context.paths
    path = paths.models / "settings.yaml"
    own = configuration.read_yaml(path) if path.is_file() else {}
    value = None if text == "default" else _read(item, text)
    changed = _placed(own, item.name.split("."), value)
    faults: list[str] = []
    checked = configuration.merge(configuration.load(paths, own=False), changed, "", faults)
    faults += configuration.out_of_range(checked)
    if faults:
        raise ConfigError(" ".join(faults), "Nothing was changed.")
    head = "# Settings of this root; they go over finetuning/configs/model_config.yaml. `settings` changes them.\n"
    files.write_text(path, head + yaml.safe_dump(changed, allow_unicode=True, sort_keys=False) if changed else head)
    after = find(paths, item.name)
    later = "" if item.name.startswith("router.") else " It holds from the next start on."
    yield Notice(f"{item.name}: {_shown(item.value)} → {_shown(after.value)}.{later}")


def _read(item: Key, text: str) -> Any:
    """A typed value in the form the setting has; what cannot be is a UsageError."""
    if isinstance(item.default, str):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    wanted = type(item.default)
    if wanted is float and isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?\s*%", value):
        value = float(value.rstrip("% ")) / 100
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise UsageError(f"'{text}' cannot be {item.name}.", f"A value like {_shown(item.default)} belongs there.")
    return value


def _placed(document: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy of the document with a value at its place; None takes the key away."""
    copy = dict(document)
    if len(path) > 1:
        inner = copy.get(path[0])
        copy[path[0]] = _placed(inner if isinstance(inner, dict) else {}, path[1:], value)
        if not copy[path[0]]:
            del copy[path[0]]
    elif value is None:
        copy.pop(path[0], None)
    else:
        copy[path[0]] = value
    return copy


def _flat(value: Settings | Any, where: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for item in fields(value):
        inner = getattr(value, item.name)
        pairs += _flat(inner, f"{where}{item.name}.") if is_dataclass(inner) else [(f"{where}{item.name}", inner)]
    return pairs


def _meanings(text: str) -> dict[str, str]:
    """What the comments of the file say of each key: those behind it, else those above it."""
    found: dict[str, str] = {}
    group, above = "", []
    for line in text.splitlines():
        if line.startswith("#"):
            above.append(line.lstrip("# "))
            continue
        match = re.match(r"(\s*)(\w+):\s*([^#]*?)\s*(?:#\s*(.*))?$", line)
        if match:
            indent, name, value, behind = match.groups()
            group = (group if indent else f"{name}.") if value or indent else f"{name}."
            found[f"{group if indent else ''}{name}"] = behind or (" ".join(above) if not indent else "")
        above = []
    return found


def _report(items: list[Key], paths: Paths) -> Report:
    rows = tuple(
        (item.name, _shown(item.value), _shown(item.default) if item.value != item.default else "", item.meaning) for item in items
    )
    data = {item.name: {"value": item.value, "default": item.default, "meaning": item.meaning} for item in items}
    how = "`settings KEY VALUE` changes one, `settings KEY default` puts it back."
    return Report(
        "Settings",
        data,
        (Table(("setting", "value", "default", "what it does"), rows), Lines("", (how, f"Kept in {paths.models / 'settings.yaml'}"))),
    )


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
