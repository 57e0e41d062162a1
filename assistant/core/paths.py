"""Every path of the program, from one root."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from assistant.core.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie. ``root`` holds datasets/, models/ and logs/; the program itself lies in PROJECT."""

    root: Path

    @property
    def datasets(self) -> Path:
        """All datasets, one folder each."""
        return self.root / "datasets"

    @property
    def processed(self) -> Path:
        """The generated English dataset with its nine files."""
        return self.datasets / "processed_english"

    @property
    def models(self) -> Path:
        """All models, one folder each."""
        return self.root / "models"

    @property
    def base(self) -> Path:
        """The embedded base model."""
        return self.models / "base"

    @property
    def logs(self) -> Path:
        """Logs, training runs, checkpoints and the chat history."""
        return self.root / "logs"

    @property
    def runs(self) -> Path:
        """One folder a training run: events, trainer output, TensorBoard files."""
        return self.logs / "training_logs"

    @property
    def checkpoints(self) -> Path:
        """One folder a training run: what a killed run resumes from."""
        return self.logs / "checkpoints"

    @property
    def history(self) -> Path:
        """The chat history (SQLite)."""
        return self.logs / "chat.sqlite3"

    @property
    def usage(self) -> Path:
        """Who tends to answer next: counts, no text."""
        return self.logs / "usage.json"

    @property
    def labels(self) -> Path:
        """What users said of answers with `good:` and `bad:`, one JSON object a line."""
        return self.logs / "labels.jsonl"

    @property
    def configs(self) -> Path:
        """The configuration files that ship with the program."""
        return PROJECT / "finetuning" / "configs"

    @property
    def corpus(self) -> Path:
        """The hand-written English corpus that ships with the program."""
        return PROJECT / "finetuning" / "corpus"


def resolve(root: str | os.PathLike[str] | None = None) -> Paths:
    """The paths under ``root``, else under ``PZ2_ROOT``, else under the project folder."""
    chosen = root or os.environ.get("PZ2_ROOT") or PROJECT
    return Paths(Path(chosen).expanduser().absolute())


def prepare(paths: Paths) -> None:
    """Make the three data folders; a root that cannot be written is a ConfigError."""
    try:
        for folder in (paths.datasets, paths.models, paths.logs):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise ConfigError(
            f"The root folder {paths.root} cannot be written ({error.strerror}).",
            "Choose another one with --root DIR or the environment variable PZ2_ROOT.",
        ) from error


def find(name: str, paths: Paths) -> Path:
    """A path the user typed: relative to the current folder first, then to the root."""
    path = Path(name).expanduser()
    if path.is_absolute() or path.exists():
        return path.absolute()
    under_root = paths.root / path
    return under_root if under_root.exists() else path.absolute()
