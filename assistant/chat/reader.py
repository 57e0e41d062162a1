"""The classifier that is live: the trained one of this root, else the one that ships with PZ2; it follows ``current.json``."""

from assistant.core.errors import ModelError
from assistant.core.store import Store
from assistant.core.values import Judgement
from assistant.engine.base import Base, Engine
from assistant.router import classifier

TRIAL = "How do I draw a line?"


class Reader:
    """Reads questions for one process. A trained classifier that is damaged or of another base is replaced by the built-in one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loaded: tuple[str, str] | None = None
        self._probe: classifier.Probe | None = None
        self._fault = ""
        # The question that was read last, with its state.
        self._last: tuple[str, list[float]] | None = None

    def judge(self, engine: Engine, base: Base, question: str) -> Judgement | None:
        """Category and complexity of a question, or None on a base that nobody fitted a classifier for."""
        self._follow(base)
        return None if self._probe is None else self._probe.judge(self.state(engine, question))

    def state(self, engine: Engine, question: str) -> list[float]:
        """The base's state at the end of a question, scaled to length 1."""
        if self._last is None or self._last[0] != question:
            self._last = question, classifier.state(engine, question)
        return self._last[1]

    def fault(self) -> str:
        """What is wrong with the live classifier, said once; "" when nothing is."""
        fault, self._fault = self._fault, ""
        return fault

    def try_version(self, engine: Engine, base: Base, version: str) -> Judgement:
        """What a version makes of one question; one that cannot read is a ModelError."""
        return classifier.of_version(self._store, version, base.name, base.sha256).judge(classifier.state(engine, TRIAL))

    def _follow(self, base: Base) -> None:
        try:
            now = (self._store.current(classifier.MODEL).version or "", base.name)
        except ModelError:
            now = ("damaged", base.name)
        if now == self._loaded:
            return
        self._loaded = now
        try:
            self._probe, _ = classifier.live(self._store, base.name, base.sha256)
        except ModelError as error:
            self._fault = f"The built-in classifier reads instead of the trained one: {error.what} {error.fix}"
            self._probe = classifier.built_in(base.name, base.sha256)
