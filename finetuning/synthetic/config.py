"""The section ``synthetic`` of ``training_config.yaml``: how rows are written, and when one is kept."""

from dataclasses import dataclass, fields

from assistant.core.errors import ConfigError
from assistant.core.paths import Paths
from assistant.core.settings import merge, read_yaml
from finetuning.data.config import CONFIG


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """Words are counted as split by spaces; shares and likenesses lie between 0 and 1."""

    batch: int = 48
    instruction_tokens: int = 64
    instruction_temperature: float = 0.9
    answer_tokens: int = 224
    answer_temperature: float = 0.6
    top_p: float = 0.95
    min_instruction_words: int = 3
    max_instruction_words: int = 80
    min_answer_words: int = 3
    max_answer_words: int = 500
    min_english: float = 0.1
    max_same_line: int = 2
    min_distinct: float = 0.6
    near_duplicate: float = 0.7
    leak: float = 0.7
    validation_share: float = 0.1
    answers: int = 4
    preference_temperature: float = 1.0
    margin: float = 0.5
    preference_validation_share: float = 0.2
    teacher_seconds: float = 60.0
    teacher_tries: int = 4
    teacher_at_once: int = 4


def load(paths: Paths) -> SyntheticConfig:
    """The section of this installation; every wrong key or value is named in one ConfigError."""
    path = paths.configs / CONFIG
    document = read_yaml(path).get("synthetic") or {} if path.is_file() else {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: 'synthetic' holds no keys.", "Write lines like `answers: 4` under it.")
    faults: list[str] = []
    config = merge(SyntheticConfig(), document, "synthetic.", faults)
    faults += _out_of_range(config)
    if faults:
        raise ConfigError(f"{path}: " + " ".join(faults), "Correct the file; its comments say what each key means.")
    return config


def _out_of_range(config: SyntheticConfig) -> list[str]:
    shares = ("top_p", "min_english", "min_distinct", "near_duplicate", "leak", "validation_share", "preference_validation_share")
    faults = [f"'synthetic.{name}' is {getattr(config, name)}; between 0 and 1." for name in shares if not 0 <= getattr(config, name) <= 1]
    for item in fields(config):
        value = getattr(config, item.name)
        if item.name not in shares and value < (1 if isinstance(value, int) else 0):
            faults.append(f"'synthetic.{item.name}' is {value}; at least {1 if isinstance(value, int) else 0}.")
    if config.answers < 2:
        faults.append(f"'synthetic.answers' is {config.answers}; at least 2, or there is nothing to choose from.")
    for what in ("instruction", "answer"):
        if getattr(config, f"min_{what}_words") > getattr(config, f"max_{what}_words"):
            faults.append(f"'synthetic.min_{what}_words' is above 'synthetic.max_{what}_words'.")
    return faults
