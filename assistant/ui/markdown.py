"""An answer as Markdown, drawn while it comes: finished blocks are printed once and for good, the last one may still change."""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, ListItem, Markdown
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax


class LeftHeading(Heading):
    """A heading at the left, where the eye reads an answer."""

    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class QuietCode(CodeBlock):
    """Code on the terminal's own background, so that it is readable on a light one too."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The code, two columns in."""
        code = str(self.text).rstrip()
        yield Padding(Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default", word_wrap=True), (0, 2))


class DottedItem(ListItem):
    """A list item whose number is followed by a dot, as it was written."""

    def render_number(self, console: Console, options: ConsoleOptions, number: int, last_number: int) -> RenderResult:
        """The item, its number at the right of a column as wide as the last one."""
        width = len(str(last_number)) + 3
        lines = console.render_lines(self.elements, options.update(width=options.max_width - width), style=self.style)
        style = console.get_style("markdown.item.number")
        for place, line in enumerate(lines):
            yield Segment(f"{number}. ".rjust(width) if place == 0 else " " * width, style)
            yield from line
            yield Segment.line()


class SpacedRule(HorizontalRule):
    """A rule with a blank line after it, like every other block."""

    new_line = True


class Answer(Markdown):
    """Markdown as people write it in a chat: line breaks stay, tags like ``<int>`` are text, links show where they lead."""

    elements: ClassVar = {
        **Markdown.elements,
        "heading_open": LeftHeading,
        "fence": QuietCode,
        "code_block": QuietCode,
        "list_item_open": DottedItem,
        "hr": SpacedRule,
    }

    def __init__(self, text: str, style: str = "none") -> None:
        super().__init__("", hyperlinks=False, style=style)
        self.markup = text
        self.parsed = [_with_breaks(token) for token in _parser().parse(text)]


class Block:
    """One top-level block of an answer, without the blank lines that Rich puts around some; at most ``rows`` lines, the newest."""

    def __init__(self, text: str, style: str = "none", *, rows: int | None = None, blank_before: bool = False) -> None:
        self._answer = Answer(text, style)
        self._rows = rows
        self._blank = blank_before

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The block's lines, without padding, so that a copied answer has none."""
        lines = [_stripped(line) for line in console.render_lines(self._answer, options.update(height=None), pad=False)]
        filled = [place for place, line in enumerate(lines) if line]
        lines = lines[filled[0] : filled[-1] + 1] if filled else []
        if self._blank:
            lines.insert(0, [])
        for line in lines[-self._rows :] if self._rows else lines:
            yield from line
            yield Segment.line()


def blocks(text: str) -> list[str]:
    """A Markdown text cut before each of its top-level blocks."""
    lines = text.split("\n")
    # A list opens and closes on the level of its block, so a start may stand here twice.
    starts = sorted({token.map[0] for token in _parser().parse(text) if token.level == 0 and token.map})
    cuts = [0, *starts[1:], len(lines)]
    return ["\n".join([*lines[first:last], *([""] if last < len(lines) else [])]) for first, last in pairwise(cuts)]


def settled(text: str) -> list[str]:
    """The blocks at the beginning of an unfinished text that can no longer change.

    Only whole lines count: CommonMark decides block by block and line by line, so what comes before the last block is settled.
    """
    return blocks(text[: text.rfind("\n") + 1])[:-1]


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")


def _with_breaks(token: Token) -> Token:
    if token.children:
        children: Iterable[Token] = token.children
        token.children = [_with_breaks(child) for child in children]
    if token.type == "softbreak":
        token.type = "hardbreak"
    return token


def _stripped(line: list[Segment]) -> list[Segment]:
    """A line without the space at its end, of which a copied answer should be free."""
    line = list(line)
    while line:
        last = line.pop()
        if text := last.text.rstrip():
            return [*line, Segment(text, last.style)]
    return line
