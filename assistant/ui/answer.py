"""One answer on the screen while it streams."""

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from assistant.core.text import clean
from assistant.ui.markdown import Answer, Tail, finished

# Rows of the screen that an unfinished block leaves free, so that the cursor never scrolls.
SPARE_ROWS = 2


class AnswerView:
    """Prints what is settled of an answer for good; ``unfinished`` is what may still change, for a transient display."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = ""
        self._rest = ""
        self._rows = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of the answer has come."""
        return not self._printed and not self._rest

    def add(self, text: str) -> None:
        """The next piece of the answer."""
        self._rest = clean(self._rest + text) if self._printed else clean(self._rest + text).lstrip()
        if "\n" not in text:
            return
        if settled := finished(self._rest):
            block, self._rest = self._rest[:settled], self._rest[settled:]
            self._print(block)

    def unfinished(self) -> RenderableType:
        """The block that is being written, at most as tall as the screen."""
        if not self._rest.strip():
            return Text("")
        # The blank line that will stand before this block when it is printed.
        rows = self._console.size.height - SPARE_ROWS
        return Tail(self._rest, rows, blank_before=bool(self._printed))

    def end(self, whole: str | None = None) -> None:
        """Print the rest. ``whole`` is the answer as it is kept, where that is less than what was streamed."""
        rest, self._rest = self._rest, ""
        if whole is not None:
            whole = clean(whole)
            rest = whole[len(self._printed) :] if whole.startswith(self._printed.rstrip()) else ""
        if rest.strip():
            self._print(rest)

    def supersede(self, erasable: bool) -> None:
        """Turn the answer into a dimmed draft; where it has scrolled away already, a line says so."""
        self.end()
        if erasable and self._rows < self._console.size.height:
            up = (ControlType.CURSOR_MOVE_TO_COLUMN, 0), (ControlType.CURSOR_UP, self._rows), (ControlType.ERASE_IN_LINE, 2)
            self._console.control(Control(*up))
            self._console.file.write("\x1b[J")
            self._console.print(Answer(self._printed, style="dim"))
        self._console.print(Text("(a first draft; a better answer follows)", style="pz2.dim"))
        self._console.print()

    def _print(self, block: str) -> None:
        drawn = Answer(block)
        if self._printed:
            self._console.print()
            self._rows += 1
        self._printed += block
        self._rows += len(self._console.render_lines(drawn, self._console.options.update(height=None)))
        self._console.print(drawn)
