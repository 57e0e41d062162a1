"""The model that answers everything, chosen with ``switch``."""

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.core.paths import Paths
from assistant.core.store import Store


def pinned(paths: Paths) -> str | None:
    """The model that ``switch`` pinned for this root, or None."""
    path = paths.models / "router.json"
    if not path.is_file():
        return None
    try:
        return files.read_json(path).get("pinned")
    except (DataError, AttributeError):
        return None


def pin(paths: Paths, model: str | None) -> None:
    """Pin a model for this root, in every process; None lets the router decide again."""
    files.write_json(paths.models / "router.json", {"pinned": model})


def check(store: Store, model: str) -> None:
    """Whether a model has something to answer with; one without a live version is a ModelError."""
    if model not in ("auto", "base") and store.current(model).version is None:
        raise ModelError(f"The {model} model has no live version to pin.", f"Train it first: `train {model}`.")
