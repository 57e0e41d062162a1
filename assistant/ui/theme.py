"""Colours and marks of the screen, and the console that draws with them."""

from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.theme import Theme

STYLES = Theme(
    {
        "pz2.dim": "dim",
        "pz2.title": "bold",
        "pz2.good": "green",
        "pz2.bad": "bold red",
        "pz2.fix": "default",
        "pz2.warning": "yellow",
        "pz2.notice": "cyan",
        "pz2.bar": "cyan",
        "pz2.head": "bold",
        "pz2.trained": "bold green underline",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.code": "cyan",
        "markdown.link": "cyan",
        "markdown.link_url": "dim cyan",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
    }
)


@dataclass(frozen=True, slots=True)
class Marks:
    """The few signs of the screen, for terminals with and without Unicode."""

    good: str = "✓"
    bad: str = "✗"
    step: str = "·"
    warning: str = "!"
    full: str = "█"
    curve: str = "▁▂▃▄▅▆▇█"
    spinner: str = "dots"


ASCII = Marks("ok", "FAIL", "*", "!", "#", "_.-=+*#", "line")


def console(width: int | None = None, file: IO[str] | None = None) -> Console:
    """A console with PZ2's styles. Nothing is highlighted or read as markup: most text on the screen is a person's or a model's."""
    return Console(theme=STYLES, width=width, file=file, markup=False, highlight=False, emoji=False)


def marks(screen: Console) -> Marks:
    """The signs this console can show."""
    return Marks() if screen.encoding.startswith("utf") and not screen.legacy_windows else ASCII
