"""PZ2 from Python, for a notebook or a script: the same steps as the menu (README, "From Python").

Everything raises ``PZ2Error`` (what happened, what to do about it). Progress is printed in a few lines, or handed to ``on_event``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from assistant.chat.commands import check_model
from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import logs
from assistant.core import paths as locations
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, TrainingError, UsageError
from assistant.core.events import Checked, Event, Failed, Finished, Notice, Progress, Report, Step, Switched, TurnDone
from assistant.core.files import read_jsonl
from assistant.core.prompts import SYSTEM
from assistant.core.store import Store
from assistant.core.values import ModelCard, Reply
from assistant.ui.plain import PlainPrinter
from finetuning.data import domain, export, generate, import_, look
from finetuning.data.audit import question_of
from finetuning.data.folder import dataset_folder
from finetuning.data.spool import number_of
from finetuning.evaluation import speed
from finetuning.evaluation.speed import Speed
from finetuning.learn import name_of
from finetuning.training import commands

OnEvent = Callable[[Event], None]
Row = dict[str, Any]
PARTS = ("train", "validation", "test")


def printed() -> OnEvent:
    """A reader that prints what a person waiting wants to know: steps, progress now and then, notices, what went live."""
    printer = PlainPrinter()

    def show(event: Event) -> None:
        if isinstance(event, Step | Progress | Notice | Switched) or (isinstance(event, Checked) and not event.ok):
            printer.show(event)

    return show


def quiet(event: Event) -> None:
    """Print nothing: for ``Project(on_event=quiet)``."""


class Project:
    """One root with its datasets and models: ``root``, else ``PZ2_ROOT``, else the project's own folder."""

    def __init__(self, root: str | PathLike[str] | None = None, on_event: OnEvent | None = None) -> None:
        self.paths = locations.resolve(root)
        locations.prepare(self.paths)
        logs.start(self.paths)
        self.on_event = on_event or printed()

    def import_file(self, file: str | PathLike[str], name: str | None = None, replace: bool = False, **options: Any) -> "Dataset":
        """Make a domain of a CSV, JSON, JSON Lines or Parquet file; ``options`` are those of ``ft import`` (map, categories, system …).

        ``replace`` puts it in the place of a domain of that name.
        """
        name = name or name_of(Path(file))
        target = self.paths.datasets / name
        if target.is_dir() and any(target.iterdir()) and not replace:
            raise UsageError(f"The domain {name} exists.", "Give replace=True, or another name.")
        self._done(import_.run(Context(self.paths), str(file), name, yes=True, **options))
        return Dataset(self, name, target)

    def generate(self, **options: Any) -> "Dataset":
        """Write PZ2's own English datasets; ``options`` are those of ``ft generate`` (size, seed, categories)."""
        self._done(generate.run(Context(self.paths), **options))
        return self.dataset("processed_english")

    def dataset(self, name: str) -> "Dataset":
        """A dataset of this root."""
        return Dataset(self, name, dataset_folder(name, self.paths))

    def train(self, model: str, preset: str = "balanced", promote: bool = False, **changes: Any) -> ModelCard:
        """Train a model (unified, qna, technical, a domain), wait for it, and return the card of its new version.

        ``changes`` are the flags of ``ft train`` (epochs=1, batch_size=2, max_steps=20, method="dora" …), without ``detach``. The gate
        decides whether it goes live; ``promote`` overrules it.
        """
        if changes.get("detach"):
            raise UsageError(
                "detach has no meaning here: train() returns the card of the version it has waited for.",
                f"Leave it out, or start the run in a shell: `python main.py ft train {model} --detach`.",
            )
        self._done(commands.train(Context(self.paths), model, preset=preset, promote=promote, **changes))
        store = Store(self.paths)
        return store.card(model, store.versions(model)[-1])

    def live_version(self, model: str) -> str | None:
        """The version of a model that answers now; None when the base answers for it."""
        return Store(self.paths).current(model).version

    def load(self, model: str = "auto") -> "Model":
        """A model that answers: auto (the router decides), base, unified, qna, technical, or a domain."""
        return Model(self, model)

    def _done(self, events: Iterator[Event]) -> Any:
        """Run a command to its end; returns its result. What went wrong is raised."""
        result: Any = None
        marked: list[str] = []
        for event in events:
            self.on_event(event)
            match event:
                case Report():
                    result = event.data
                case Checked(name, False, detail):
                    marked.append(f"{name}: {detail}")
                case Failed(what, fix):
                    raise TrainingError(" ".join([what, *marked]), fix)
                case Finished(status) if status:
                    raise TrainingError(f"It ended with status {status}.", "`jobs` shows the run, its log says why.")
        return result


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on disk. Rows are those of its files: ``input_text``, ``target_text``, and what else is known of them."""

    project: Project
    name: str
    folder: Path

    def rows(self, part: str | None = None) -> list[Row]:
        """The rows of train, validation or test; of all three without a name."""
        if part is not None and part not in PARTS:
            raise UsageError(f"There is no part '{part}'.", f"Choose from {', '.join(PARTS)}.")
        unified = (self.folder / "unified_train.jsonl").is_file()
        files = [self.folder / f"{'unified_' if unified else ''}{name}.jsonl" for name in ([part] if part else PARTS)]
        return [row for file in files if file.is_file() for row in read_jsonl(file)]

    def statistics(self) -> dict[str, Any]:
        """Rows, lengths, categories and difficulties of every file."""
        return self.project._done(look.run(Context(self.project.paths), "stats", [str(self.folder)]))["files"]

    def split(self, seed: int | None = None) -> dict[str, list[Row]]:
        """Train, validation and test; as they are on disk, or with a seed all rows divided anew, stratified."""
        return {part: self.rows(part) for part in PARTS} if seed is None else stratified_split(self.rows(), seed)

    def conversations(self, part: str = "train") -> list[Row]:
        """The rows as ``{"messages": […]}``."""
        return [export.convert(row, "conversations") for row in self.rows(part)]

    def prompt_completion(self, part: str = "train") -> list[Row]:
        """The rows as ``{"prompt": […], "completion": […]}``, as trl reads them."""
        return [export.convert(row, "prompt_completion") for row in self.rows(part)]


class Model:
    """A loaded model. A context manager: its memory is given back at the end."""

    def __init__(self, project: Project, name: str) -> None:
        self._project = project
        self._live = Live(project.paths, configuration.load(project.paths))
        self._pinned = check_model(name, self._live.store)
        if name not in ("auto", "base") and project.live_version(name) is None:
            raise UsageError(f"The {name} model has no live version.", f'Train it first: project.train("{name}").')

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def answer(self, question: str, category: str | None = None) -> Reply:
        """The greedy answer to a question by itself, with its figures; ``category`` selects that category's system prompt."""
        if category is not None and category not in SYSTEM:
            raise UsageError(f"There is no category '{category}'.", f"Choose from {', '.join(SYSTEM)}.")
        system = SYSTEM[category] if category else None
        session = Session(self._project.paths, self._live, greedy=True, pinned=self._pinned, system=system)
        return [event.reply for event in session.say(question) if isinstance(event, TurnDone)][-1]

    @property
    def memory_mb(self) -> int:
        """What this process holds in memory, in MB."""
        return psutil.Process().memory_info().rss // 1_000_000

    def speed(self, questions: int = len(speed.QUESTIONS)) -> Speed:
        """Seconds to the first token, tokens a second and memory over some questions."""
        events = speed.measure(self._project.paths, self._live, self._pinned, questions)
        while True:
            try:
                self._project.on_event(next(events))
            except StopIteration as end:
                return end.value

    def release(self) -> None:
        """Give the memory back."""
        self._live.release()


def stratified_split(rows: Sequence[Row], seed: int = 42, by: Sequence[str] = ("category", "difficulty")) -> dict[str, list[Row]]:
    """Rows divided in 80% train, 10% validation, 10% test, the shares kept within each value of ``by``; equal questions stay together."""
    import numpy as np

    if not rows:
        raise DataError("There are no rows to divide.", "Import a file first.")
    names = [tuple(str(row.get(key, "")) for key in by) for row in rows]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    groups = np.array([number_of(question_of(row, "dialogue")) for row in rows], dtype=np.uint64)
    chosen = domain.split(groups, np.array([order[name] for name in names], dtype=np.uint32), seed)
    return {part: [row for row, place in zip(rows, chosen, strict=True) if place == number] for number, part in enumerate(PARTS)}
