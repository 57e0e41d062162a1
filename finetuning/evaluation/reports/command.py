"""The `report` command: everything on disk as Markdown, HTML, figures, CSV and JSON under ``logs/reports/NAME/``."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Block, Chart, Event, Lines, Progress, Report, Step, Table
from assistant.core.paths import find
from assistant.engine import base
from finetuning.commands import COMMANDS
from finetuning.evaluation.reports import outline, pages, tables
from finetuning.evaluation.reports.found import Found, figures_of, gather, suites_of
from finetuning.evaluation.reports.pages import Drawn
from finetuning.evaluation.reports.tables import Missing, Sheet

NAME = "project"
# Columns of a table that 80 characters hold.
SYSTEMS_SHOWN = 4
WHOLE = "results/final_project_report.json"


def run(context: Context, name: str | None = None, out: str | None = None) -> Iterator[Event]:
    """Make the whole report from what is on disk; the same disk gives the same files."""
    name = name or NAME
    if not re.fullmatch(r"[\w][\w.-]{0,59}", name):
        raise UsageError(f"'{name}' cannot be a report's name.", "Use letters, digits, hyphens and underscores.")
    paths = context.paths
    folder = find(out, paths) if out else paths.logs / "reports" / name
    if not base.installed("matplotlib"):
        raise ModelError("matplotlib, which draws the figures, is not installed.", "Run `./run_finetuning.sh setup` once.")
    yield Step("Reading what is on disk")
    found = gather(paths)
    if not (found.datasets or found.runs or len(found.subjects) > 1 or found.judged):
        raise UsageError("There is nothing to report yet.", "`generate` and `train unified` make the first parts.")
    _clear(folder)
    sheets = tables.sheets(found)
    written = [file for sheet in sheets for file in _sheet(folder, sheet)]
    written += _documents(folder, found)
    drawn: list[Drawn] = []
    plans = outline.figures(found)
    for done, plan in enumerate(plans, 1):
        drawn.append(Drawn(f"figures/{plan.name}.png", plan.draw(folder / "figures" / f"{plan.name}.png"), plan.sources))
        yield Progress(done, len(plans), "figures")
    missing = [_told(one) for one in outline.missing(found)]
    written += [one.file for one in drawn]
    parts, title = outline.parts(found, sheets, drawn, missing), f"PZ2 report: {name}"
    files.write_text(folder / "report.md", pages.markdown(title, parts))
    files.write_text(folder / "report.html", pages.page(title, parts))
    written += ["report.md", "report.html", WHOLE]
    whole = {**tables.whole(found, missing, [one.file for one in drawn]), "files": sorted(written)}
    files.write_json(folder / WHOLE, whole)
    yield Report(f"The report is in {folder}", {"folder": str(folder), **whole}, tuple(_blocks(found, sheets, missing, folder)))


def _told(one: Missing) -> Missing:
    """A missing part; a command that this version of PZ2 does not have is no advice."""
    known = one.command.split()[0] in {command.name for command in COMMANDS}
    return one if known else Missing(one.what, f"{one.command} (not in this version of PZ2)")


def _clear(folder: Path) -> None:
    """Take away what an earlier report wrote here, so that nothing stale stays beside the new one."""
    try:
        earlier = files.read_json(folder / WHOLE).get("files", []) if (folder / WHOLE).is_file() else []
    except (DataError, AttributeError):
        return
    for name in earlier:
        path = folder / str(name)
        if ".." not in Path(str(name)).parts and path.is_file():
            path.unlink()


def _sheet(folder: Path, sheet: Sheet) -> list[str]:
    """A table as CSV and as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows(["" if value is None else value for value in row] for row in sheet.rows)
    name = f"{sheet.folder}/{sheet.name}"
    files.write_text(folder / f"{name}.csv", text.getvalue())
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    files.write_json(folder / f"{name}.json", {"title": sheet.title, "notes": sheet.notes, "sources": sheet.sources, "rows": rows})
    return [f"{name}.csv", f"{name}.json"]


def _documents(folder: Path, found: Found) -> list[str]:
    """The JSON documents there is something for."""
    made: dict[str, Any] = {f"metrics/{method}_metrics.json": tables.metrics_of(found, method) for method in tables.methods(found)}
    made["metrics/full_comparison_report.json"] = tables.comparison_report(found)
    made["results/filtering_stats.json"] = tables.filtering(found)
    for suite, (file, public) in outline.SUITE_FILES.items():
        made[f"results/{file}"] = tables.suite_results(found, suite, public)
    made["results/evaluation_summary.json"] = tables.evaluation_summary(found)
    there = {name: document for name, document in made.items() if document is not None}
    for name, document in there.items():
        files.write_json(folder / name, document)
    return list(there)


def _blocks(found: Found, sheets: list[Sheet], missing: list[Missing], folder: Path) -> Iterator[Block]:
    facts = [
        (one.label, figures_of(one)["key_fact_recall"]["mean"] * 100) for one in found.judged if figures_of(one).get("key_fact_recall")
    ]
    if facts:
        yield Chart("Key-fact recall", tuple((label, round(value, 1)) for label, value in facts), "%")
    scored = [one for one in found.systems if suites_of(one)][-SYSTEMS_SHOWN:]
    if scored:
        names = dict.fromkeys(name for one in scored for name in suites_of(one))
        rows = tuple((name.replace("_", " "), *(_share(suites_of(one).get(name)) for one in scored)) for name in names)
        yield Table(("right answers", *(one.label for one in scored)), rows)
    for run in [run for run in found.runs if len(run.losses) > 2][-1:]:
        yield Chart(f"Loss of {run.name}", tuple((f"step {step}", round(loss, 3)) for step, loss in _thinned(run.losses, 8)))
    for one in found.datasets[:2]:
        largest = sorted(one.rows.items(), key=lambda item: -item[1])[:6]
        yield Chart(f"Rows of {one.name}", tuple((name, float(count)) for name, count in largest))
    shown = [sheet for sheet in sheets if sheet.name in ("paired_differences", "ways_of_answering", "calibration", "costs")]
    for sheet in shown:
        rows = tuple(tuple(pages.shown(value) for value in row) for row in sheet.rows[-12:])
        yield Table(tuple(head.replace("_", " ") for head in sheet.columns), rows, sheet.title)
    if said := tables.verdicts(found):
        yield Lines("Verdict", tuple(said))
    if missing:
        yield Lines("Not in it yet, and what makes it", tuple(f"{one.what}: {one.command}" for one in missing))
    yield Lines("", (f"Open {folder / 'report.html'}, or read {folder / 'report.md'}",))


def _share(one: dict[str, Any] | None) -> str:
    return f"{one['accuracy']['mean']:.1%}" if one else "–"


def _thinned(values: tuple[tuple[int, float], ...], most: int) -> list[tuple[int, float]]:
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]
