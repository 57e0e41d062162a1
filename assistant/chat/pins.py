"""The model that answers everything, chosen with ``switch``."""

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths


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
