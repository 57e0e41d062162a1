"""Fit a version's confidence: its answers to held-out rows with key facts, right or wrong, on the engine that answers in the chat.

Fitted are rows of entries that were never trained (validation) and unseen wordings of trained ones, in the proportion of the held-out
files; the wordings that are fitted on are always the same ``FITTED`` first of each category, so the others can judge (``parts``). The
base, which knows next to nothing of these rows, is asked the questions of general ability as well.
"""

import math
import random
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError
from assistant.core.events import Checked, Event, Notice, Report, Step, Table
from assistant.core.facts import is_right
from assistant.core.paths import Paths
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from assistant.router import confidence
from assistant.router.confidence import Calibration
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import fitting, judging, reliability, subjects, suites
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bench import Bench, Said
from finetuning.evaluation.checkers import Check, all_kept
from finetuning.evaluation.fitting import Labelled
from finetuning.evaluation.subjects import Subject

# Unseen wordings of each category that may be fitted on; all others are left to judge.
FITTED = 150
# Rows that a proof calibrates on by itself, two thirds of which it has asked already; `calibrate` takes all.
ROWS = 160
# After a proof that was wanted shorter, as of a trial, the calibration would take longer than the proof itself.
LEAST_WANTED = 40
# What the user's own verdict on an answer counts, in rows.
LABEL_WEIGHT = 3.0


def command(context: Context, model: str | None = None, version: str | None = None, limit: int | None = None) -> Iterator[Event]:
    """Calibrate a version anew and write it beside the version; without a model every live one and the base."""
    paths = context.paths
    settings = configuration.load(paths)
    base = engines.base_of(settings, paths)
    chosen = [subjects.find(paths, model, version)] if model else subjects.live(paths)
    for subject in chosen:
        bench = Bench(paths, settings, base, [subject])
        yield Step(f"Calibrating {subject.label} on {bench.name}")
        try:
            calibration = yield from calibrate(bench, subject, None if limit == 0 else limit)
        except DataError as error:
            if model:
                raise
            yield Notice(f"{subject.label} is not calibrated: {error.what}", "warning")
            continue
        finally:
            bench.release()
        yield _report(subject, calibration, folder(paths, subject))


def after_proof(bench: Bench, judged: Sequence[Subject], asked: Sequence[Asked], wanted: int) -> Generator[Event, None, None]:
    """Calibrate a new version and, when it has no calibration, the base; with too few rows nothing is written and a line says so."""
    if not asked:
        return
    if wanted < LEAST_WANTED:
        yield Notice(f"A proof of {wanted} rows is too short to calibrate the confidence; `calibrate` does it.")
        return
    sampling = judging.decoding(bench, asked)
    for subject in judged:
        weights = subjects.sha256(subject, bench.base)
        if confidence.known(folder(bench.paths, subject), weights, bench.name) is not None:
            continue
        yield Step(f"Calibrating the confidence of {subject.label}")
        try:
            calibration = yield from calibrate(bench, subject, ROWS, sampling)
        except DataError as error:
            yield Notice(f"{subject.label} is not calibrated, so its confidence decides nothing: {error.what}", "warning")
            continue
        before, after = (calibration.figures[name]["ece"] for name in ("before", "after"))
        yield Checked("calibrated", True, f"on {calibration.rows} answers; calibration error {before:.3f} → {after:.3f}")


class Judged(NamedTuple):
    """Answers that a calibration is fitted on: what was asked and said, which are right, and what each counts."""

    rows: list[Asked]
    said: tuple[Said, ...]
    right: list[bool]
    weights: list[float]


def calibrate(
    bench: Bench, subject: Subject, limit: int | None = ROWS, sampling: Sampling | None = None
) -> Generator[Event, None, Calibration]:
    """Ask a subject its fitting rows (what is kept from earlier is not asked again), fit, and write ``calibration.json``.

    ``sampling`` as the proof's makes its answers serve here too. Too few rows, or all right or all wrong, are a DataError.
    """
    judged = yield from answered(bench, subject, limit, sampling)
    calibration = fitted(bench, subject, judged, _labels(bench, subject))
    confidence.save(calibration, folder(bench.paths, subject))
    return calibration


def answered(bench: Bench, subject: Subject, limit: int | None = ROWS, sampling: Sampling | None = None) -> Generator[Event, None, Judged]:
    """A subject's answers to its fitting rows, judged."""
    rows, weights = fitting_rows(bench.paths, subject.model, limit)
    checks = _general(subject, limit)
    rows, weights = [*rows, *checks], [*weights, *[1.0] * len(checks)]
    if not rows:
        raise DataError(f"There are no held-out rows with key facts for {subject.model}.", "`generate` or `import` writes them.")
    # What lies outside of its training the base answers, with the base's own calibration.
    speakers = judging.speakers_of(bench, subject, [one.question for one in rows])
    own = [place for place, who in enumerate(speakers) if who == subject]
    rows, weights = [rows[place] for place in own], [weights[place] for place in own]
    if not rows:
        raise DataError(f"Every held-out question lies outside of what {subject.label} was trained on.", "Train it on more of its dataset.")
    sampling = sampling or judging.decoding(bench, rows)
    prompts = [judging.prompt_of(bench, one.said_to(subject.model), sampling) for one in rows]
    given = yield from bench.answers(subject, prompts, sampling, f"answers to calibrate {subject.label}")
    right = [
        all_kept(checks[one], said.text) if one in checks else bool(is_right(said.text, one.facts))
        for one, said in zip(rows, given.said, strict=True)
    ]
    return Judged(rows, given.said, right, weights)


def fitted(bench: Bench, subject: Subject, judged: Judged, labels: Sequence[tuple[Labelled, Labelled]] = ()) -> Calibration:
    """The calibration of judged answers. Its figures are of answers that each curve was not fitted on."""
    whole, early = [], []
    for row, said, right, weight in zip(*judged, strict=True):
        rest = (right, row.id.partition("#")[0], weight, tuple(bench.state(row.question)))
        whole.append(Labelled(said.features, *rest))
        early.append(Labelled(said.early, *rest))
    whole += [label for label, _ in labels]
    early += [label for _, label in labels]
    curve, unseen = fitting.fit(whole)
    first, unseen_first = fitting.fit(early)
    # Fitted are all answers by their weights; judged are as many of each kind as are asked.
    judges = _in_proportion([one.weight for one in whole])
    truth = [whole[place].right for place in judges]
    figures = {
        "before": reliability.figures([confidence.raw(whole[place].features) for place in judges], truth),
        "after": reliability.figures([unseen[place] for place in judges], truth),
        "early": {"tokens": confidence.FIRST, "auroc": reliability.auroc([unseen_first[place] for place in judges], truth)},
        "steps": len(curve.steps),
        "labels_of_users": len(labels),
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Calibration(bench.name, subjects.sha256(subject, bench.base), len(whole), curve, first, figures, created)


def _in_proportion(weights: Sequence[float]) -> list[int]:
    """The places of a part in which everything is as frequent as its weight says, once at most."""
    chosen, total = [], 0.0
    for place, weight in enumerate(weights):
        before, total = total, total + min(weight, 1.0)
        if math.floor(total + 1e-9) > math.floor(before + 1e-9):
            chosen.append(place)
    return chosen


def fitting_rows(paths: Paths, model: str, limit: int | None = None) -> tuple[list[Asked], list[float]]:
    """The rows a model is calibrated on, with their weights: unseen entries count as much as among all held-out rows."""
    wordings, judged = parts(paths, model)
    entries = _with_facts(paths, model, "validation")
    tested = _with_facts(paths, model, "test")
    if not wordings:
        # A domain of the user's without unseen wordings.
        return _some(entries or tested, limit), [1.0] * len(_some(entries or tested, limit))
    share = len(tested) / len(judged) if judged and tested else 0.25
    entries = _some(entries, None if limit is None else limit // 3)
    wordings = wordings[: None if limit is None else limit - len(entries)]
    weight = share * len(wordings) / len(entries) if entries else 1.0
    return [*wordings, *entries], [1.0] * len(wordings) + [weight] * len(entries)


def parts(paths: Paths, model: str) -> tuple[list[Asked], list[Asked]]:
    """The unseen wordings with key facts: those to fit on, and those that judge."""
    path = held_out_rows.file_of(paths, model, "test_phrasing")
    if not path.is_file() or not path.stat().st_size:
        return [], []
    rows = held_out_rows.load(path, model)
    # In the order in which a proof chooses its questions, so that its answers serve here.
    everything = [one for one in held_out_rows.choose(rows, len(rows)) if one.facts]
    seen: dict[str, int] = {}
    fit, judge = [], []
    for one in everything:
        seen[one.category] = seen.get(one.category, 0) + 1
        # Of a small file the larger part is left to judge.
        enough = min(FITTED, sum(other.category == one.category for other in everything) * 2 // 5)
        (fit if seen[one.category] <= enough else judge).append(one)
    return fit, judge


def _general(subject: Subject, limit: int | None) -> dict[Asked, tuple[Check, ...]]:
    """For the bare base the questions of general ability, each with what its answer must keep."""
    if subject.adapter is not None:
        return {}
    questions = suites.load(suites.GENERAL).questions[:limit]
    system = Message("system", subject.prompt)
    return {
        Asked(one.id, subject.model, (system, Message("user", one.turns[0].user)), "", (), (), "qna", ""): one.turns[0].checks
        for one in questions
    }


def folder(paths: Paths, subject: Subject) -> Path:
    """Where a subject's calibration lies; the base's lies in models/base."""
    return subject.folder or paths.base


def _with_facts(paths: Paths, model: str, split: held_out_rows.Split) -> list[Asked]:
    path = held_out_rows.file_of(paths, model, split)
    if not path.is_file() or not path.stat().st_size:
        return []
    return [one for one in held_out_rows.load(path, model) if one.facts]


def _some(rows: list[Asked], limit: int | None) -> list[Asked]:
    shuffled = random.Random(f"{held_out_rows.SEED}/calibrate").sample(rows, len(rows))
    return shuffled if limit is None else shuffled[:limit]


def _labels(bench: Bench, subject: Subject) -> list[tuple[Labelled, Labelled]]:
    """What users said of this version's answers with ``good:`` and ``bad:``."""
    path = bench.paths.labels
    if not path.is_file():
        return []
    found = []
    for place, row in enumerate(files.read_jsonl(path)):
        mine = (row.get("model"), row.get("version"), row.get("engine")) == (subject.model, subject.version, bench.name)
        if mine and len(row.get("features") or ()) == len(row.get("early") or ()) == len(confidence.FEATURES):
            rest = (bool(row["right"]), f"label/{place}", LABEL_WEIGHT, tuple(bench.state(row["question"])))
            found.append((Labelled(tuple(row["features"]), *rest), Labelled(tuple(row["early"]), *rest)))
    return found


def _report(subject: Subject, calibration: Calibration, where: Path) -> Report:
    before, after = calibration.figures["before"], calibration.figures["after"]
    lines = tuple(
        (name, *(_shown(part, key) for part in (before, after)))
        for name, key in (("calibration error", "ece"), ("without its bias", "ece_debiased"), ("right told from wrong (AUROC)", "auroc"))
    )
    diagram = tuple(
        (f"{one['from']:.0%} to {one['to']:.0%}", f"{one['rows']}", f"{one['confidence']:.0%}", f"{one['right']:.0%}")
        for one in after["bins"]
    )
    return Report(
        f"{subject.label} is calibrated on {calibration.rows} answers of {calibration.engine}",
        {"model": subject.model, "version": subject.version, "file": str(where / confidence.FILE), **calibration.figures},
        (
            Table(("figure", "before", "after"), lines),
            Table(("said", "answers", "on average", "right"), diagram, "On answers the curve was not fitted on"),
        ),
    )


def _shown(part: dict[str, object], key: str) -> str:
    value, interval = part[key], part.get(f"{key}_interval")
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")  # type: ignore[index]
