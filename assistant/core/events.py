"""The closed set of events: what every handler yields and every door reads."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from assistant.core.values import Reply, Trigger


@dataclass(frozen=True, slots=True)
class RouteChosen:
    """Who answers this turn, before the first word."""

    model: str
    version: str | None
    category: str | None
    trigger: Trigger | None
    reason: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnDone:
    """The answer is over, complete or stopped."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a job begins."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. ``figures`` are shown beside the bar, in order, units in their names or values."""

    done: int
    total: int
    unit: str
    figures: dict[str, float | str] = field(default_factory=dict)
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """One line of a check list."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something of the user's was not taken, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column heads, for a Report."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Named bars in one unit, for a Report."""

    title: str
    bars: tuple[tuple[str, float], ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Plain lines under a head, for a Report."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spans:
    """One running text in pieces, each marked or not (the loss mask of a row), for a Report."""

    title: str
    pieces: tuple[tuple[str, bool], ...]


Block = Table | Chart | Lines | Spans


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command: ``data`` is what ``--json`` prints, ``blocks`` what a person reads."""

    title: str
    data: Any
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """One line the user should know."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong and what to do about it."""

    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Switched:
    """A model went live, or back."""

    model: str
    version: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a command: its exit status (0 done, 1 a check said no, 2 wrong usage, 130 interrupted)."""

    status: int = 0


Event = RouteChosen | TextDelta | TurnDone | Step | Progress | Checked | Rejected | Report | Notice | Failed | Switched | Finished
EVENTS: tuple[type, ...] = Event.__args__  # type: ignore[attr-defined]
_BLOCKS: dict[str, type] = {kind.__name__: kind for kind in (Table, Chart, Lines, Spans)}


def to_json(event: Event) -> dict[str, Any]:
    """An event as plain JSON values, its class under ``event``."""
    document = {"event": type(event).__name__, **asdict(event)}
    if isinstance(event, Report):
        document["blocks"] = [{"block": type(block).__name__, **asdict(block)} for block in event.blocks]
    return document


def from_json(document: dict[str, Any]) -> Event:
    """The event that ``to_json`` wrote; an unknown class is a ValueError."""
    values = dict(document)
    name = values.pop("event", None)
    kind = {known.__name__: known for known in EVENTS}.get(name)
    if kind is None:
        raise ValueError(f"unknown event {name!r}")
    if kind is TurnDone:
        values["reply"] = Reply(**values["reply"])
    if kind is Report:
        values["blocks"] = tuple(_block(block) for block in values["blocks"])
    return kind(**{item.name: values[item.name] for item in fields(kind) if item.name in values})


def _block(document: dict[str, Any]) -> Block:
    values = dict(document)
    kind = _BLOCKS[values.pop("block")]
    return kind(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
