"""What a row of a dataset may be: the section ``data`` of ``training_config.yaml``."""

from dataclasses import dataclass, fields

from assistant.core.errors import ConfigError
from assistant.core.paths import Paths
from assistant.core.settings import merge, read_yaml

CONFIG = "training_config.yaml"


@dataclass(frozen=True, slots=True)
class DataLimits:
    """Lengths in characters, one in tokens, and two shares between 0 and 1."""

    min_text_chars: int = 1
    max_text_chars: int = 4000
    min_input_chars: int = 1
    max_input_chars: int = 8000
    min_target_chars: int = 1
    max_target_chars: int = 6000
    max_tokens: int = 1024
    min_label_share: float = 0.2
    near_duplicate: float = 0.8

    def of(self, field: str) -> tuple[int, int]:
        """The least and the most characters of a field."""
        name = field.removesuffix("_text") if field != "text" else "text"
        return getattr(self, f"min_{name}_chars"), getattr(self, f"max_{name}_chars")


def load(paths: Paths) -> DataLimits:
    """The limits of this installation; every wrong key or value is named in one ConfigError."""
    path = paths.configs / CONFIG
    document = read_yaml(path).get("data") or {} if path.is_file() else {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: 'data' holds no keys.", "Write lines like `max_input_chars: 8000` under it.")
    faults: list[str] = []
    limits = merge(DataLimits(), document, "data.", faults)
    faults += [
        f"'data.{item.name}' is {getattr(limits, item.name)}; not below 0." for item in fields(limits) if getattr(limits, item.name) < 0
    ]
    for name in ("text", "input_text", "target_text"):
        least, most = limits.of(name)
        if least > most:
            faults.append(f"the least length of {name} ({least}) is above the most ({most}).")
    if faults:
        raise ConfigError(f"{path}: " + " ".join(faults), "Correct the file; its comments say what each key means.")
    return limits
