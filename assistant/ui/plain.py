"""Events as plain text, or as one JSON document: for pipes, scripts and CI."""

import json
import sys
import time
from typing import Any, TextIO

from assistant.core.events import (
    Block,
    Chart,
    Checked,
    Event,
    Failed,
    Finished,
    Lines,
    Notice,
    Progress,
    Rejected,
    Report,
    RouteChosen,
    Spans,
    Step,
    Switched,
    Table,
    TextDelta,
    TurnDone,
)
from assistant.core.text import clean
from assistant.core.values import Reply

# A progress line at most so often, so that a log stays readable.
SECONDS_BETWEEN_LINES = 5.0


class PlainPrinter:
    """Writes each event as plain lines; notices and progress of a JSON run go to standard error."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, as_json: bool = False) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._json = as_json
        self._document: Any = None
        self._last_progress = 0.0
        self._streamed = False

    def show(self, event: Event) -> None:
        """Write one event."""
        match event:
            case TextDelta(text):
                if not self._json:
                    self._streamed = True
                    self._write(text, end="")
            case TurnDone(reply):
                self._turn(reply)
            case RouteChosen():
                self._route(event)
            case Step(text):
                self._say(f"{text} …")
            case Progress():
                self._progress(event)
            case Checked(name, ok, detail):
                self._say(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + detail if detail else ''}")
            case Rejected(where, reason):
                self._say(f"not taken: {where}: {reason}")
            case Report(title, data, blocks):
                self._report(title, data, blocks)
            case Notice(text):
                self._say(text)
            case Failed(what, fix):
                self._failed(what, fix)
            case Switched(model, version, previous):
                self._say(switched(model, version, previous))
            case Finished():
                self._finish()

    def _route(self, event: RouteChosen) -> None:
        if self._streamed:
            self._streamed = False
            self._write("")
            self._write(f"{draft_line(event)}\n")

    def _turn(self, reply: Reply) -> None:
        if self._json:
            from dataclasses import asdict

            self._document = asdict(reply)
            self._finish()
            return
        if not self._streamed:
            self._write(reply.answer, end="")
        self._streamed = False
        self._write("")
        self._write(f"[{footer(reply)}]")

    def _report(self, title: str, data: Any, blocks: tuple[Block, ...]) -> None:
        if self._json:
            self._document = data
            return
        self._write(title)
        for block in blocks:
            for line in block_lines(block):
                self._write(line)

    def _failed(self, what: str, fix: str) -> None:
        if self._json:
            self._document = {"error": what, "fix": fix}
        if self._streamed:
            self._streamed = False
            self._write("")
        self._write(f"Error: {what}", self._err)
        if fix:
            self._write(fix, self._err)

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        if event.done < event.total and now - self._last_progress < SECONDS_BETWEEN_LINES:
            return
        self._last_progress = now
        self._say(progress_line(event))

    def _finish(self) -> None:
        if self._json and self._document is not None:
            print(json.dumps(self._document, ensure_ascii=False, indent=2), file=self._out, flush=True)
            self._document = None

    def _say(self, text: str) -> None:
        """A line for the person, out of the way of a JSON document."""
        self._write(text, self._err if self._json else self._out)

    def _write(self, text: str, to: TextIO | None = None, end: str = "\n") -> None:
        print(clean(text), end=end, file=to or self._out, flush=True)


def progress_line(event: Progress) -> str:
    """A progress event in one line."""
    how_far = f"{event.done:,}/{event.total:,} {event.unit}"
    if event.unit == "bytes":
        how_far = f"{event.done / 1e6:,.1f}/{event.total / 1e6:,.1f} MB"
    parts = [how_far, *(figure(name, value) for name, value in event.figures.items())]
    if event.seconds_left is not None and event.done < event.total:
        parts.append(f"{duration(event.seconds_left)} left")
    return " · ".join(parts)


def figure(name: str, value: float | str) -> str:
    """A named figure with as many digits as help."""
    if isinstance(value, str):
        return f"{name} {value}"
    return f"{name} {value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{name} {value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def footer(reply: Reply) -> str:
    """The dim line under an answer: model and version, category, confidence, speed."""
    parts = [f"{reply.model} {reply.version}" if reply.version else f"{reply.model}"]
    if reply.category:
        share = (reply.category_probabilities or {}).get(reply.category)
        parts.append(f"{reply.category} {share:.0%}" if share is not None else reply.category)
    unknown = "confidence not for talk" if reply.category == "general" else "confidence not calibrated"
    parts.append(f"confidence {reply.confidence:.0%}" if reply.confidence is not None else unknown)
    if reply.tokens_per_second:
        parts.append(f"{reply.tokens_per_second:.0f} tokens/s")
    ends = {"length": "cut at the length limit", "repetition": "stopped: it repeated itself", "user": "stopped"}
    return " · ".join([*parts, *([ends[reply.stopped]] if reply.stopped in ends else [])])


def draft_line(event: RouteChosen) -> str:
    """The line between a first answer and the one that takes over."""
    return f"(a first draft: {event.reason})" if event.reason else "(a first draft; a better answer follows)"


def switched(model: str, version: str | None, previous: str | None) -> str:
    """The sentence for a switch."""
    # Without a version the base answers; the classifier's place is taken by the one that ships with PZ2.
    nothing = "the built-in one" if model == "classifier" else "the base"
    return f"{model}: {version or nothing} is live now (before: {previous or nothing})."


def block_lines(block: Block) -> list[str]:
    """A block of a report as plain lines."""
    match block:
        case Table(columns, rows, title):
            return ([title] if title else []) + _columns(columns, rows)
        case Chart(title, bars, unit):
            most = max((value for _, value in bars), default=0) or 1
            wide = max((len(name) for name, _ in bars), default=0)
            return [title, *(f"  {name:<{wide}}  {'#' * round(30 * value / most):<30} {value:g} {unit}".rstrip() for name, value in bars)]
        case Lines(title, lines):
            return ([title] if title else []) + [f"  {line}" for line in lines]
        case Spans(title, pieces):
            return [title, "".join(f"[{text}]" if marked else text for text, marked in pieces)]


def _columns(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    table = [columns, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
