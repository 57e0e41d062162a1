"""The adapters in memory: brought when needed, ahead of time in the background, within a budget; the one used longest ago goes first."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assistant.core.errors import ModelError
from assistant.core.values import Adapter, Sampling
from assistant.engine.base import Engine
from assistant.router import usage

MB = 1_000_000
# An adapter's key (None: the bare base) and token ids for it to read.
Prompt = tuple[str | None, list[int]]


class Residents:
    """The adapters of one engine. ``turn`` holds them still while an answer is being made; nothing loads beside a streaming answer."""

    def __init__(self, budget_mb: Callable[[], int]) -> None:
        self._budget_mb = budget_mb
        # Models that stay whatever the budget says.
        self.pins: frozenset[str] = frozenset()
        # The one used longest ago first.
        self._adapters: dict[str, Adapter] = {}
        self._turn = threading.Lock()
        self._leave = threading.Event()
        self._ahead: threading.Thread | None = None
        # Whether the engine has lost what it had read, because its adapters changed.
        self._cold = False

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

    def begin(self, engine: Engine, adapters: dict[str, Adapter]) -> None:
        """Load the first adapters, the most wanted first, as far as the budget goes; a broken one is a ModelError."""
        kept = usage.keep(list(adapters), _sizes(adapters), self._budget_mb() * MB, {"unified"})
        if kept:
            self._set(engine, {name: adapters[name] for name in reversed(kept)})

    def bring(self, engine: Engine, model: str, adapter: Adapter) -> bool:
        """Make an adapter ready to answer; says whether it was already. A broken one is a ModelError and changes nothing."""
        if self._adapters.get(model) == adapter:
            self._adapters[model] = self._adapters.pop(model)
            return True
        # A version that was deleted meanwhile cannot be loaded again beside the others.
        whole = {name: other for name, other in self._adapters.items() if name != model and (other.folder / "card.json").is_file()}
        wanted = {**whole, model: adapter}
        kept = usage.keep([model, *reversed(list(wanted))], _sizes(wanted), self._budget_mb() * MB, {model, "unified", *self.pins})
        try:
            self._set(engine, {name: other for name, other in wanted.items() if name in kept})
        except ModelError:
            if not self._adapters:
                raise
            # Perhaps another one has become unreadable; alone it shows whose fault it is.
            engine.set_adapters([adapter])
            self._adapters = {model: adapter}
        return False

    def ahead(self, engine: Engine, wanted: dict[str, Adapter], offered: Prompt | None = None, spoken: Prompt | None = None) -> None:
        """Load in the background what is likely to be needed, the likeliest first.

        ``offered``: a model reads the question that it will probably be asked. ``spoken``: the conversation so far, which its model reads
        again when loading has emptied the engine's cache.
        """
        if self._ahead is not None and self._ahead.is_alive():
            return
        self._ahead = threading.Thread(target=self._load_ahead, args=(engine, wanted, offered, spoken), name="ahead", daemon=True)
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

    def _load_ahead(self, engine: Engine, wanted: dict[str, Adapter], offered: Prompt | None, spoken: Prompt | None) -> None:
        with self._turn:
            if self._leave.is_set():
                return
            merged = {**self._adapters, **wanted}
            order = list(dict.fromkeys([*wanted, *reversed(list(self._adapters))]))
            kept = usage.keep(order, _sizes(merged), self._budget_mb() * MB, {"unified", *self.pins})
            # Used longest ago first: what is only likely stands before what was used.
            chosen = {name: merged[name] for name in dict.fromkeys([*wanted, *self._adapters]) if name in kept}
            try:
                if set(chosen.values()) != set(self._adapters.values()):
                    self._set(engine, chosen)
                # transformers keeps nothing of what it has read.
                ready = {None, *(adapter.key for adapter in self._adapters.values())} if engine.name != "hf" else set()
                for key, prompt in [*([spoken] if spoken and self._cold else []), *([offered] if offered else [])]:
                    if key in ready:
                        for _ in engine.stream(prompt, key, Sampling(max_tokens=1), self._leave.is_set):
                            pass
                self._cold = False
            except ModelError:
                # Only a guess failed; a broken adapter is told when it is asked for.
                return

    def _set(self, engine: Engine, adapters: dict[str, Adapter]) -> None:
        # The unified model first: it has a slot of its own.
        engine.set_adapters([adapters[name] for name in sorted(adapters, key=lambda name: name != "unified")])
        self._adapters, self._cold = dict(adapters), True


def _sizes(adapters: dict[str, Adapter]) -> dict[str, int]:
    return {name: size(adapter.folder) for name, adapter in adapters.items()}


def size(folder: Path) -> int:
    """The bytes a version takes in memory: those of its weights."""
    if (folder / "adapter.gguf").is_file():
        return (folder / "adapter.gguf").stat().st_size
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
