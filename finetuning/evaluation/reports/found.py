"""What lies on disk for a report: versions, runs, evaluations, datasets, each with the file it was read from. Reads only; no torch."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.router.classifier import MODEL as CLASSIFIER
from finetuning.evaluation.subjects import BASE, same_weights

Document = dict[str, Any]
Points = tuple[tuple[int, float], ...]
# The documents a judged system has, by the name of their file (the base's begin with ``base_`` and lie among the logs).
DOCUMENTS = {
    "evaluation": "evaluation.json",
    "classification": "evaluation_classification.json",
    "harness": "evaluation_harness.json",
    "calibration": "calibration.json",
    "report": "report.json",
    "card": "card.json",
}


@dataclass(frozen=True, slots=True)
class System:
    """Something that answers: the base or a version, with the documents found and the files they came from (relative to the root)."""

    label: str
    model: str
    version: str | None
    live: bool
    documents: dict[str, Document] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    parameters: int | None = None

    @property
    def method(self) -> str:
        """How it was trained."""
        return str(self.documents.get("card", {}).get("method") or "none")


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: its losses by step, the validation losses, how long it took and on what, as far as it says so.

    A run on preference pairs also has the margin by which the chosen answers lead, and the share of pairs in the right order.
    """

    name: str
    method: str
    finished: bool
    losses: Points
    validation: Points
    steps: int
    seconds: float | None
    cpu_seconds: float | None
    gpu: bool | None
    memory_mb: float | None
    source: str
    margins: Points = ()
    accuracies: Points = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset's files with their rows, and how many rows of its main file each category and difficulty has."""

    name: str
    rows: dict[str, int]
    main: str
    categories: dict[str, int]
    difficulties: dict[str, int]
    answer_words: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything a report is made of: what answers (``systems``), the classifiers, which only read, and the rest."""

    systems: tuple[System, ...]
    classifiers: tuple[System, ...]
    runs: tuple[Run, ...]
    datasets: tuple[Dataset, ...]
    comparison: Document | None
    ways: Document | None
    filtering: dict[str, Document]

    @property
    def judged(self) -> tuple[System, ...]:
        """The systems with a generation evaluation."""
        return tuple(system for system in self.systems if "evaluation" in system.documents)

    @property
    def subjects(self) -> tuple[System, ...]:
        """All that can be judged: the systems and the classifiers."""
        return (*self.systems, *self.classifiers)


COMPARISON = "logs/evaluations/comparison.json"
WAYS = "logs/evaluations/ways.json"
FILTERING = "filtering_stats.json"
# What holds the answer in a row of a dialogue, of a written request, of a preference pair.
ANSWERS = ("target_text", "response", "chosen")
# The file of a dataset whose rows are looked at: the first one there is.
MAIN = ("unified_train.jsonl", "train.jsonl", "instructions_filtered.json", "instructions_final_full.json", "preference_data.json")


def gather(paths: Paths) -> Found:
    """Read everything once; files that are missing or broken count as absent."""
    comparison = _read(paths.root / COMPARISON)
    compared = {one.get("subject"): one for one in (comparison or {}).get("systems", []) if "speed" in one or "suites" in one}
    return Found(
        tuple(_with(system, compared.get(system.label)) for system in (_base(paths), *_versions(paths))),
        tuple(_classifiers(paths)),
        tuple(_runs(paths)),
        tuple(_datasets(paths)),
        comparison,
        _read(paths.root / WAYS),
        {_relative(paths, path): document for path in _filtering(paths) if (document := _read(path)) is not None},
    )


def figures_of(system: System) -> Document:
    """The held-out figures of a judged system; {} when it has none."""
    return system.documents.get("evaluation", {}).get("held_out", {}).get("figures", {})


def suites_of(system: System) -> dict[str, Document]:
    """The suites and public benchmarks of a system: name → questions, accuracy with interval, chance, engine."""
    evaluation, harness = (system.documents.get(kind, {}) for kind in ("evaluation", "harness"))
    usual = {"chance": None, "engine": evaluation.get("engine")}
    found = {name: {**usual, **part} for name, part in evaluation.get("suites", {}).items()}
    for name, part in harness.get("harness", {}).items():
        for task, judged in part["tasks"].items():
            main = next(iter(judged["figures"]))
            title, accuracy = name if len(part["tasks"]) == 1 else task.removeprefix("pz2_"), judged["figures"][main]
            about = {"figure": main, "chance": judged.get("chance"), "engine": harness.get("engine")}
            found[title] = {"accuracy": accuracy, "questions": accuracy["rows"], **about}
    return found


def _with(system: System, compared: Document | None) -> System:
    """A system with what the last comparison found of it: the same questions as the others were asked, where its own proof had others.

    That is so for the same weights on the same base; each suite says its engine, because a comparison may need another one.
    """
    if compared is None:
        return system
    own = system.documents.get("evaluation")
    if own is None:
        documents, sources = {**system.documents, "evaluation": compared}, {**system.sources, "evaluation": COMPARISON}
        return replace(system, documents=documents, sources=sources)
    if not same_weights(own, compared):
        return system
    taken = {name: {**part, "engine": compared.get("engine")} for name, part in compared.get("suites", {}).items()}
    evaluation = {**own, "suites": {**own.get("suites", {}), **taken}}
    if "held_out" in compared:
        evaluation["held_out"] = compared["held_out"]
    return replace(system, documents={**system.documents, "evaluation": evaluation}, sources={**system.sources, "comparison": COMPARISON})


def _base(paths: Paths) -> System:
    documents, sources = _documents(paths, paths.logs / "evaluations", "base_")
    if (calibration := _read(paths.base / "calibration.json")) is not None:
        documents["calibration"], sources["calibration"] = calibration, _relative(paths, paths.base / "calibration.json")
    return System(BASE, "base", None, False, documents, sources)


def _versions(paths: Paths) -> Iterator[System]:
    for model in Store(paths).models():
        yield from _versions_of(paths, model)


def _versions_of(paths: Paths, model: str) -> Iterator[System]:
    store = Store(paths)
    live = (_read(store.folder(model) / "current.json") or {}).get("version")
    for version in store.versions(model):
        folder = store.version_folder(model, version)
        yield System(f"{model} {version}", model, version, version == live, *_documents(paths, folder), _parameters(folder))


def _classifiers(paths: Paths) -> Iterator[System]:
    """The classifier's versions, after the built-in one where that was judged."""
    documents, sources = _documents(paths, paths.logs / "evaluations", "built-in_classifier_")
    if documents:
        yield System("the built-in classifier", CLASSIFIER, None, False, documents, sources)
    yield from _versions_of(paths, CLASSIFIER)


def _documents(paths: Paths, folder: Path, before: str = "") -> tuple[dict[str, Document], dict[str, str]]:
    """The documents in a folder and the files they came from, by kind; ``before`` begins the files' names."""
    found = {kind: document for kind, name in DOCUMENTS.items() if (document := _read(folder / f"{before}{name}")) is not None}
    return found, {kind: _relative(paths, folder / f"{before}{DOCUMENTS[kind]}") for kind in found}


def _runs(paths: Paths) -> Iterator[Run]:
    store = Store(paths)
    for path in sorted(paths.runs.glob("*/events.jsonl")):
        about = _read(path.with_name("run.json")) or {}
        version = store.version_folder(str(about.get("model")), str(about.get("version")))
        plan, report = _read(version / "plan.json") or {}, _read(version / "report.json") or {}
        curves: dict[str, dict[int, float | None]] = {"loss": {}, "margin": {}, "accuracy": {}}
        validation, memory, steps = {}, None, 0
        for event in _lines(path):
            if event.get("event") != "Progress" or event.get("unit") != "steps":
                continue
            step, figures, steps = event["done"], event["figures"], event["total"]
            for name, curve in curves.items():
                curve[step] = figures.get(name)
            memory = figures.get("memory MB", memory)
            judged = figures.get("validation loss")
            if judged is not None and (not validation or judged != list(validation.values())[-1]):
                validation[step if validation else 0] = judged
        if report.get("validation_loss_after") is not None:
            validation[steps] = report["validation_loss_after"]
        yield Run(
            path.parent.name,
            str(plan.get("recipe", {}).get("method") or plan.get("method") or "lora"),
            (version / "card.json").is_file() and report.get("run") == path.parent.name,
            _points(curves["loss"]),
            tuple(sorted(validation.items())),
            steps,
            report.get("seconds"),
            report.get("cpu_seconds"),
            _gpu(report),
            memory,
            _relative(paths, path),
            _points(curves["margin"]),
            _points(curves["accuracy"]),
        )


def _points(values: dict[int, float | None]) -> Points:
    return tuple(sorted((step, value) for step, value in values.items() if value is not None and math.isfinite(value)))


def _gpu(report: Document) -> bool | None:
    if "device" in report:
        return str(report["device"]).startswith("cuda")
    return False if str(report.get("torch", "")).endswith("+cpu") else None


def _datasets(paths: Paths) -> Iterator[Dataset]:
    for manifest in (*sorted(paths.datasets.glob("*/manifest.json")), *sorted(paths.datasets.glob("synthetic/*/manifest.json"))):
        folder = manifest.parent
        rows = dict(_rows(folder, _read(manifest) or {}))
        main = next((name for name in MAIN if (folder / name).is_file()), "")
        categories: dict[str, int] = {}
        difficulties: dict[str, int] = {}
        words = []
        for row in _lines(folder / main) if main else ():
            for counts, key in ((categories, "category"), (difficulties, "difficulty")):
                if row.get(key):
                    counts[str(row[key])] = counts.get(str(row[key]), 0) + 1
            words.append(len(str(next((row[key] for key in ANSWERS if key in row), "")).split()))
        if rows or main:
            name = folder.relative_to(paths.datasets).as_posix()
            yield Dataset(name, rows, main, categories, difficulties, tuple(words), _relative(paths, manifest))


def _rows(folder: Path, manifest: Document) -> Iterator[tuple[str, int]]:
    """Each file of a manifest with its rows; they are counted where the manifest does not say."""
    for name, part in manifest.get("files", {}).items():
        if isinstance(part, dict) and name != FILTERING:
            path = folder / name
            yield name, part["rows"] if "rows" in part else sum(1 for _ in _lines(path)) if path.is_file() else 0


def _filtering(paths: Paths) -> list[Path]:
    return sorted([*paths.datasets.glob(f"*/{FILTERING}"), *paths.datasets.glob(f"*/*/{FILTERING}")])


def _parameters(folder: Path) -> int | None:
    """How many numbers an adapter holds, from the heads of its safetensors files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as file:
                head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        except (OSError, ValueError, OverflowError, MemoryError):
            return None
        total += sum(math.prod(part["shape"]) for name, part in head.items() if name != "__metadata__")
    return total or None


def _lines(path: Path) -> Iterator[Document]:
    """The objects of a JSON Lines file, or of a JSON array with one row a line; what is torn or no object is passed over."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line.rstrip().removesuffix(","))
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def _read(path: Path) -> Document | None:
    try:
        document = files.read_json(path) if path.is_file() else None
    except DataError:
        return None
    return document if isinstance(document, dict) else None


def _relative(paths: Paths, path: Path) -> str:
    return path.relative_to(paths.root).as_posix()
