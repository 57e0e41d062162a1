"""One answer on the screen while it streams."""

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from assistant.core.text import Cleaner, clean
from assistant.ui.markdown import Block, blocks, settled

# Rows of the screen that an unfinished block leaves free, so that the cursor never scrolls.
SPARE_ROWS = 2


class AnswerView:
    """Prints what is settled of an answer for good; ``unfinished`` is what may still change, for a transient display."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._blocks: list[str] = []
        self._rest = ""
        self._rows = 0
        self._cleaner = Cleaner()

    @property
    def empty(self) -> bool:
        """Whether nothing of the answer has come."""
        return not self._blocks and not self._rest

    def add(self, text: str) -> None:
        """The next piece of the answer."""
        self._rest += self._cleaner.feed(text)
        if not self._blocks:
            self._rest = self._rest.lstrip()
        if "\n" not in text:
            return
        for block in settled(self._rest):
            self._rest = self._rest[len(block) :]
            self._print(block)

    def unfinished(self) -> RenderableType:
        """The block that is being written, at most as tall as the screen."""
        if not self._rest.strip():
            return Text("")
        # The blank line that will stand before this block when it is printed.
        rows = self._console.size.height - SPARE_ROWS
        return Block(self._rest, rows=rows, blank_before=bool(self._blocks))

    def end(self, whole: str | None = None) -> None:
        """Print the rest. ``whole`` is the answer as it is kept, where that is less than what was streamed."""
        rest, self._rest = self._rest, ""
        if whole is not None:
            whole = clean(whole)
            printed = "".join(self._blocks)
            rest = whole[len(printed) :] if whole.startswith(printed.rstrip()) else ""
        for block in blocks(rest) if rest.strip() else []:
            self._print(block)

    def supersede(self, erasable: bool, line: str) -> None:
        """Turn the answer into a dimmed draft with a line below it; where it has scrolled away already, the line alone says so."""
        self.end()
        if erasable and self._rows < self._console.size.height:
            up = (ControlType.CURSOR_MOVE_TO_COLUMN, 0), (ControlType.CURSOR_UP, self._rows), (ControlType.ERASE_IN_LINE, 2)
            self._console.control(Control(*up))
            self._console.file.write("\x1b[J")
            for place, block in enumerate(self._blocks):
                self._console.print(Block(block, "dim", blank_before=place > 0), end="")
        self._console.print(Text(clean(line), style="pz2.dim"))
        self._console.print()

    def _print(self, text: str) -> None:
        block = Block(text, blank_before=bool(self._blocks))
        self._blocks.append(text)
        self._rows += len(self._console.render_lines(block, self._console.options.update(height=None)))
        self._console.print(block, end="")
