"""The models that are live: loads the engine behind the prompt, follows ``current.json``, tries a version before it goes live."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from assistant.chat.reader import TRIAL as TRIAL_QUESTION
from assistant.chat.reader import Reader
from assistant.chat.residents import Prompt, Residents
from assistant.core import settings as configuration
from assistant.core.errors import ModelError, PZ2Error
from assistant.core.events import Checked, Event, Notice, Step, Switched
from assistant.core.paths import Paths
from assistant.core.prompts import system_prompt
from assistant.core.settings import Settings
from assistant.core.store import BUILT_IN, Store
from assistant.core.values import Adapter, Judgement, Message, Sampling
from assistant.engine import base as engines
from assistant.engine.base import Base, Engine
from assistant.router import classifier, confidence, policy, scope, triggers, usage
from assistant.router.confidence import Calibration

TRIAL = Sampling(max_tokens=12)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who is ready to answer: the model asked for or its stand-in, with the adapter that is loaded (None: the bare base)."""

    model: str
    version: str | None
    adapter: str | None
    system: str


class Live:
    """One engine and the adapters over it, for one process."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self.store = Store(paths)
        self.settings = settings
        self._paths = paths
        self._base: Base | None = None
        self._engine: Engine | None = None
        self._failure: PZ2Error | None = None
        self._reader = Reader(self.store)
        self.residents = Residents(lambda: self.settings.router.memory_budget_mb)
        # Whether the speaker asked for last was in memory already.
        self.found = True
        self._settings_stamp = _stamp(paths)
        self._announced: dict[str, str | None] = {}
        self._thread: threading.Thread | None = None
        self._scopes: dict[tuple[str, str], scope.Scope | None] = {}
        # What the next turn says of a change of the engine.
        self._told: list[Notice] = []

    def start(self) -> None:
        """Begin to load in the background; ``engine`` waits for the end of it."""
        if self._thread is None:
            self._announced = {model: _version(self.store, model) for model in (*self.store.models(), classifier.MODEL)}
            self._thread = threading.Thread(target=self._load, name="load", daemon=True)
            self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether loading is over, well or not."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def engine(self) -> Engine:
        """The loaded engine; waits for it. What prevented it from loading is raised here."""
        self.start()
        assert self._thread is not None
        while self._thread.is_alive():
            # In short waits, so that Ctrl-C is heard on every system.
            self._thread.join(0.1)
        if self._failure is not None:
            failure, self._failure, self._thread = self._failure, None, None
            raise failure
        assert self._engine is not None
        return self._engine

    @property
    def base(self) -> Base:
        """The base under every model."""
        if self._base is None:
            self._base = engines.base_of(self.settings, self._paths)
        return self._base

    def trained(self) -> list[str]:
        """The models with a live version."""
        return [model for model in self.store.models() if _version(self.store, model)]

    def resident(self) -> dict[str, str]:
        """The adapters in memory: model → version."""
        return self.residents.versions()

    def follow(self) -> Iterator[Event]:
        """What went live or back since the last turn, here or in another process; changed settings of the router hold from here on."""
        stamp = _stamp(self._paths)
        if stamp != self._settings_stamp:
            self._settings_stamp = stamp
            self.settings = replace(self.settings, router=configuration.load(self._paths).router)
        for model in (*self.store.models(), classifier.MODEL):
            now, before = _version(self.store, model), self._announced.get(model)
            if now != before:
                self._announced[model] = now
                yield Switched(model, now, before)
        if fault := self._reader.fault():
            yield Notice(fault, "warning")

    def announced(self, model: str, version: str | None) -> None:
        """Remember that the user was told of this version."""
        self._announced[model] = version

    def judge(self, question: str) -> Judgement | None:
        """Category and complexity of a question, or None on a base without a probe."""
        return self._reader.judge(self.engine, self.base, question)

    def state(self, question: str) -> list[float]:
        """The base's state at the end of a question, scaled to length 1."""
        return self._reader.state(self.engine, question)

    def able(self, question: str, follows: str | None = None) -> dict[str, bool]:
        """The trained models whose training covers a question, each with whether that is sure: then earlier turns are no help.

        Of one that leans on the answer before (``follows``: whose that was) the question alone tells nothing.
        """
        trained = self.trained()
        if triggers.is_foreign(question, self.settings.base):
            # The base reads Korean too poorly to tell, but for a domain that was trained in it.
            return {model: model not in BUILT_IN and bool(self._covers(model, question)) for model in trained}
        if follows is not None:
            return {model: False for model in trained if follows != "base"}
        covered = {model: self._covers(model, question) for model in trained}
        return {model: bool(found) for model, found in covered.items() if found is not False}

    def _covers(self, model: str, question: str) -> bool | None:
        """Whether a question lies within what a model's live version was trained on; None where nobody fitted that."""
        version = _version(self.store, model)
        found = self._scope(model, version) if version else None
        return None if found is None else found.covers(question, self.state(question))

    def _scope(self, model: str, version: str) -> scope.Scope | None:
        """What a version was trained on, read once; None where it has none for this base, or a damaged one, which is said."""
        if (model, version) not in self._scopes:
            folder = self.store.version_folder(model, version)
            try:
                # Where there is none, the base need not be made for it.
                found = scope.load(folder, self.base.name, self.base.sha256) if (folder / scope.FILE).is_file() else None
            except ModelError as error:
                found = None
                self._told.append(Notice(f"The {model} model answers everything: {error.what} {error.fix}", "warning"))
            self._scopes[model, version] = found
        return self._scopes[model, version]

    def speaker(self, model: str) -> tuple[Speaker, list[Notice]]:
        """The model asked for, loaded; when its version is missing or broken, the unified model or the base instead, with the reason."""
        notices: list[Notice] = []
        for candidate in () if model == "base" else dict.fromkeys((model, "unified")):
            try:
                adapter = self.store.live(candidate)
                if adapter is not None:
                    self.found = self.residents.bring(self._engine_for(candidate, adapter), candidate, adapter)
                    version = adapter.key.rpartition("/")[2]
                    return Speaker(candidate, version, adapter.key, self._system(candidate, version)), notices + self.news()
            except ModelError as error:
                notices.append(Notice(f"The {candidate} model cannot answer: {error.what} {error.fix}", "warning"))
        return Speaker("base", None, None, system_prompt("base")), notices + self.news()

    def calibration(self, speaker: Speaker) -> Calibration | None:
        """What maps this speaker's answers to probabilities on this engine; None when it was not calibrated for it."""
        # Read each time (a small file), so that one fitted meanwhile counts from the next answer on.
        if speaker.version is None:
            return confidence.known(self._paths.base, self.base.sha256, self.engine.name)
        return confidence.load(self.store.version_folder(speaker.model, speaker.version) / confidence.FILE, self.engine.name)

    def prospect(self, model: str) -> Speaker | None:
        """Who would answer for a model, without loading it; None when it has no sound live version."""
        try:
            adapter = self.store.live(model)
            if adapter is None:
                return None
            version = adapter.key.rpartition("/")[2]
            return Speaker(model, version, adapter.key, self._system(model, version))
        except ModelError:
            return None

    def ahead(self, models: Sequence[str], offered: Prompt | None = None, spoken: Prompt | None = None) -> None:
        """Load the live versions of models that are likely to be needed, in the background between two turns."""
        wanted = {model: adapter for model in models if (adapter := self._sound(model))}
        if self.ready and self._engine is not None:
            self.residents.ahead(self._engine, wanted, offered, spoken)

    def try_version(self, model: str, version: str) -> str:
        """Load a version beside the others and let it say a few words; returns them. A version that cannot is a ModelError."""
        adapter = self.store.adapter(model, version)
        with self.residents.turn():
            return self._try(self._engine_for(model, adapter), model, version, adapter)

    def try_classifier(self, version: str) -> Judgement:
        """What a version of the classifier makes of one question; one that cannot read is a ModelError."""
        return self._reader.try_version(self.engine, self.base, version)

    def _try(self, engine: Engine, model: str, version: str, adapter: Adapter) -> str:
        before = self.residents.now()
        try:
            self.residents.bring(engine, model, adapter)
            prompt = engine.format.encode([Message("system", self._system(model, version)), Message("user", "Hello, who are you?")])
            said = "".join(token.text for token in engine.stream(prompt, adapter.key, TRIAL, lambda: False))
        except ModelError:
            self.residents.put_back(engine, before)
            raise
        if not said.strip():
            self.residents.put_back(engine, before)
            raise ModelError(f"Version {version} of the {model} model says nothing.", "Train it again; the live version stays.")
        return said

    def release(self) -> None:
        """Give the engine's memory back."""
        if self._thread is not None:
            self._thread.join()
        self.residents.clear()
        if self._engine is not None:
            self._engine.release()
        self._engine, self._thread = None, None

    def _load(self) -> None:
        try:
            self._engine = engines.make(self._first_engine(), self.base, self.settings, self._paths)
            self.speaker_at_start()
        except PZ2Error as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - crosses a thread; the reader raises it
            self._failure = ModelError(
                f"The model could not be loaded ({type(error).__name__}: {error}).", f"Details are in {self._paths.logs / 'pz2.log'}."
            )

    def _first_engine(self) -> str:
        """The engine to begin with: transformers at once where a live version needs it; what cannot be is met at that model's turn."""
        try:
            for model in self.trained():
                adapter = self.store.live(model)
                if adapter is not None and engines.engine_for(self.settings, self.base, [adapter.folder]) != self._usual():
                    self._told.append(_moved(model, adapter))
                    return "hf"
        except ModelError:
            pass
        return self._usual()

    def _usual(self) -> str:
        return engines.engine_name(self.settings, self.base)

    def _on_llama(self) -> bool:
        return self._engine is not None and self._engine.name == "llama"

    def _engine_for(self, model: str, adapter: Adapter) -> Engine:
        """The engine that can run a version: the one that is here, or transformers in its place, with all that is in memory."""
        engine = self.engine
        if not self._on_llama() or engines.engine_for(self.settings, self.base, [adapter.folder]) == "llama":
            return engine
        other = engines.make("hf", self.base, self.settings, self._paths)
        other.set_adapters(list(self.residents.now().values()))
        self._engine = other
        self._told.append(_moved(model, adapter))
        engine.release()
        return other

    def news(self) -> list[Notice]:
        """What there is to say of a change of the engine, once."""
        news, self._told = self._told, []
        return news

    def speaker_at_start(self) -> None:
        """Load the unified model, and who usually comes first, so that the first question waits for nobody; a broken one is met then."""
        if self._engine is None:
            return
        specialists = [model for model in self.trained() if model not in policy.DEFAULTS]
        likely = usage.read(self._paths.usage).wanted(specialists, None, datetime.now())
        found = {model: adapter for model in ("unified", *likely) if (adapter := self._sound(model))}
        for wanted in (found, {model: adapter for model, adapter in found.items() if model == "unified"}):
            try:
                self.residents.begin(self._engine, wanted)
                return
            except ModelError:
                continue

    def _sound(self, model: str) -> Adapter | None:
        """A model's live adapter, when the engine that runs now can load it: it is not changed for a guess."""
        try:
            adapter = self.store.live(model)
        except ModelError:
            return None
        return None if adapter is None or (self._on_llama() and engines.transformers_only(adapter.folder)) else adapter

    def _system(self, model: str, version: str) -> str:
        return self.store.card(model, version).system or system_prompt(model)


def go_live(live: Live, model: str, version: str | None) -> Iterator[Event]:
    """Try a version, then make it the live one. A version that fails its trial changes nothing and is a ModelError."""
    if version is not None:
        yield from _tried(live, model, version)
    before = live.store.make_live(model, version)
    # Announced here, so the next turn does not say it again.
    live.announced(model, version)
    yield Switched(model, version, before.version)


def _tried(live: Live, model: str, version: str) -> Iterator[Event]:
    started = time.perf_counter()
    if model == classifier.MODEL:
        yield Step(f"Trying {model} {version} with one question")
        read = live.try_classifier(version)
        yield Checked("reads", True, f"“{TRIAL_QUESTION}” is {read.category} ({read.probabilities.get(read.category, 0):.0%})")
        return
    yield Step(f"Trying {model} {version} with one answer")
    said = live.try_version(model, version)
    yield from live.news()
    yield Checked("answers", True, f"“{' '.join(said.split())}…” in {time.perf_counter() - started:.1f} s")


def _moved(model: str, adapter: Adapter) -> Notice:
    version = adapter.key.rpartition("/")[2]
    return Notice(f"{model} {version} was trained by a method that runs on transformers only, so the chat uses it, slower than llama.cpp.")


def _version(store: Store, model: str) -> str | None:
    try:
        return store.current(model).version
    except ModelError:
        return None


def _stamp(paths: Paths) -> int | None:
    try:
        return (paths.models / "settings.yaml").stat().st_mtime_ns
    except OSError:
        return None
