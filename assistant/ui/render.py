"""Events on a terminal, drawn with Rich: streamed Markdown, progress bars, tables, charts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as RichTable
from rich.text import Text

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
from assistant.ui import plain, theme

if TYPE_CHECKING:
    from assistant.ui.answer import AnswerView

REFRESHES_PER_SECOND = 12
BAR_COLUMNS = 20
CURVE_COLUMNS = 40
# Without animation (a dumb terminal) a progress line at most so often.
SECONDS_BETWEEN_LINES = 5.0

Clock = Callable[[], float]


class Screen:
    """Draws events. What moves (an unfinished block, a bar) is transient; everything else is printed once and stays.

    ``interrupted`` says whether Ctrl-C ended what was followed last.
    """

    def __init__(self, console: Console | None = None, clock: Clock = time.monotonic) -> None:
        self.console = console or theme.console()
        self.marks = theme.marks(self.console)
        self.interrupted = False
        self._clock = clock
        self._animated = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live: Live | None = None
        self._scene: Callable[[], RenderableType] | None = None
        self._answer: AnswerView | None = None
        self._progress: Progress | None = None
        self._losses: list[float] = []
        self._validations: list[float] = []
        self._last_line = float("-inf")

    def follow(self, events: Iterator[Event]) -> int:
        """Draw every event; returns the exit status. Ctrl-C ends the work behind the events, not the program: status 130."""
        status, self.interrupted = 0, False
        try:
            for event in events:
                self.show(event)
                if isinstance(event, Finished):
                    status = event.status
        except KeyboardInterrupt:
            events.close()  # type: ignore[attr-defined]
            self.interrupted = True
            self._interrupted()
            return 130
        finally:
            self.rest()
        return status

    def show(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case RouteChosen():
                self._route(event)
            case TextDelta(text):
                self._text(text)
            case TurnDone(reply):
                self._turn(reply)
            case Step(text):
                self._step(text)
            case Progress():
                self._advance(event)
            case Checked(name, ok, detail):
                mark, style = (self.marks.good, "pz2.good") if ok else (self.marks.bad, "pz2.bad")
                self._line((f"{mark} ", style), f"{name}: {detail}" if detail else name)
            case Rejected(where, reason):
                self._line((f"{self.marks.warning} ", "pz2.warning"), f"not taken: {where}: {reason}")
            case Report(title, _, blocks):
                self._report(title, blocks)
            case Notice(text, level):
                self._line((f"{self.marks.warning} {text}", "pz2.warning") if level == "warning" else (text, "pz2.notice"))
            case Failed(what, fix):
                self._settle(cut_short=True)
                self._line((f"Error: {what}", "pz2.bad"))
                if fix:
                    self._line((fix, "pz2.fix"))
            case Switched(model, version, previous):
                self._settle()
                self._line((f"{self.marks.good} ", "pz2.good"), plain.switched(model, version, previous))
            case Finished(status):
                self._settle(cut_short=status != 0)

    def rest(self) -> None:
        """Stop whatever moves, so that someone else may use the terminal."""
        live, self._live, self._scene = self._live, None, None
        if live is not None:
            live.stop()

    def think(self) -> None:
        """A turn begins: a spinner until its first word."""
        self._answer = self._view()
        self._spin("")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner with a sentence while the block runs."""
        self._spin(text)
        try:
            yield
        finally:
            self.rest()

    def say(self, text: str, style: str = "pz2.dim") -> None:
        """One line for the person."""
        self._line((text, style))

    def _view(self) -> "AnswerView":
        # Markdown and its highlighting cost a tenth of a second to import; the first prompt does not wait for them.
        from assistant.ui.answer import AnswerView

        return AnswerView(self.console)

    def _route(self, event: RouteChosen) -> None:
        if self._answer is not None and not self._answer.empty:
            self.rest()
            self._answer.supersede(self._animated, plain.draft_line(event))
        self._answer = self._view()
        self._spin("")

    def _text(self, text: str) -> None:
        if self._answer is None:
            self._answer = self._view()
        view = self._answer
        view.add(text)
        if not view.empty:
            self._animate(view.unfinished)

    def _turn(self, reply: Reply) -> None:
        self.rest()
        view = self._answer or self._view()
        if view.empty:
            view.add(reply.answer)
        view.end(reply.answer)
        self._answer = None
        self._line((plain.footer(reply), "pz2.dim"))

    def _interrupted(self) -> None:
        answering = self._answer is not None
        self._settle(cut_short=True)
        self.say("stopped" if answering else "Interrupted.")

    def _step(self, text: str) -> None:
        self._settle()
        self._line((f"{self.marks.step} {text} …", "pz2.dim"))
        self._spin("")

    def _spin(self, text: str) -> None:
        spinner, started = Spinner(self.marks.spinner, style="pz2.bar"), self._clock()

        def scene() -> RenderableType:
            seconds = self._clock() - started
            spinner.update(text=Text(f"{text} {plain.duration(seconds)}".strip() if seconds >= 1 else text, style="pz2.dim"))
            return spinner

        self._animate(scene)

    def _advance(self, event: Progress) -> None:
        if self._progress is None:
            self._losses.clear()
            self._validations.clear()
        self._progress = event
        loss, validation = event.figures.get("loss"), event.figures.get("validation loss")
        if isinstance(loss, int | float):
            self._losses.append(float(loss))
        # Measured a few times only; between two measurements the last one is said again.
        if isinstance(validation, int | float) and self._validations[-1:] != [validation]:
            self._validations.append(float(validation))
        if event.total and event.done >= event.total:
            self._settle()
        elif self._animated:
            self._animate(self._bar)
        elif self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = self._clock()
            self._line(plain.progress_line(event))

    def _bar(self) -> RenderableType:
        event = self._progress
        if event is None:
            return Text("")
        grid = RichTable.grid(padding=(0, 1))
        bar = ProgressBar(
            event.total or None, event.done, width=BAR_COLUMNS, style="pz2.dim", complete_style="pz2.bar", finished_style="pz2.good"
        )
        grid.add_row(bar, Text(clean(plain.progress_line(event))))
        return Group(grid, *self._curve())

    def _curve(self) -> list[Text]:
        """The losses so far, and those on validation rows, as a line each, when there are enough to see a direction."""
        found = []
        for name, losses, least in (("loss", self._losses, 3), ("validation loss", self._validations, 2)):
            if len(losses) >= least:
                ends = f" {losses[0]:.3g} → {losses[-1]:.3g}"
                found.append(Text.assemble((f"{name} ", "pz2.dim"), (self._drawn(losses), "pz2.bar"), (ends, "pz2.dim")))
        return found

    def _drawn(self, losses: list[float]) -> str:
        values = _thinned(losses, CURVE_COLUMNS)
        low, high = min(values), max(values)
        steps = len(self.marks.curve) - 1
        return "".join(self.marks.curve[round(steps * (value - low) / (high - low)) if high > low else 0] for value in values)

    def _settle(self, *, cut_short: bool = False) -> None:
        """End what moves. What there is of an answer stays; a bar stays as a line when it is full, or when it was cut short."""
        self.rest()
        view, self._answer = self._answer, None
        if view is not None:
            view.end()
        event, self._progress = self._progress, None
        if event is not None and (cut_short or event.done >= event.total):
            self._line((plain.progress_line(event), "pz2.dim"))
            for line in self._curve():
                self.console.print(line)

    def _report(self, title: str, blocks: tuple[Block, ...]) -> None:
        self._settle()
        self.console.print(Text(clean(title), style="pz2.title"))
        for block in blocks:
            for drawn in self._block(block):
                self.console.print(drawn)

    def _block(self, block: Block) -> list[RenderableType]:
        match block:
            case Table(columns, rows, title):
                return [*_title(title), _table(columns, rows)]
            case Chart(title, bars, unit):
                return [*_title(title), self._chart(bars, unit)]
            case Lines(title, lines):
                return [*_title(title), *(Padding(Text(clean(line)), (0, 0, 0, 2)) for line in lines)]
            case Spans(title, pieces):
                return [*_title(title), self._spans(pieces)]

    def _chart(self, bars: tuple[tuple[str, float], ...], unit: str) -> RenderableType:
        most = max((value for _, value in bars), default=0) or 1
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        for name, value in bars:
            drawn = self.marks.full * round(30 * max(value, 0) / most)
            grid.add_row(Text(clean(name)), Text(drawn, style="pz2.bar"), Text(clean(f"{value:g} {unit}").rstrip()))
        return Padding(grid, (0, 0, 0, 2))

    def _spans(self, pieces: tuple[tuple[str, bool], ...]) -> Text:
        text = Text()
        for piece, marked in pieces:
            shown = clean(piece)
            # A terminal without any style still has to show the difference.
            plain_mark = marked and self.console.color_system is None
            text.append(f"[{shown}]" if plain_mark else shown, style="pz2.trained" if marked else "pz2.dim")
        return text

    def _line(self, *parts: str | tuple[str, str]) -> None:
        """Print one line above whatever moves."""
        pieces = [clean(part) if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts]
        self.console.print(Text.assemble(*pieces))

    def _animate(self, scene: Callable[[], RenderableType]) -> None:
        self._scene = scene
        if not self._animated or self._live is not None:
            return
        self._live = Live(
            console=self.console,
            transient=True,
            refresh_per_second=REFRESHES_PER_SECOND,
            vertical_overflow="crop",
            get_renderable=self._current,
        )
        self._live.start()

    def _current(self) -> RenderableType:
        scene = self._scene
        return scene() if scene is not None else Text("")


def _title(title: str) -> list[RenderableType]:
    return [Text(clean(title), style="pz2.head")] if title else []


def _table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, header_style="pz2.head", pad_edge=False)
    for column in columns:
        table.add_column(Text(clean(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def _thinned(values: list[float], most: int) -> list[float]:
    """At most so many of the values, evenly spaced, the last one always among them."""
    if len(values) <= most:
        return values
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]
