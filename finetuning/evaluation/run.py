"""Evaluate one model: held-out rows, suites, speed; the result as a report and as ``evaluation.json`` beside the version."""

import os
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core import paths as path_tools
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Event, Notice, Report, Step
from assistant.core.paths import Paths
from assistant.engine import base as engines
from assistant.router import classifier
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import judging, report, subjects, suites
from finetuning.evaluation.asked import SPLITS, Asked
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.subjects import Subject, find
from finetuning.evaluation.suites import Suite

LIMIT = 200


def evaluate(
    context: Context,
    model: str | None = None,
    version: str | None = None,
    type: str = "generation",
    split: str | None = None,
    limit: int | None = None,
    suite: Sequence[str] | None = None,
    engine: str = "auto",
    fresh: bool = False,
    harness: Sequence[str] | None = None,
) -> Iterator[Event]:
    """Judge a model, a version or a folder, and write what was found beside it."""
    check_limit(limit)
    paths = context.paths
    subject = find(paths, model or "unified", version)
    if harness:
        yield from _on_benchmarks(paths, subject, harness, limit, engine, fresh)
    else:
        yield from judged(paths, subject, type, split, limit, suite, engine, fresh)


def judged(
    paths: Paths,
    subject: Subject,
    type: str = "generation",
    split: str | None = None,
    limit: int | None = None,
    suite: Sequence[str] | None = None,
    engine: str = "auto",
    fresh: bool = False,
) -> Iterator[Event]:
    """Judge a subject and yield its report; what the command, the scripts and the API share."""
    if subject.model == classifier.MODEL:
        type = "classification"
    elif type == "classification":
        subject = _reads(paths, subject)
    settings = configuration.load(paths)
    base = subjects.own_base(subject, engines.base_of(settings, paths))
    chosen = None if limit == 0 else limit or LIMIT
    yield Step(f"Evaluating {subject.label} ({type})")
    bench = Bench(paths, settings, base, [subject], engine, fresh)
    try:
        if type == "classification":
            document = yield from _classify(bench, subject, split, chosen)
            name, result = "evaluation_classification.json", report.of_classification(document)
        else:
            document = yield from _generate(bench, subject, split, chosen, pick(paths, suite))
            name, result = "evaluation.json", report.of_generation(document)
    finally:
        bench.release()
    where = write(paths, subject, name, _with_earlier(place(paths, subject, name), document))
    yield Report(result.title, {**without_items(document), "file": str(where)}, result.blocks)
    yield Notice(f"Every question with its answer is in {where}")


def judge(
    bench: Bench, subject: Subject, asked: Sequence[Asked], chosen: Sequence[Suite] = (), with_speed: bool = True
) -> Generator[Event, None, dict[str, Any]]:
    """One subject on held-out rows and suites: the document that is kept beside a version."""
    document = about(bench, subject)
    if asked:
        sampling = judging.decoding(bench, asked)
        document["held_out"] = yield from judging.held_out(bench, subject, asked, sampling)
        document["held_out"]["fingerprint"] = held_out_rows.fingerprint(asked)
    document["suites"] = {}
    for one in chosen:
        document["suites"][one.name] = yield from judging.suite(bench, subject, one)
    if asked and with_speed:
        document["speed"] = judging.speed(bench, subject, asked)
    return document


def about(bench: Bench, subject: Subject) -> dict[str, Any]:
    """Who was judged, on what, when: the head of every document."""
    return {
        "subject": subject.label,
        "model": subject.model,
        "version": subject.version,
        "weights": subjects.sha256(subject, bench.base),
        "base": bench.base.name,
        "base_sha256": bench.base.sha256,
        # Only of a base without a hash: a path says much of a person's machine.
        "base_source": "" if bench.base.sha256 else bench.base.source,
        "engine": bench.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def pick(paths: Paths, wanted: Sequence[str] | None) -> list[Suite]:
    """The suites a user named: none, all, names, or files of their own. Without a word the general ability."""
    if not wanted:
        return [suites.load(suites.GENERAL)]
    if list(wanted) == ["none"]:
        return []
    if list(wanted) == ["all"]:
        return [suites.load(name) for name in suites.names()]
    return [suites.load(name) if name in suites.names() else suites.read(_file(paths, name)) for name in wanted]


def held_out_file(paths: Paths, model: str, split: str | None) -> tuple[Path, str]:
    """The file that judges a model and its split's name."""
    if split is None:
        return held_out_rows.best_file(paths, model)
    if split not in SPLITS:
        raise UsageError(f"There is no split '{split}'.", f"Splits: {', '.join(SPLITS)}.")
    return held_out_rows.file_of(paths, model, split), split  # type: ignore[arg-type]


def place(paths: Paths, subject: Subject, name: str) -> Path:
    """Where a document is kept: beside the version; among the logs where that folder cannot be written or the base was judged."""
    folder = subject.folder
    if folder is None or not os.access(folder, os.W_OK):
        label = subject.label.removeprefix("the ").replace(" ", "_").replace("/", "_")
        return paths.logs / "evaluations" / f"{label}_{name}"
    return folder / name


def write(paths: Paths, subject: Subject, name: str, document: dict[str, Any]) -> Path:
    """Keep a document; returns where."""
    where = place(paths, subject, name)
    files.write_json(where, document)
    return where


def _with_earlier(where: Path, document: dict[str, Any]) -> dict[str, Any]:
    """A document with what was found of the same weights on the same engine before: other suites, and the proof of the version."""
    try:
        earlier = files.read_json(where)
    except (OSError, DataError):
        return document
    if not subjects.same_weights(earlier, document) or earlier.get("engine") != document["engine"] or "suites" not in document:
        return document
    kept = {key: earlier[key] for key in ("gate",) if key in earlier}
    return {**kept, **document, "suites": {**earlier.get("suites", {}), **document["suites"]}}


def without_items(document: Any) -> Any:
    """A document without the single questions, for the screen and ``--json``."""
    if isinstance(document, dict):
        return {key: without_items(value) for key, value in document.items() if key != "items"}
    return [without_items(value) for value in document] if isinstance(document, list) else document


def check_limit(limit: int | None) -> None:
    """A number of rows below 0 is a UsageError."""
    if limit is not None and limit < 0:
        raise UsageError(f"A limit of {limit} rows is none.", "Give a number of rows, or 0 for all.")


def _on_benchmarks(paths: Paths, subject: Subject, given: Sequence[str], limit: int | None, engine: str, fresh: bool) -> Iterator[Event]:
    from finetuning.evaluation import harness

    chosen, settings = harness.chosen(paths, given), configuration.load(paths)
    bench = Bench(paths, settings, subjects.own_base(subject, engines.base_of(settings, paths)), [subject], engine, fresh)
    try:
        yield from harness.judged(bench, subject, chosen, limit or None)
    finally:
        bench.release()


def _generate(
    bench: Bench, subject: Subject, split: str | None, limit: int | None, chosen: list[Suite]
) -> Generator[Event, None, dict[str, Any]]:
    path, name = held_out_file(bench.paths, subject.model, split)
    everything = held_out_rows.load(path, subject.model)
    asked = everything if limit is None else held_out_rows.choose(everything, limit)
    questions = sum(len(one.questions) for one in chosen)
    yield Step(f"{len(asked):,} of {len(everything):,} rows of {path.name}, {questions} questions of suites")
    document = yield from judge(bench, subject, asked, chosen)
    document["split"] = {"name": name, "file": path.name, "sha256": files.sha256(path), "rows": len(everything), "seed": held_out_rows.SEED}
    return document


def _classify(bench: Bench, subject: Subject, split: str | None, limit: int | None) -> Generator[Event, None, dict[str, Any]]:
    path = held_out_rows.file_of(bench.paths, "unified", split or "test", "classification")  # type: ignore[arg-type]
    rows = held_out_rows.labelled(path, limit)
    probe = probe_of(subject)
    if probe.base_sha256 and bench.base.sha256 and probe.base_sha256 != bench.base.sha256:
        raise ModelError("The classifier was fitted on another base.", "`train classifier` fits one for this base.")
    document = {**about(bench, subject), "split": {"name": split or "test", "file": path.name, "sha256": files.sha256(path)}}
    document["classification"] = yield from judging.classification(bench, probe, rows)
    return document


def _reads(paths: Paths, subject: Subject) -> Subject:
    """Whose classifier reads a subject's questions: its own, or the one that is live for all."""
    if subject.folder and (subject.folder / classifier.FILE).is_file():
        return subject
    reader = subjects.classifier_subject(subjects.Store(paths))
    return subject if reader.version is None else reader


def probe_of(subject: Subject) -> classifier.Probe:
    """The classifier of a version that carries one, else the built-in one."""
    own = subject.folder / classifier.FILE if subject.folder else None
    return classifier.load(own) if own is not None and own.is_file() else classifier.load()


def _file(paths: Paths, name: str) -> Path:
    path = path_tools.find(name, paths)
    if not path.is_file():
        known = f"all, none, {', '.join(suites.names())}"
        raise UsageError(f"There is no suite and no file '{name}'.", f"Suites: {known}; or a .yaml or .jsonl file of your own.")
    return path
