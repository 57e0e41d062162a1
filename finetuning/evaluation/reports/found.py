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
from finetuning.evaluation.subjects import BASE

Document = dict[str, Any]
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
    """One training run: its losses by step, the validation losses, how long it took and on what, as far as it says so."""

    name: str
    method: str
    finished: bool
    losses: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    steps: int
    seconds: float | None
    cpu_seconds: float | None
    gpu: bool | None
    memory_mb: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset's files with their rows, and how many rows of its main training file each category and difficulty has."""

    name: str
    rows: dict[str, int]
    categories: dict[str, int]
    difficulties: dict[str, int]
    answer_words: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything a report is made of."""

    systems: tuple[System, ...]
    runs: tuple[Run, ...]
    datasets: tuple[Dataset, ...]
    comparison: Document | None
    ways: Document | None
    filtering: dict[str, Document]

    @property
    def judged(self) -> tuple[System, ...]:
        """The systems with a generation evaluation."""
        return tuple(system for system in self.systems if "evaluation" in system.documents)


COMPARISON = "logs/evaluations/comparison.json"
WAYS = "logs/evaluations/ways.json"


def gather(paths: Paths) -> Found:
    """Read everything once; files that are missing or broken count as absent."""
    comparison = _read(paths.root / COMPARISON)
    compared = {one.get("subject"): one for one in (comparison or {}).get("systems", []) if "speed" in one or "suites" in one}
    return Found(
        tuple(_with(system, compared.get(system.label)) for system in (_base(paths), *_versions(paths))),
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
    """The suites and public benchmarks of a system: name → questions, accuracy with interval, chance."""
    found = {
        name: {**part, "chance": part.get("chance")} for name, part in system.documents.get("evaluation", {}).get("suites", {}).items()
    }
    for name, part in system.documents.get("harness", {}).get("harness", {}).items():
        for task, judged in part["tasks"].items():
            main = next(iter(judged["figures"]))
            title, accuracy = name if len(part["tasks"]) == 1 else task.removeprefix("pz2_"), judged["figures"][main]
            found[title] = {"accuracy": accuracy, "questions": accuracy["rows"], "figure": main, "chance": judged.get("chance")}
    return found


def _with(system: System, compared: Document | None) -> System:
    """A system that has no evaluation of its own takes the one of the last comparison."""
    if compared is None or "evaluation" in system.documents:
        return system
    documents, sources = {**system.documents, "evaluation": compared}, {**system.sources, "evaluation": COMPARISON}
    return replace(system, documents=documents, sources=sources)


def _base(paths: Paths) -> System:
    documents, sources = {}, {}
    for kind, name in DOCUMENTS.items():
        path = paths.logs / "evaluations" / f"base_{name}"
        if (document := _read(path)) is not None:
            documents[kind], sources[kind] = document, _relative(paths, path)
    if (calibration := _read(paths.base / "calibration.json")) is not None:
        documents["calibration"], sources["calibration"] = calibration, _relative(paths, paths.base / "calibration.json")
    return System(BASE, "base", None, False, documents, sources)


def _versions(paths: Paths) -> Iterator[System]:
    store = Store(paths)
    for model in store.models():
        live = (_read(store.folder(model) / "current.json") or {}).get("version")
        for version in store.versions(model):
            folder = store.version_folder(model, version)
            documents, sources = {}, {}
            for kind, name in DOCUMENTS.items():
                if (document := _read(folder / name)) is not None:
                    documents[kind], sources[kind] = document, _relative(paths, folder / name)
            yield System(f"{model} {version}", model, version, version == live, documents, sources, _parameters(folder))


def _runs(paths: Paths) -> Iterator[Run]:
    store = Store(paths)
    for path in sorted(paths.runs.glob("*/events.jsonl")):
        about = _read(path.with_name("run.json")) or {}
        version = store.version_folder(str(about.get("model")), str(about.get("version")))
        plan, report = _read(version / "plan.json") or {}, _read(version / "report.json") or {}
        losses, validation, memory, steps = {}, {}, None, 0
        for event in _events(path):
            if event.get("event") != "Progress" or event.get("unit") != "steps":
                continue
            step, figures, steps = event["done"], event["figures"], event["total"]
            losses[step] = figures.get("loss")
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
            tuple(sorted((step, loss) for step, loss in losses.items() if loss is not None and math.isfinite(loss))),
            tuple(sorted(validation.items())),
            steps,
            report.get("seconds"),
            report.get("cpu_seconds"),
            _gpu(report),
            memory,
            _relative(paths, path),
        )


def _gpu(report: Document) -> bool | None:
    if "device" in report:
        return str(report["device"]).startswith("cuda")
    return False if str(report.get("torch", "")).endswith("+cpu") else None


def _datasets(paths: Paths) -> Iterator[Dataset]:
    for manifest in sorted(paths.datasets.glob("*/manifest.json")):
        document = _read(manifest) or {}
        rows = {name: part.get("rows", 0) for name, part in document.get("files", {}).items() if isinstance(part, dict)}
        main = next(
            (manifest.with_name(name) for name in ("unified_train.jsonl", "train.jsonl") if manifest.with_name(name).is_file()), None
        )
        categories: dict[str, int] = {}
        difficulties: dict[str, int] = {}
        words = []
        for row in _lines(main) if main else ():
            for counts, key in ((categories, "category"), (difficulties, "difficulty")):
                if row.get(key):
                    counts[str(row[key])] = counts.get(str(row[key]), 0) + 1
            words.append(len(str(row.get("target_text", "")).split()))
        yield Dataset(manifest.parent.name, rows, categories, difficulties, tuple(words), _relative(paths, manifest))


def _filtering(paths: Paths) -> list[Path]:
    return sorted([*paths.datasets.glob("*/filtering_stats.json"), *paths.datasets.glob("*/*/filtering_stats.json")])


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


def _events(path: Path) -> Iterator[Document]:
    for row in _lines(path):
        if isinstance(row, dict):
            yield row


def _lines(path: Path) -> Iterator[Document]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _read(path: Path) -> Document | None:
    try:
        document = files.read_json(path) if path.is_file() else None
    except DataError:
        return None
    return document if isinstance(document, dict) else None


def _relative(paths: Paths, path: Path) -> str:
    return path.relative_to(paths.root).as_posix()
