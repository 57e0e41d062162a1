"""The adapters in memory: brought when needed, ahead of time in the background, within a budget; the one used longest ago goes first."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assistant.core.errors import ModelError
from assistant.core.values import Adapter, Sampling
from assistant.engine.base import Engine
from assistant.router import usage

MB = 1_000_000


class Residents:
    """The adapters of one engine. ``turn`` holds them still while an answer is being made; nothing loads beside a streaming answer."""

    def __init__(self, budget_mb: Callable[[], int]) -> None:
        self._budget_mb = budget_mb
        # The one used longest ago first.
        self._adapters: dict[str, Adapter] = {}
        self._turn = threading.Lock()
        self._leave = threading.Event()
        self._ahead: threading.Thread | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the adapters for an answer; what is being loaded ahead is waited for (a third of a second at most)."""
        self._leave.set()
        # In short waits, so that Ctrl-C is heard on every system.
        while not self._turn.acquire(timeout=0.1):
            pass
        try:
            yield
        finally:
            self._leave.clear()
            self._turn.release()

    def versions(self) -> dict[str, str]:
        """Model → version of what is in memory."""
        return {model: adapter.key.rpartition("/")[2] for model, adapter in self._adapters.items()}

    def bring(self, engine: Engine, model: str, adapter: Adapter, pinned: Iterable[str] = ()) -> bool:
        """Make an adapter ready to answer; says whether it was already. A broken one is a ModelError and changes nothing."""
        if self._adapters.get(model) == adapter:
            self._adapters[model] = self._adapters.pop(model)
            return True
        # A version that was deleted meanwhile cannot be loaded again beside the others.
        whole = {name: other for name, other in self._adapters.items() if name != model and (other.folder / "card.json").is_file()}
        wanted = {**whole, model: adapter}
        kept = usage.keep([model, *reversed(list(wanted))], _sizes(wanted), self._budget_mb() * MB, {model, "unified", *pinned})
        try:
            self._set(engine, {name: other for name, other in wanted.items() if name in kept})
        except ModelError:
            if not self._adapters:
                raise
            # Perhaps another one has become unreadable; alone it shows whose fault it is.
            engine.set_adapters([adapter])
            self._adapters = {model: adapter}
        return False

    def ahead(self, engine: Engine, wanted: dict[str, Adapter], prompt: tuple[str, list[int]] | None, pinned: Iterable[str] = ()) -> None:
        """Load in the background what is likely to be needed, the likeliest first; let a model read a prompt it will probably be asked."""
        if self._ahead is not None and self._ahead.is_alive():
            return
        pins = {"unified", *pinned}
        self._ahead = threading.Thread(target=self._load_ahead, args=(engine, wanted, prompt, pins), name="ahead", daemon=True)
        self._ahead.start()

    def put_back(self, engine: Engine, before: dict[str, Adapter]) -> None:
        """Return to an earlier set."""
        engine.set_adapters(list(before.values()))
        self._adapters = dict(before)

    def now(self) -> dict[str, Adapter]:
        """The adapters in memory, the one used longest ago first."""
        return dict(self._adapters)

    def clear(self) -> None:
        """Nothing is in memory any more; what is being loaded ahead is waited for."""
        self._leave.set()
        if self._ahead is not None:
            self._ahead.join()
        self._leave.clear()
        self._adapters, self._ahead = {}, None

    def _load_ahead(self, engine: Engine, wanted: dict[str, Adapter], prompt: tuple[str, list[int]] | None, pins: set[str]) -> None:
        with self._turn:
            if self._leave.is_set():
                return
            merged = {**self._adapters, **wanted}
            order = list(dict.fromkeys([*wanted, *reversed(list(self._adapters))]))
            kept = usage.keep(order, _sizes(merged), self._budget_mb() * MB, pins)
            # Used longest ago first: what is only likely stands before what was used.
            chosen = {name: merged[name] for name in dict.fromkeys([*wanted, *self._adapters]) if name in kept}
            try:
                if set(chosen.values()) != set(self._adapters.values()):
                    self._set(engine, chosen)
                if prompt is not None and prompt[0] in {adapter.key for adapter in self._adapters.values()}:
                    for _ in engine.stream(prompt[1], prompt[0], Sampling(max_tokens=1), self._leave.is_set):
                        pass
            except ModelError:
                # Only a guess failed; a broken adapter is told when it is asked for.
                return

    def _set(self, engine: Engine, adapters: dict[str, Adapter]) -> None:
        # The unified model first: it has a slot of its own.
        engine.set_adapters([adapters[name] for name in sorted(adapters, key=lambda name: name != "unified")])
        self._adapters = dict(adapters)


def _sizes(adapters: dict[str, Adapter]) -> dict[str, int]:
    return {name: size(adapter.folder) for name, adapter in adapters.items()}


def size(folder: Path) -> int:
    """The bytes a version takes in memory: those of its weights."""
    if (folder / "adapter.gguf").is_file():
        return (folder / "adapter.gguf").stat().st_size
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
