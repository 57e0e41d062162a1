"""What is judged: the base, a version, or a folder with an adapter or a whole model."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import ModelError, UsageError
from assistant.core.paths import Paths
from assistant.core.prompts import system_prompt
from assistant.core.store import BUILT_IN, Store
from assistant.core.values import Adapter
from assistant.engine.base import Base
from assistant.router import classifier
from finetuning.synthetic import rewards

BASE = "the base"
# What the key of an adapter begins with that was given as a folder.
_FOLDER = "folder/"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is judged. ``model`` chooses the system prompt; ``adapter`` is None for a bare base, ``source`` a base of its own.

    ``reader`` is the folder of a classifier's version, which does not answer.
    """

    label: str
    model: str
    version: str | None = None
    adapter: Adapter | None = None
    source: Path | None = None
    reader: Path | None = None
    system: str = ""

    @property
    def prompt(self) -> str:
        """The system prompt it is asked with in the chat."""
        return self.system or system_prompt(self.model)

    @property
    def key(self) -> str | None:
        """Its adapter's name for the engines."""
        return self.adapter.key if self.adapter else None

    @property
    def folder(self) -> Path | None:
        """Where its files lie; None for the configured base."""
        return self.adapter.folder if self.adapter else self.reader or self.source


def base_subject() -> Subject:
    """The configured base."""
    return Subject(BASE, "base")


def version_subject(store: Store, model: str, version: str) -> Subject:
    """A finished version of a model."""
    return Subject(f"{model} {version}", model, version, store.adapter(model, version), system=store.card(model, version).system)


def classifier_subject(store: Store, version: str | None = None) -> Subject:
    """A version of the classifier, without one the live one; the built-in one where none is trained."""
    version = version or store.current(classifier.MODEL).version
    if version is None:
        return Subject("the built-in classifier", classifier.MODEL)
    store.card(classifier.MODEL, version)
    name = f"{classifier.MODEL} {version}"
    return Subject(name, classifier.MODEL, version, reader=store.version_folder(classifier.MODEL, version))


def live(paths: Paths) -> list[Subject]:
    """The base and every live version."""
    store = Store(paths)
    versions = [(model, store.current(model).version) for model in store.models()]
    return [base_subject(), *(version_subject(store, model, version) for model, version in versions if version)]


def find(paths: Paths, name: str, version: str | None = None) -> Subject:
    """A subject from what a user typed: ``base``, MODEL, MODEL/VERSION, or a folder. A model alone means its live version."""
    store = Store(paths)
    if name == "base":
        return base_subject()
    reader, _, number = name.removeprefix("models/").partition("/")
    if reader == classifier.MODEL and (not number or number.isdigit()):
        chosen = version or number
        return classifier_subject(store, chosen.zfill(4) if chosen else None)
    folder = _folder(paths, name)
    if folder is not None:
        return _from_folder(store, folder)
    if "/" in name and version is None:
        name, version = name.rsplit("/", 1)
    known = list(dict.fromkeys([*BUILT_IN, *store.models()]))
    if name not in known:
        raise UsageError(f"There is no model and no folder '{name}'.", f"Name base, {', '.join(known)}, or a folder.")
    return version_subject(store, name, version.zfill(4) if version else _live(store, name))


def same_weights(earlier: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether two documents judge the same weights on the same base; a base without a hash is known by where it comes from."""
    base = "base_sha256" if document.get("base_sha256") else "base_source"
    return all(earlier.get(key) == document.get(key) for key in ("weights", base))


def distinct(found: Sequence[Subject]) -> list[Subject]:
    """Each subject once; of those that share a name, the ones given as folders are called by where they lie."""
    once = list({(one.label, one.folder and one.folder.resolve()): one for one in found}.values())
    shared = Counter(one.label for one in once)
    by_folder = [shared[one.label] > 1 and (one.key or "").startswith(_FOLDER) for one in once]
    return [replace(one, label=f"{one.label} ({one.folder})") if so else one for one, so in zip(once, by_folder, strict=True)]


def sha256(subject: Subject, base: Base) -> str:
    """The hash of the weights that answer: the adapter's, else the base's; "" when there is nothing to hash."""
    if subject.reader is not None:
        return files.sha256(subject.reader / classifier.FILE)
    if subject.adapter is None:
        return base.sha256 if subject.source is None else _weights(subject.source)
    return _weights(subject.adapter.folder)


def own_base(subject: Subject, base: Base) -> Base:
    """The base a subject stands on."""
    return base if subject.source is None else Base(subject.source.name, str(subject.source))


def _folder(paths: Paths, name: str) -> Path | None:
    path = Path(name).expanduser()
    for candidate in (path, paths.root / path):
        if candidate.is_dir() and ("/" in name or "\\" in name or not (paths.models / f"{name}_specialist").is_dir()):
            return candidate.absolute()
    return None


def _from_folder(store: Store, folder: Path) -> Subject:
    if not folder.is_dir():
        raise ModelError(f"{folder} is no folder.", "Name a model's, a version's, a PEFT adapter's or a Hugging Face model's folder.")
    if (folder / "current.json").is_file() or (folder / "versions").is_dir():
        return _live_of(store, folder)
    if (folder / "card.json").is_file():
        card = files.read_json(folder / "card.json")
        model, version = str(card.get("model")), str(card.get("version"))
        if model == classifier.MODEL:
            return Subject(f"{model} {version}", model, version, reader=folder)
        if model == rewards.MODEL:
            raise ModelError(f"{folder} holds a reward model, which judges answers and gives none.", "Name a model that answers.")
        return Subject(f"{model} {version}", model, version, _adapter(folder), system=str(card.get("system") or ""))
    if (folder / "adapter_model.safetensors").is_file():
        return Subject(folder.name, "unified", None, _adapter(folder))
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        if folder.resolve() == store.paths.base.resolve():
            return base_subject()
        return Subject(folder.name, "unified", source=folder)
    raise ModelError(
        f"{folder} holds no model: neither card.json, adapter_model.safetensors nor config.json with safetensors.",
        "Name a model's, a version's, a PEFT adapter's or a Hugging Face model's folder; pickled weights are not loaded.",
    )


def _adapter(folder: Path) -> Adapter:
    """The weights in a folder, under a key that no other folder has."""
    return Adapter(f"{_FOLDER}{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}", folder)


def _live_of(store: Store, folder: Path) -> Subject:
    current = files.read_json(folder / "current.json") if (folder / "current.json").is_file() else {}
    version = current.get("version")
    if not version and folder.resolve() == store.folder(classifier.MODEL).resolve():
        return classifier_subject(store)
    if not version:
        raise ModelError(f"{folder.name} has no live version.", "Name a version's folder, or make one live with `switch`.")
    return _from_folder(store, folder / "versions" / version)


def _live(store: Store, model: str) -> str:
    live = store.current(model).version
    if live is None:
        known = ", ".join(store.versions(model))
        raise ModelError(
            f"The {model} model has no live version.",
            f"Name one of its versions: {known}." if known else f"Train it first: `train {model}`.",
        )
    return live


def _weights(folder: Path) -> str:
    return "-".join(files.sha256(path)[:32] for path in sorted(folder.glob("*.safetensors")))
