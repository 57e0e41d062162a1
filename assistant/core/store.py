"""The version store under models/: list, add, make live, put back.

A version is a numbered folder. It exists for everybody once its ``card.json`` is there, which is written last. A model's
``current.json`` names the live version and the one before; replacing that file is the only way a model goes live or back.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.paths import Paths
from assistant.core.text import meant
from assistant.core.values import Adapter, ModelCard

RESERVED = frozenset({"auto", "base", "unified", "unified_model", "classifier", "processed_english", "synthetic", "reward", "embedded"})
BUILT_IN = ("unified", "qna", "technical")
_FOLDERS = {"unified": "unified_model", "classifier": "classifier", "reward": "reward"}
# They answer nothing.
_SILENT = {"classifier", "reward"}


@dataclass(frozen=True, slots=True)
class Current:
    """What is live of one model. Either may be None: nothing live (the base answers), nothing before."""

    version: str | None = None
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """The models of one root."""

    paths: Paths

    def folder(self, model: str) -> Path:
        """A model's folder: ``unified_model``, ``classifier``, or ``NAME_specialist``."""
        return self.paths.models / _FOLDERS.get(model, f"{model}_specialist")

    def models(self) -> list[str]:
        """Every model that has a folder, the built-in ones first."""
        found = {folder.name.removesuffix("_specialist") for folder in self.paths.models.glob("*_specialist") if folder.is_dir()}
        found |= {model for model, name in _FOLDERS.items() if (self.paths.models / name).is_dir()} - _SILENT
        first = [model for model in BUILT_IN if model in found]
        return first + sorted(found - set(first))

    def versions(self, model: str) -> list[str]:
        """The finished versions of a model, oldest first."""
        return sorted(card.parent.name for card in self.folder(model).glob("versions/[0-9][0-9][0-9][0-9]/card.json"))

    def version_folder(self, model: str, version: str) -> Path:
        """Where a version lies."""
        return self.folder(model) / "versions" / version

    def card(self, model: str, version: str) -> ModelCard:
        """A finished version's card; an unfinished or unknown version is a ModelError."""
        path = self.version_folder(model, version) / "card.json"
        if not path.is_file():
            known = ", ".join(self.versions(model)) or "none"
            raise ModelError(f"The {model} model has no version {version}.", f"Finished versions: {known}.")
        document = files.read_json(path)
        names = {item.name for item in fields(ModelCard)}
        try:
            return ModelCard(**{key: tuple(value) if key == "engines" else value for key, value in document.items() if key in names})
        except TypeError as error:
            raise ModelError(f"{path} is incomplete ({error}).", "Delete that version, or train the model again.") from error

    def adapter(self, model: str, version: str) -> Adapter:
        """The weights of a finished version."""
        self.card(model, version)
        return Adapter(f"{model}/{version}", self.version_folder(model, version))

    def current(self, model: str) -> Current:
        """What is live of a model; a damaged ``current.json`` is a ModelError."""
        path = self.folder(model) / "current.json"
        if not path.is_file():
            return Current()
        try:
            document = files.read_json(path)
            return Current(document["version"], document["previous"])
        except (DataError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is damaged.", f"Run `switch {model} VERSION`, or delete the file: the base answers then.") from error

    def live(self, model: str) -> Adapter | None:
        """The weights that are live of a model, or None when the base answers for it."""
        version = self.current(model).version
        return self.adapter(model, version) if version else None

    def reserve(self, model: str, plan: dict[str, Any]) -> str:
        """A new version number with its ``plan.json`` written: a version in the making, which nobody sees yet."""
        parent = self.folder(model) / "versions"
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(folder.name) for folder in parent.iterdir() if re.fullmatch(r"\d{4}", folder.name)]
        number = max(taken, default=0) + 1
        while True:
            try:
                (parent / f"{number:04d}").mkdir()
                break
            except FileExistsError:
                number += 1
        files.write_json(parent / f"{number:04d}" / "plan.json", plan)
        return f"{number:04d}"

    def finish(self, card: ModelCard) -> None:
        """Write the card of a version: from now on it exists."""
        files.write_json(self.version_folder(card.model, card.version) / "card.json", asdict(card))

    def make_live(self, model: str, version: str | None) -> Current:
        """Make a finished version (None: the base) the live one and remember the one before; returns what was live."""
        if version:
            self.card(model, version)
        before = _readable(self, model)
        if before.version == version:
            return before
        self.put(model, Current(version, before.version))
        return before

    def roll_back(self, model: str) -> Current:
        """Put the version before back; doing it twice returns to where it was. Nothing before is a ModelError."""
        now = self.current(model)
        if now.version is None and now.previous is None:
            raise ModelError(f"The {model} model has nothing to go back to.", "`status` shows what is live; `train` makes versions.")
        if now.previous:
            self.card(model, now.previous)
        after = Current(now.previous, now.version)
        self.put(model, after)
        return after

    def put(self, model: str, current: Current) -> None:
        """Replace ``current.json``."""
        files.write_json(self.folder(model) / "current.json", {"version": current.version, "previous": current.previous})

    def delete(self, model: str, version: str) -> None:
        """Remove a version that is neither live nor the one before. Its number stays taken: a running chat knows versions by it."""
        now = _readable(self, model)
        if version in (now.version, now.previous):
            raise ModelError(f"The {model} model's version {version} is in use.", f"Make another one live first: `switch {model} VERSION`.")
        folder = self.version_folder(model, version)
        card = self.card(model, version)
        # Without its card it exists for nobody, so a kill from here on leaves nothing half.
        (folder / "card.json").unlink()
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        files.write_json(folder / "deleted.json", {"run": card.run, "created": card.created})


def check_name(model: str) -> str:
    """A specialist's name, if it may be one: lower-case letters, digits and underscores, and not a reserved word."""
    if model in RESERVED:
        raise UsageError(f"'{model}' is a reserved name.", f"Choose another; reserved are {', '.join(sorted(RESERVED))}.")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", model):
        raise UsageError(f"'{model}' cannot be a model's name.", "Use up to 40 lower-case letters, digits and underscores, a letter first.")
    return model


def no_model(name: str, known: Iterable[str]) -> UsageError:
    """The error for a model that is not there; it names the one that was probably meant."""
    names = list(dict.fromkeys(known))
    return UsageError(f"There is no model '{name}'.", f"{meant(name, names)}Choose from {', '.join(names)}.")


def _readable(store: Store, model: str) -> Current:
    try:
        return store.current(model)
    except ModelError:
        return Current()
