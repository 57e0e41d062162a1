"""What a run will do, frozen before it starts: the model, the base, the dataset with its hashes, the recipe, the seed."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError, ModelError, TrainingError, UsageError
from assistant.core.paths import Paths
from assistant.core.store import check_name
from assistant.core.text import meant
from assistant.engine.base import Base
from finetuning.training import hub
from finetuning.training.recipe import LARGE_PARAMETERS, Recipe, Scale

SEED = 42
# Of SmolLM2-135M-Instruct, counted once in its weights.
EMBEDDED_PARAMETERS = 134_515_008
GENERATED = ("qna", "technical")


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One file of rows; ``path`` is relative to the root's ``datasets/``."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything that decides the outcome of a run.

    ``base_source`` is what ``model_config.yaml`` says; ``hash`` stands for all other fields. A version of the model can be trained
    further: ``begins_with``, whose weights have the hash ``begins_sha256`` ("" for both: over the base).
    """

    model: str
    base: str
    base_source: str
    base_sha256: str
    base_parameters: int
    dataset: str
    train: DatasetFile
    validation: DatasetFile | None
    preset: str
    recipe: Recipe
    seed: int
    begins_with: str = ""
    begins_sha256: str = ""
    hash: str = ""

    @property
    def method(self) -> str:
        """How the model is trained."""
        return self.recipe.method


def sources(paths: Paths, model: str) -> tuple[str, Path, Path]:
    """A model's dataset: its name, the rows that are trained, and the rows that judge (a file that need not exist)."""
    if model == "unified":
        return paths.processed.name, paths.processed / "unified_train.jsonl", paths.processed / "unified_validation.jsonl"
    if model in GENERATED:
        return (
            paths.processed.name,
            paths.processed / f"dialogue_{model}_train.jsonl",
            paths.processed / f"dialogue_{model}_validation.jsonl",
        )
    folder = paths.datasets / model
    return model, folder / "train.jsonl", folder / "validation.jsonl"


def check_word(paths: Paths, word: str) -> None:
    """Refuse a word after `train` that names nothing that can be trained here."""
    if word not in ("classifier", "reward"):
        check_model(paths, word)


def check_model(paths: Paths, model: str) -> str:
    """A model's name, if it can be trained here: a built-in one, or a domain that has a dataset."""
    if model == "daily_chat":
        raise UsageError("daily_chat: handled by the unified model.", "Train that one: `train unified`.")
    if model in ("unified", *GENERATED):
        return model
    check_name(model)
    if not (paths.datasets / model).is_dir():
        known = (
            sorted(folder.name for folder in paths.datasets.iterdir() if (folder / "train.jsonl").is_file())
            if paths.datasets.is_dir()
            else []
        )
        others = f" Domains with a dataset: {', '.join(known)}." if known else ""
        guess = meant(model, ["unified", *GENERATED, *known])
        raise UsageError(
            f"There is no model '{model}' and no dataset {paths.datasets / model}.",
            f"{guess}Train unified, qna or technical, or import your data as '{model}' first.{others}",
        )
    return model


def dataset(paths: Paths, model: str) -> tuple[str, DatasetFile, DatasetFile | None]:
    """A model's dataset with its hashes; a missing file of training rows is a DataError."""
    name, train, validation = sources(paths, model)
    if not train.is_file():
        fix = "Write the training files first: `generate`." if model in ("unified", *GENERATED) else "Import your data again."
        raise DataError(f"{train} does not exist.", fix)
    return name, _file(paths, train), _file(paths, validation) if validation.is_file() and validation.stat().st_size else None


def sealed(plan: TrainingPlan) -> TrainingPlan:
    """The plan with its hash."""
    return replace(plan, hash=_hash(plan))


def load(path: Path) -> TrainingPlan:
    """The plan in a ``plan.json``; one that was changed after it was written is a TrainingError."""
    document = files.read_json(path)
    try:
        plan = _from_json(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path} is not a training plan ({error}).", "Start a new training with `train`.") from error
    if plan.hash != _hash(plan):
        raise TrainingError(f"{path} was changed after the run began.", "Start a new training with `train`.")
    return plan


def check_data(plan: TrainingPlan, paths: Paths) -> None:
    """Whether the dataset is still the one the plan was made for: a DataError when it is not."""
    for file in (plan.train, plan.validation):
        if file is None:
            continue
        path = paths.datasets / file.path
        if not path.is_file() or files.sha256(path) != file.sha256:
            raise DataError(
                f"{path} is not the file this run was planned with.", "Put that dataset back, or start a new training with `train`."
            )


def to_json(plan: TrainingPlan) -> dict[str, Any]:
    """The plan as plain JSON values, as ``plan.json`` holds it."""
    return asdict(plan)


def parameters(base: Base) -> int:
    """How many parameters a base has: counted in its weights where they are on this machine, else read from its name; 0 when unknown."""
    if base.gguf is not None:
        return EMBEDDED_PARAMETERS
    named = Path(base.source)
    folder = named if named.is_dir() else hub.snapshot(base.source)
    counted = sum(map(_tensors, hub.weights(folder))) if folder else 0
    if counted or folder == named:
        return counted
    match = re.search(r"(\d+(?:\.\d+)?)\s*([BM])\b", base.source, re.IGNORECASE)
    return int(float(match[1]) * (1e9 if match[2] in "Bb" else 1e6)) if match else 0


def scale(parameters: int) -> Scale:
    """Which presets fit a base of that size; an unknown size counts as large, whose steps are the careful ones."""
    return "small" if 0 < parameters < LARGE_PARAMETERS else "large"


def _from_json(document: Mapping[str, Any]) -> TrainingPlan:
    values = {item.name: document[item.name] for item in fields(TrainingPlan)}
    values["train"] = DatasetFile(**values["train"])
    values["validation"] = DatasetFile(**values["validation"]) if values["validation"] else None
    values["recipe"] = Recipe(**values["recipe"])
    return TrainingPlan(**values)


def _hash(plan: TrainingPlan) -> str:
    document = {key: value for key, value in to_json(plan).items() if key != "hash"}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file(paths: Paths, path: Path) -> DatasetFile:
    return DatasetFile(path.relative_to(paths.datasets).as_posix(), files.sha256(path))


def _tensors(path: Path) -> int:
    """The numbers stored in a safetensors file, from its header (8 bytes of length, then JSON)."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # Of another kind of file the length is any number.
            header = json.loads(file.read(min(length, path.stat().st_size)))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not a safetensors file.", "Download or convert the base again.") from error
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for size in tensor["shape"]:
                count *= size
            total += count
    return total
