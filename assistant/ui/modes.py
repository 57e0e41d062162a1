"""``--mode interactive|train|test``: a second way in, for scripts, as the words of the first one. Pure."""

from collections.abc import Sequence

from assistant.core.errors import UsageError

MODES = ("interactive", "train", "test")


def words_of(words: Sequence[str]) -> list[str] | None:
    """The words a line with ``--mode`` stands for: those after ``ft``, or [] with what is left for the chat; None without a mode."""
    asks = any(word.partition("=")[0] in ("--ask", "--ask-file") for word in words)
    mode, rest = (None, []) if asks else _taken(words, "--mode")
    if mode is None:
        return None
    if mode not in MODES:
        raise UsageError(f"There is no mode '{mode}'.", f"Choose from {', '.join(MODES)}.")
    if mode == "interactive":
        return rest
    if mode == "test":
        return ["ft", "test", *rest]
    path, rest = _taken(rest, "--dataset_path", "--dataset-path")
    if path is not None:
        return ["ft", "learn", path, *rest]
    if any(word.partition("=")[0] == "--categories" for word in rest):
        raise UsageError(
            "--categories chooses rows of a file; the unified model learns all its categories.",
            "Add --dataset_path FILE, or leave --categories out.",
        )
    return ["ft", "train", "unified", *rest]


def _taken(words: Sequence[str], *names: str) -> tuple[str | None, list[str]]:
    """The value of a flag and the words without it; a flag at the end, without a value, is a UsageError."""
    for place, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name not in names:
            continue
        if sign:
            return value, [*words[:place], *words[place + 1 :]]
        if place + 1 == len(words) or words[place + 1].startswith("--"):
            raise UsageError(f"{name} needs a value.", "`python main.py --help` shows how to call PZ2.")
        return words[place + 1], [*words[:place], *words[place + 2 :]]
    return None, list(words)
