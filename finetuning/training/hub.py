"""A base that is named by its Hugging Face id: whether that can be one, and what of it lies in the local cache. No network, no torch."""

from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError
from assistant.engine import base as engines

INDEX = "model.safetensors.index.json"


def is_id(source: str) -> bool:
    """Whether a text has the form of an id: NAME or OWNER/NAME."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return bool(source)


def is_offline() -> bool:
    """Whether nothing may be fetched (HF_HUB_OFFLINE)."""
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


def snapshot(source: str) -> Path | None:
    """The folder of an id in the local cache; None where it is not there."""
    if not engines.installed("huggingface_hub") or not is_id(source):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def weights(folder: Path) -> list[Path]:
    """The files that hold a base's weights, as transformers chooses them: one, or those of the index; none where one is missing."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        listed = [folder / name for name in sorted(set(files.read_json(folder / INDEX)["weight_map"].values()))]
    except (DataError, KeyError, TypeError, AttributeError):
        return []
    return listed if all(path.is_file() for path in listed) else []
