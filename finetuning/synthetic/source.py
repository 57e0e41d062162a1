"""What writes and what scores, loaded when it is first needed and given back at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.chat.reader import Reader
from assistant.core.paths import Paths, find
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine.base import Base, Engine
from finetuning.synthetic import rewards
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.preference import Judge
from finetuning.synthetic.teacher import Teacher
from finetuning.synthetic.writers import BaseWriter, TeacherWriter, Writer


@dataclass(frozen=True, slots=True)
class Named:
    """A reward model by its name; loading it takes seconds and memory."""

    name: str
    load: Callable[[], Judge]


@dataclass(slots=True)
class Source:
    """The base of this root, or a teacher in its place."""

    paths: Paths
    settings: Settings
    config: SyntheticConfig
    teacher: Teacher | None
    _loaded: list[Any] = field(default_factory=list)
    _engine: Engine | None = None

    @property
    def by(self) -> str:
        """Who writes, as it stands in a manifest."""
        if self.teacher:
            return f"{self.teacher.model} at {self.teacher.address}"
        base = self.base
        return f"{base.name} {base.sha256[:12]}".strip()

    @property
    def base(self) -> Base:
        """The base of this root."""
        return engines.base_of(self.settings, self.paths)

    def writer(self) -> Writer:
        """The teacher, or the base loaded."""
        if self.teacher:
            return TeacherWriter(self.teacher, self.config)
        base = self.base
        if self._engine is None:
            self._engine = engines.make("hf", base, self.settings, self.paths)
            self._loaded.append(self._engine)
        return BaseWriter(self._engine, base, self.settings, self.config, Reader(Store(self.paths)), base.name)

    def judge(self, named: str | None, force: bool) -> Named | None:
        """The reward model that was named, else that of this root; None where there is none that may score."""
        if named:
            folder = find(named, self.paths)
            source = str(folder) if folder.is_dir() else named
            return Named(source, lambda: self._kept(_foreign(source)))
        base = self.base
        found = rewards.live(Store(self.paths), base, force)
        if found is None:
            return None
        name, folder = found
        return Named(name, lambda: self._kept(_own(base, self.paths, folder, name)))

    def release(self) -> None:
        """Give the memory back."""
        while self._loaded:
            self._loaded.pop().release()
        self._engine = None

    def _kept(self, loaded: Any) -> Any:
        self._loaded.append(loaded)
        return loaded


def _own(base: Base, paths: Paths, folder: Path, name: str) -> Judge:
    # With it comes torch.
    from finetuning.training import reward

    return reward.load(base, paths, folder, name)


def _foreign(named: str) -> Judge:
    from finetuning.training import scorer

    return scorer.foreign(named)
