"""Which root a step works in, when another base than the configured one is wanted."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from assistant.core import files, settings
from assistant.core.events import Event, Notice
from assistant.core.paths import Paths, find, prepare


def is_configured(paths: Paths, model: str | None) -> bool:
    """Whether a base that a user named is the one this root is configured with."""
    configured = settings.load(paths).base
    names = {
        configured,
        "embedded" if configured == "embedded" else configured,
        *(["base", "SmolLM2-135M-Instruct"] * (configured == "embedded")),
    }
    return model is None or model in names


def at(paths: Paths, model: str | None, output: Path) -> Paths:
    """The root itself for its own base; for another base one under ``output``, with the same datasets.

    What is trained there leaves the models of the root alone: an adapter of another base could not be live beside them.
    """
    if model is None or is_configured(paths, model):
        return paths
    other = Paths(output / "workspace")
    other.root.mkdir(parents=True, exist_ok=True)
    if not other.datasets.exists():
        _link(paths.datasets, other.datasets)
    prepare(other)
    folder = find(model, paths)
    base = str(folder) if folder.is_dir() else model
    files.write_text(other.models / "settings.yaml", yaml.safe_dump({"base": base}, allow_unicode=True))
    return other


def told(paths: Paths, other: Paths, model: str | None) -> Iterator[Event]:
    """The line that says where another base is trained."""
    if other.root != paths.root:
        yield Notice(f"{model} is another base than the configured one: everything it needs lies in {other.root}, and it goes live there.")


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target, target_is_directory=True)
    except OSError:
        # Windows without the right to make links.
        shutil.copytree(source, target)
