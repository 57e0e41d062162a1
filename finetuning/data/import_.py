"""Take a user's own file in: guess its columns, show and confirm them, and make a domain of it that can be trained."""

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Block, Chart, Event, Notice, Progress, Rejected, Report, Step, Table
from assistant.core.files import sha256
from assistant.core.paths import find
from assistant.core.prompts import system_prompt, to_input_text
from assistant.core.values import Message
from finetuning.data import cases, config, domain, key_facts, shapes
from finetuning.data.checks import check_row
from finetuning.data.cleaning import framed
from finetuning.data.config import DataLimits
from finetuning.data.folder import publish, refuse_foreign
from finetuning.data.shapes import Record, Unusable
from finetuning.data.sources import Source, open_source
from finetuning.data.spool import Counts, Spool

IMPORTER_VERSION = "1.0"
SAMPLE_ROWS = 200
SHOWN_REJECTS = 5
ROWS_BETWEEN_PROGRESS = 5000
NONE = "(none)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are taken, and which system prompt they get: the one of their category, else the one under ""."""

    categories: frozenset[str]
    levels: frozenset[str]
    prompts: Mapping[str, str]


def run(
    context: Context,
    file: str,
    name: str,
    yes: bool = False,
    map: Sequence[str] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    categories: Sequence[str] | None = None,
    difficulty: Sequence[str] | None = None,
    system: Sequence[str] | None = None,
    seed: int = 42,
) -> Iterator[Event]:
    """Import a file as the domain ``name``. The file itself is only read."""
    domain.check_name(name)
    target = context.paths.datasets / name
    refuse_foreign(target)
    limits = config.load(context.paths)
    wanted = Wanted(frozenset(categories or ()), frozenset(difficulty or ()), _prompts(system or (), name))
    yield Step(f"Looking at {Path(file).name}")
    source = open_source(find(file, context.paths), encoding, delimiter)
    columns, sample = _sample(source)
    mapping = _named(map or (), columns) or shapes.guess(columns, sample)
    if not shapes.complete(mapping) and not map and (pair := shapes.two_text_columns(columns, sample)):
        mapping = {**mapping, "question": pair[0], "answer": pair[1]}
    yield Notice(f"{source.path.name}: {source.described()}.", "warning" if source.encoding and source.encoding.guessed else "info")
    yield Notice(_shown(mapping, columns))
    mapping = _confirmed(mapping, columns, sample, context, yes, target)
    with Spool(context.paths.datasets) as spool:
        counts = Counts()
        yield from _fill(source, mapping, wanted, limits, spool, counts, name)
        yield from _write(target, source, mapping, wanted, limits, spool, counts, seed, name)


def _fill(
    source: Source, mapping: Mapping[str, str], wanted: Wanted, limits: DataLimits, spool: Spool, counts: Counts, name: str
) -> Iterator[Event]:
    yield Step("Reading the rows")
    started, lines = time.monotonic(), source.lines()
    for raw in source.rows():
        counts.source += 1
        if lines and counts.source % ROWS_BETWEEN_PROGRESS == 0:
            seconds = time.monotonic() - started
            figures: dict[str, float | str] = {"rows": float(counts.source), "rejected": float(spool.rejected_rows)}
            yield Progress(raw.line, lines, "lines", figures, seconds * (lines - raw.line) / raw.line)
        if raw.values is None:
            reason, what = raw.reason, raw.text
        else:
            reason, what = _take(raw.values, raw.line, mapping, wanted, limits, spool), raw.values
        if not reason:
            continue
        counts.rejected[_kind(reason)] += 1
        spool.reject(raw.line, reason, what)
        if spool.rejected_rows <= SHOWN_REJECTS:
            yield Rejected(f"{source.path.name}, {source.unit} {raw.line}", reason)
    if not len(spool):
        reasons = "; ".join(f"{count:,} rows: {reason}" for reason, count in counts.rejected.most_common(3)) or "no rows"
        raise DataError(
            f"No row of {source.path.name} can be used ({reasons}).",
            "Say which columns hold question and answer: --map question=NAME answer=NAME.",
        )


def _take(values: Mapping[str, Any], line: int, mapping: Mapping[str, str], wanted: Wanted, limits: DataLimits, spool: Spool) -> str:
    """Spool the records of a row; returns the reason why there are none, or ""."""
    try:
        records = list(shapes.records(values, mapping))
    except Unusable as unusable:
        return str(unusable)
    rows = [(record, as_row(record, wanted.prompts)) for record in records]
    for _, row in rows:
        for found in check_row(row, "dialogue", limits):
            if not found.warning:
                return found.message.rstrip(".")
    for record, row in rows:
        spool.add(record, row, line)
    return ""


def as_row(record: Record, prompts: Mapping[str, str]) -> dict[str, Any]:
    """A record as a row of a domain; its difficulty is still in the words of the source."""
    system = record.system or prompts.get(record.category) or prompts[""]
    turns = [Message("system", framed(system)), *(Message(role, framed(text)) for role, text in record.turns)]  # type: ignore[arg-type]
    row: dict[str, Any] = {"input_text": to_input_text(turns), "target_text": record.answer, "id": record.id}
    if record.category:
        row["category"] = record.category
    if record.difficulty:
        row["difficulty"] = record.difficulty
    if record.key_facts:
        row["key_facts"] = list(record.key_facts)
    if record.rejected:
        row["rejected"] = record.rejected
    return row


def _write(
    target: Path,
    source: Source,
    mapping: Mapping[str, str],
    wanted: Wanted,
    limits: DataLimits,
    spool: Spool,
    counts: Counts,
    seed: int,
    name: str,
) -> Iterator[Event]:
    import numpy as np

    yield Step("Dividing the rows")
    scale = domain.difficulty_scale([difficulty for _, difficulty in spool.stratum_names])
    taken = {number: _is_wanted(*stratum, scale, wanted) for stratum, number in spool.stratum_names.items()}
    mask = np.array([taken[number] for number in range(len(taken))], dtype=bool)[np.frombuffer(spool.strata, dtype=np.uint32)]
    fate = domain.decide(spool, seed, mask, limits.near_duplicate)
    if len(spool) > domain.MOST_ROWS_COMPARED:
        yield Notice(
            f"More than {domain.MOST_ROWS_COMPARED:,} rows: equal questions stay in one split, nearly equal ones are not compared."
        )
    counts.filtered, counts.duplicates = int((fate.of == domain.FILTERED).sum()), int((fate.of == domain.DUPLICATE).sum())
    if not (fate.of == 0).any():
        raise DataError(
            "The filters leave no row.", f"The file has the categories {_names(spool, 0)} and the difficulties {_names(spool, 1)}."
        )
    manifest = _manifest(source, mapping, wanted, spool, counts, seed, name)
    unique_ids = domain.unique(spool.ids, spool.lines)
    yield Step(f"Writing {target}")
    streams = domain.files(spool, fate, scale, unique_ids, name)
    finder = None if "key_facts" in mapping else key_facts.finder(row["target_text"] for _, row in spool.rows(lambda place: True))
    if finder is not None:
        streams |= {file: finder.added(streams[file]) for file in domain.SPLIT_FILES}
    own_cases = cases.is_edited(target)
    categories, levels = domain.tally(spool, fate, scale)
    manifest["categories"] = {name: sum(rows.values()) for name, rows in categories.items() if name}
    manifest["difficulties"] = {level: sum(rows.values()) for level, rows in levels.items() if level}
    for done, (file, rows) in enumerate(publish(target, streams, manifest), 1):
        yield Progress(done, len(streams), "files", {"rows": float(rows), "file": file})
    yield Notice(key_facts.told(finder))
    if own_cases:
        yield Notice(f"{cases.FILE} was changed by hand and stays as it is.")
    else:
        cases.write(target)
    unknown = sorted(text for text, level in scale.items() if not level)
    if unknown:
        yield Notice(f"Difficulties that are not understood and left out: {', '.join(unknown[:8])}.", "warning")
    yield Report(_title(target, manifest), {"folder": str(target), **manifest}, tuple(_blocks(manifest, counts, categories, levels)))


def _sample(source: Source) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """The columns of a source and its first rows."""
    rows = [raw.values for raw in islice(source.rows(), SAMPLE_ROWS) if raw.values is not None]
    columns = source.columns or tuple(dict.fromkeys(key for row in rows for key in row))
    return columns, rows


def _named(pairs: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """The mapping the user gives as ``question=COLUMN``; every wrong pair is named in one UsageError."""
    mapping: dict[str, str] = {}
    faults: list[str] = []
    for pair in pairs:
        role, sign, column = pair.partition("=")
        if role not in shapes.ROLES or not sign:
            faults.append(f"'{pair}' is not ROLE=COLUMN with a role of {', '.join(shapes.MAPPABLE)}.")
        elif column not in columns:
            faults.append(f"there is no column '{column}'.")
        else:
            mapping[role] = column
    if faults:
        raise UsageError("--map: " + " ".join(faults), f"The columns are {', '.join(columns)}.")
    return mapping


def _shown(mapping: Mapping[str, str], columns: Sequence[str]) -> str:
    taken = ", ".join(f"{role} ← '{column}'" for role, column in mapping.items())
    left = [column for column in columns if column not in mapping.values()]
    return f"Columns: {taken or 'none recognised'}." + (f" Left out: {', '.join(left[:12])}." if left else "")


def _confirmed(
    mapping: Mapping[str, str], columns: Sequence[str], sample: Sequence[Mapping[str, Any]], context: Context, yes: bool, target: Path
) -> dict[str, str]:
    """The mapping as the user wants it. Without anybody to ask, an incomplete one is a UsageError."""
    questions = context.questions
    if questions is None or yes:
        if not shapes.complete(mapping) and not _is_tree(mapping, sample):
            example = shlex.join(f"{role}={column}" for role, column in zip(("question", "answer"), columns, strict=False))
            raise UsageError(
                "Which columns hold the question and the answer is not clear from their names.", f"Say it, for example --map {example}"
            )
        if target.is_dir() and any(target.iterdir()) and not yes:
            raise UsageError(f"The domain {target.name} exists.", "Add --yes to replace it, or choose another name.")
        return dict(mapping)
    if target.is_dir() and any(target.iterdir()) and not questions.confirm(f"The domain {target.name} exists. Replace it?", False):
        raise UsageError(f"The domain {target.name} is left as it is.", "Choose another name.")
    if (shapes.complete(mapping) or _is_tree(mapping, sample)) and questions.confirm("Take these columns?", True):
        return dict(mapping)
    chosen: dict[str, str] = {}
    for role in shapes.MAPPABLE:
        optional = role not in ("question", "answer")
        answer = questions.choice(
            f"Which column is the {role.replace('_', ' ')}?",
            [*columns, *([NONE] if optional else [])],
            mapping.get(role, NONE if optional else None),
        )
        if answer != NONE:
            chosen[role] = answer
    return chosen


def _is_tree(mapping: Mapping[str, str], sample: Sequence[Mapping[str, Any]]) -> bool:
    column = mapping.get("question")
    return any(isinstance(value := row.get(column or ""), dict) and "replies" in value for row in sample)


def _prompts(given: Sequence[str], name: str) -> dict[str, str]:
    """System prompts by category; the one under "" is for all others."""
    prompts = {"": system_prompt(name)}
    for item in given:
        category, sign, text = item.partition("=")
        prompts[category.strip() if sign else ""] = (text if sign else item).strip()
    if not all(prompts.values()):
        raise UsageError("--system: a system prompt is empty.", 'Write --system "TEXT" or --system CATEGORY="TEXT".')
    return prompts


def _is_wanted(category: str, difficulty: str, scale: Mapping[str, str], wanted: Wanted) -> bool:
    in_category = not wanted.categories or category.casefold() in {name.casefold() for name in wanted.categories}
    levels = {shapes.difficulty_of(level) or level for level in wanted.levels}
    return in_category and (not levels or scale.get(difficulty, "") in levels or difficulty in levels)


def _names(spool: Spool, part: int) -> str:
    return ", ".join(sorted({stratum[part] for stratum in spool.stratum_names if stratum[part]})[:20]) or "(none)"


def _kind(reason: str) -> str:
    """A reason without its own numbers and names, for counting."""
    return re.sub(r"\s+", " ", re.sub(r"(?!'(?:input|target)_text')'[^']*'|\([^)]*\)|\d[\d,]*", "…", reason)).strip(" …")


def _manifest(
    source: Source, mapping: Mapping[str, str], wanted: Wanted, spool: Spool, counts: Counts, seed: int, name: str
) -> dict[str, Any]:
    file = source.path
    return {
        "name": name,
        "generator": f"import {IMPORTER_VERSION}",
        "seed": seed,
        "source": {
            "file": file.name,
            "path": str(file.resolve()),
            "bytes": file.stat().st_size if file.is_file() else None,
            "sha256": sha256(file) if file.is_file() else None,
            "kind": source.kind,
            "encoding": source.encoding.name if source.encoding else None,
            "columns": dict(mapping),
        },
        "system_prompt": wanted.prompts[""],
        "category_prompts": {category: text for category, text in wanted.prompts.items() if category},
        "rows": {
            "source": counts.source,
            "records": len(spool),
            "taken": len(spool) - counts.filtered - counts.duplicates,
            "rejected": sum(counts.rejected.values()),
            "duplicates": counts.duplicates,
            "filtered": counts.filtered,
        },
        "reasons": dict(counts.rejected.most_common()),
        "files": {**{file: {} for file in domain.SPLIT_FILES}, "rejects.jsonl": {"rejects": True}},
    }


def _title(target: Path, manifest: dict[str, Any]) -> str:
    rows = manifest["rows"]
    left = rows["rejected"] + rows["duplicates"]
    kept = f", {left:,} not taken (see rejects.jsonl)" if left else ""
    return f"{rows['taken']:,} rows from {rows['source']:,} in {target}{kept}. Next: `validate {target}`, `train {manifest['name']}`"


def _blocks(manifest: dict[str, Any], counts: Counts, categories: dict[str, Any], levels: dict[str, Any]) -> Iterator[Block]:
    described = manifest["files"]
    yield Table(("file", "rows"), tuple((name, f"{item['rows']:,}") for name, item in described.items()))
    for title, tally in (("category", categories), ("difficulty", levels)):
        if any(tally):
            named = sorted(tally.items(), key=lambda item: -sum(item[1].values()))[:20]
            yield Table(
                (title, "train", "validation", "test"),
                tuple((name or "(none)", *(f"{rows[part]:,}" for part in range(3))) for name, rows in named),
            )
            yield Chart(f"rows by {title}", tuple((name or "(none)", float(sum(rows.values()))) for name, rows in named), "rows")
    if counts.rejected or counts.duplicates:
        reasons = [(reason, f"{count:,}") for reason, count in counts.rejected.most_common(10)]
        yield Table(
            ("not taken because", "rows"),
            (*reasons, *([("the same question and answer before", f"{counts.duplicates:,}")] if counts.duplicates else ())),
        )
