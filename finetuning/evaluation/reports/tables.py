"""The tables and documents of a report, each with the files it came from. Pure: what was found in, values out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from finetuning.evaluation.reports.found import COMPARISON, WAYS, Document, Found, Run, System, figures_of, suites_of

Folder = Literal["metrics", "results"]
Cell = str | float | int | bool | None
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with plain values: written as CSV and JSON, and shown on the pages. ``notes`` says what its columns mean."""

    name: str
    title: str
    folder: Folder
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sources: tuple[str, ...]
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of the whole report that is not on disk, and the command that makes it."""

    what: str
    command: str


def summary(found: Found) -> Sheet:
    """One row a system: quality with intervals, speed, size and cost."""
    columns = (
        "system", "live", "method", "questions", "key_fact_recall", "low", "high", "loss", "perplexity", "rouge_l", "chrf",
        "general_ability", "instruction_following", "engine", "first_token_seconds", "tokens_per_second", "switch_seconds", "memory_mb",
        "adapter_mb", "trained_parameters", "training_seconds",
    )  # fmt: skip
    rows = []
    for system in found.judged:
        evaluation, suites = system.documents["evaluation"], suites_of(system)
        figures, speed = figures_of(system), evaluation.get("speed") or {}
        facts, card = figures.get("key_fact_recall") or {}, system.documents.get("card", {})
        rows.append(
            (
                system.label, system.live, system.method, figures.get("rows"), *(facts.get(key) for key in ("mean", "low", "high")),
                (figures.get("loss") or {}).get("mean"), *(figures.get(key) for key in ("perplexity", "rouge_l", "chrf")),
                *(suites.get(name, {}).get("accuracy", {}).get("mean") for name in ("general_ability", "instruction_following")),
                evaluation.get("engine"),
                *(speed.get(key) for key in ("first_token_seconds", "tokens_per_second", "switch_seconds", "memory_mb")),
                _megabytes(card.get("adapter_bytes")), system.parameters, card.get("seconds"),
            )
        )  # fmt: skip
    notes = (
        "Intervals are 95% bootstrap intervals over the held-out questions; the speed is that of the engine that answered. "
        "A switch is how much later the first word comes when the base has answered in between."
    )
    if any("comparison" in system.sources for system in found.judged):
        notes += " Suites that only the last comparison asked may have been answered by another engine; the benchmarks name it."
    if len({system.documents["evaluation"].get("held_out", {}).get("fingerprint") for system in found.judged}) > 1:
        notes += " Not all were asked the same questions: only the paired differences compare them exactly."
    return Sheet("comparison_summary", "Systems", "metrics", columns, tuple(rows), sources(found.judged, "evaluation", "comparison"), notes)


def differences(found: Found) -> Sheet | None:
    """The paired differences of the last comparison, in the held-out questions and in the suites."""
    if not found.comparison:
        return None
    rows: list[tuple[Cell, ...]] = []
    shares = {
        (one["subject"], name): part["accuracy"]["mean"]
        for one in found.comparison.get("systems", [])
        for name, part in one.get("suites", {}).items()
    }
    for one in found.comparison.get("comparisons", []):
        for part in one["differences"]:
            gain = (part["gain"][key] for key in ("mean", "low", "high", "rows"))
            rows.append((one["system"], one["against"], part["measure"], part["old"], part["new"], *gain))
        for name, gained in one.get("suites", {}).items():
            old, new = (shares.get((one[key], name)) for key in ("against", "system"))
            rows.append((one["system"], one["against"], name, old, new, *(gained[key] for key in ("mean", "low", "high", "rows"))))
    columns = ("system", "against", "measure", "before", "now", "gain", "low", "high", "questions")
    notes = "The gain is turned so that above 0 is better (for the loss: before minus now); its 95% interval is paired over the questions."
    return Sheet("paired_differences", "Paired differences", "metrics", columns, tuple(rows), (COMPARISON,), notes)


def ways(found: Found) -> Sheet | None:
    """The ways of answering side by side: hybrid, separate, unified."""
    if not found.ways:
        return None
    keys = ("key_fact_recall", "right", "first_token_seconds", "seconds", "tokens_per_second", "escalated", "memory_mb")
    rows = [(one["way"], *(one["figures"].get(key) for key in keys), one["figures"].get("questions")) for one in found.ways.get("ways", [])]
    return Sheet("ways_of_answering", "Ways of answering", "metrics", ("way", *keys, "questions"), tuple(rows), (WAYS,))


def benchmarks(found: Found) -> Sheet | None:
    """Every suite and public benchmark of every system."""
    rows = [
        (system.label, name, one["questions"], *(one["accuracy"][key] for key in ("mean", "low", "high")), one["chance"], one["engine"])
        for system in found.systems
        for name, one in suites_of(system).items()
    ]
    if not rows:
        return None
    having = [system for system in found.systems if suites_of(system)]
    columns = ("system", "benchmark", "questions", "share_right", "low", "high", "guessing", "engine")
    return Sheet("benchmarks", "Benchmarks", "results", columns, tuple(rows), sources(having, "evaluation", "comparison", "harness"))


def classification(found: Found) -> Sheet | None:
    """The classifier's accuracy and F1 by category."""
    rows, having = [], []
    for system in found.subjects:
        judged = system.documents.get("classification", {}).get("classification")
        if judged:
            having.append(system)
            f1 = [judged["classes"].get(name, {}).get("f1") for name in ("qna", "technical", "general")]
            rows.append((system.label, judged["rows"], judged["accuracy"], judged["macro_f1"], *f1, judged["milliseconds_a_question"]))
    columns = ("system", "questions", "accuracy", "macro_f1", "f1_qna", "f1_technical", "f1_general", "milliseconds")
    return Sheet("classification", "Classifier", "results", columns, tuple(rows), sources(having, "classification")) if rows else None


def calibration(found: Found) -> Sheet | None:
    """How true the stated confidence of each system is, before and after calibration."""
    rows, having = [], []
    for system in found.systems:
        document = system.documents.get("calibration", {})
        before, after = ((document.get("figures") or {}).get(when) or {} for when in ("before", "after"))
        if after:
            having.append(system)
            low, high = after.get("ece_interval") or (None, None)
            rows.append(
                (
                    system.label,
                    document.get("engine"),
                    after.get("rows"),
                    before.get("ece"),
                    after.get("ece"),
                    low,
                    high,
                    after.get("auroc"),
                )
            )
    columns = ("system", "engine", "answers", "error_before", "error_after", "low", "high", "right_told_from_wrong")
    notes = "The error is the expected calibration error on answers that the curve was not fitted on; the last column is the AUROC."
    return Sheet("calibration", "Confidence", "metrics", columns, tuple(rows), sources(having, "calibration"), notes) if rows else None


def costs(found: Found) -> Sheet | None:
    """What each run took. CPU hours are the processor time of all cores; GPU hours the time a GPU was held."""
    if not found.runs:
        return None
    rows = [
        (
            run.name, run.method, "finished" if run.finished else "not finished", run.losses[-1][0] if run.losses else 0, run.steps,
            _hours(run.seconds), _hours(run.cpu_seconds), gpu_hours(run), run.memory_mb,
        )
        for run in found.runs
    ]  # fmt: skip
    columns = ("run", "method", "state", "steps_done", "steps", "hours", "cpu_hours", "gpu_hours", "peak_memory_mb")
    notes = "Hours are wall time; CPU hours are the processor time of all cores. An empty cell was not recorded."
    return Sheet("costs", "Cost of each run", "metrics", columns, tuple(rows), tuple(run.source for run in found.runs), notes)


def data(found: Found) -> Sheet | None:
    """The files of every dataset with their rows."""
    rows = [(one.name, name, count) for one in found.datasets for name, count in one.rows.items()]
    files = tuple(one.source for one in found.datasets)
    return Sheet("datasets", "Datasets", "results", ("dataset", "file", "rows"), tuple(rows), files) if rows else None


def sheets(found: Found) -> list[Sheet]:
    """Every table there is something for."""
    made = (
        summary(found) if found.judged else None,
        differences(found),
        ways(found),
        benchmarks(found),
        classification(found),
        calibration(found),
        costs(found),
        data(found),
    )
    return [sheet for sheet in made if sheet is not None]


def metrics_of(found: Found, method: str) -> Document | None:
    """``METHOD_metrics.json``: every version trained by a method, with its recipe, its training figures and its evaluation."""
    versions = [system for system in found.systems if system.version and system.method == method]
    if not versions:
        return None
    return {
        "method": method,
        "versions": [
            {
                "system": system.label,
                "live": system.live,
                "trained_parameters": system.parameters,
                "card": system.documents.get("card"),
                "training": system.documents.get("report"),
                "held_out": figures_of(system) or None,
                "suites": {name: one["accuracy"] for name, one in suites_of(system).items()},
                "sources": system.sources,
            }
            for system in versions
        ],
    }


def methods(found: Found) -> list[str]:
    """The methods that versions were trained by."""
    return sorted({system.method for system in found.systems if system.version})


def suite_results(found: Found, suite: str, benchmarks: Sequence[str] = ()) -> Document | None:
    """What every system got in a suite, by group, and in the public benchmarks of the same kind."""
    parts = {}
    for system in found.systems:
        kept = without_items(system.documents.get("evaluation", {}).get("suites", {}).get(suite))
        public = {
            name: without_items(part) for name, part in system.documents.get("harness", {}).get("harness", {}).items() if name in benchmarks
        }
        if kept or public:
            parts[system.label] = {"suite": kept, "benchmarks": public, "sources": system.sources}
    return {"suite": suite, "systems": parts} if parts else None


def evaluation_summary(found: Found) -> Document | None:
    """Every judged system's documents without the single questions."""
    parts = {
        system.label: {
            **{
                kind: without_items(system.documents[kind])
                for kind in ("evaluation", "classification", "harness")
                if kind in system.documents
            },
            "sources": system.sources,
        }
        for system in found.subjects
        if {"evaluation", "classification", "harness"} & set(system.documents)
    }
    return {"systems": parts} if parts else None


def comparison_report(found: Found) -> Document | None:
    """The last comparison as it was made, with the verdicts, without the single questions."""
    return {**without_items(found.comparison), "source": COMPARISON} if found.comparison else None


def filtering(found: Found) -> Document | None:
    """What a filter of synthesized rows kept and dropped, by the file that says so."""
    return dict(found.filtering) or None


def whole(found: Found, missing: Sequence[Missing], figures: Sequence[str]) -> Document:
    """``final_project_report.json``: everything in one document."""
    return {
        "systems": [
            {"system": one.label, "live": one.live, "method": one.method, "trained_parameters": one.parameters, "sources": one.sources}
            for one in found.subjects
        ],
        "verdicts": verdicts(found),
        "tables": {sheet.name: {"columns": sheet.columns, "rows": sheet.rows, "sources": sheet.sources} for sheet in sheets(found)},
        "figures": list(figures),
        "missing": [asdict(one) for one in missing],
    }


def verdicts(found: Found) -> list[str]:
    """The plain verdicts of the last comparison."""
    return [one["verdict"] for one in (found.comparison or {}).get("comparisons", [])]


def sources(systems: Sequence[System], *kinds: str) -> tuple[str, ...]:
    """The files these systems' documents came from."""
    return tuple(dict.fromkeys(system.sources[kind] for system in systems for kind in kinds if kind in system.sources))


def gpu_hours(run: Run) -> float | None:
    """The hours a run held a GPU: none on a processor, its wall time on a GPU, unknown where it does not say."""
    return None if run.gpu is None or run.seconds is None else _hours(run.seconds) if run.gpu else 0.0


def without_items(document: Any) -> Any:
    """A document without its single questions."""
    if isinstance(document, dict):
        return {key: without_items(value) for key, value in document.items() if key != "items"}
    return [without_items(value) for value in document] if isinstance(document, list) else document


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / HOUR, 4)


def _megabytes(count: int | None) -> float | None:
    return None if count is None else round(count / 1e6, 1)
