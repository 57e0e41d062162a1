"""A report's pages: the same parts as Markdown and as HTML. Pure: parts in, text out."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from finetuning.evaluation.reports.tables import Cell, Sheet

MOST_ROWS = 60
_CSS = """
:root { color-scheme: light dark; --ink: #222; --faint: #ddd; --paper: #fff; --dim: #666 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --faint: #444; --paper: #1b1b1b; --dim: #a0a0a0 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--faint) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--faint); text-align: left; white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; background: #fff; border: 1px solid var(--faint) }
figure { margin: 1rem 0 } figcaption, .source { color: var(--dim); font-size: .85rem } code { font-size: .9em }
""".strip()


@dataclass(frozen=True, slots=True)
class Heading:
    """A section begins."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list. Words between backticks are code."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A table, with the files it is written to and made from."""

    sheet: Sheet


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure: its file (relative to the page), what it shows, and what it was drawn from."""

    file: str
    caption: str
    sources: tuple[str, ...]


Part = Heading | Text | Items | Shown | Drawn


def markdown(title: str, parts: Sequence[Part]) -> str:
    """The page as Markdown."""
    return "\n\n".join([f"# {title}", *map(_markdown, parts)]) + "\n"


def page(title: str, parts: Sequence[Part]) -> str:
    """The page as one HTML document; its figures lie beside it."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *map(_html, parts)])
    return f'<!doctype html>\n<html lang="en">\n<head>{head}\n<style>\n{_CSS}\n</style></head>\n<body>\n{body}\n</body>\n</html>\n'


def shown(value: Cell) -> str:
    """A cell as a person reads it; nothing for what was not measured."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"
        case _:
            return str(value)


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Text(text):
            return text
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Drawn(file, caption, sources):
            return f"![{caption}]({file})\n\n*{caption}* Drawn from {_listed(sources)}: `{file}`"
        case Shown(sheet):
            rows = [[_cell(head.replace("_", " ")) for head in sheet.columns], ["---"] * len(sheet.columns)]
            rows += [[_cell(shown(value)) for value in row] for row in sheet.rows[:MOST_ROWS]]
            table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            return f"**{sheet.title}**\n\n{table}\n\n{_about(sheet)}"


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Items(items):
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}</li>" for item in items) + "\n</ul>"
        case Drawn(file, caption, sources):
            told = f"{_inline(caption)} Drawn from {_inline(_listed(sources))}: {_inline(f'`{file}`')}"
            return f'<figure><img src="{html.escape(file)}" alt="{html.escape(caption)}"><figcaption>{told}</figcaption></figure>'
        case Shown(sheet):
            head = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in sheet.columns)
            rows = "\n".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in sheet.rows[:MOST_ROWS])
            table = f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
            return f'<h3>{html.escape(sheet.title)}</h3>\n{table}\n<p class="source">{_inline(_about(sheet))}</p>'


def _about(sheet: Sheet) -> str:
    more = f" {len(sheet.rows) - MOST_ROWS} more rows are in the file." if len(sheet.rows) > MOST_ROWS else ""
    notes = f"{sheet.notes} " if sheet.notes else ""
    return f"{notes}Table: `{sheet.folder}/{sheet.name}.csv`.{more} Made from {_listed(sheet.sources)}."


def _listed(sources: Sequence[str]) -> str:
    unique = list(dict.fromkeys(sources))
    few = ", ".join(f"`{source}`" for source in unique[:8])
    return few + (f" and {len(unique) - 8} more" if len(unique) > 8 else "") or "nothing"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _td(value: Cell) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td class="number">{shown(value)}</td>' if number else f"<td>{html.escape(shown(value))}</td>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))
