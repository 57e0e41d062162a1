"""The command `synthesize`: the stages one by one or all at once, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from assistant.chat.reader import Reader
from assistant.core import settings as core_settings
from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Event, Lines, Notice, Report, Table
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.engine import base as engines
from finetuning.synthetic import config as configs
from finetuning.synthetic import filtered, raw, splits
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.stage import NAME, Stage
from finetuning.synthetic.teacher import Teacher, check_url
from finetuning.synthetic.writers import BaseWriter, TeacherWriter, Writer

STAGES = ("raw", "filtered", "files")
SEED = 42
LOCK = ".synthesize.lock"


def run(
    context: Context,
    stage: str = "all",
    rows: int = 1500,
    seed: int = SEED,
    teacher: str | None = None,
    teacher_model: str | None = None,
    fresh: bool = False,
) -> Iterator[Event]:
    """Write, filter and divide. What is there already is gone on with."""
    if rows < 1:
        raise UsageError(f"--rows is {rows}.", "At least 1 row has to be written.")
    if bool(teacher) != bool(teacher_model):
        raise UsageError("A teacher needs its address and its model's name.", "Write --teacher http://ADDRESS --teacher_model NAME.")
    paths, config = context.paths, configs.load(context.paths)
    chosen = STAGES if stage == "all" else (stage,)
    with _alone(paths):
        if fresh:
            _clear(paths, chosen)
        if "raw" in chosen:
            yield from _raw(paths, config, rows, seed, Teacher(check_url(teacher), teacher_model or "") if teacher else None)
        if "filtered" in chosen:
            yield from filtered.run(Stage.of(paths, "filtered"), Stage.of(paths, "raw"), config, paths)
        if "files" in chosen:
            yield from splits.run(Stage.of(paths, "filtered"), config, seed)
            file = paths.datasets / NAME / "filtered" / "sft_data.json"
            hint = "makes a domain of them that `train NAME` trains; docs/synthetic.md says what to expect."
            yield Notice(f"`import {file} --name NAME` {hint}")


def _raw(paths: Paths, config: SyntheticConfig, rows: int, seed: int, teacher: Teacher | None) -> Iterator[Event]:
    stage, own = Stage.of(paths, "raw"), core_settings.load(paths)
    if teacher:
        patient = Teacher(teacher.url, teacher.model, config.teacher_seconds, config.teacher_tries, config.teacher_at_once)
        yield from _written(stage, TeacherWriter(patient, config), config, seed, rows, f"{patient.model} at {patient.address}")
        return
    base = engines.base_of(own, paths)
    decided = raw.settings(config, seed, base.sha256 or base.source)
    stage.check(decided)
    if raw.ready(stage, decided, rows):
        yield _told(stage)
        return
    engine = engines.make("hf", base, own, paths)
    try:
        writer = BaseWriter(engine, base, own, config, Reader(Store(paths)), base.name)
        yield from _written(stage, writer, config, seed, rows, base.sha256 or base.source)
    finally:
        engine.release()


def _written(stage: Stage, writer: Writer, config: SyntheticConfig, seed: int, rows: int, by: str) -> Iterator[Event]:
    decided = raw.settings(config, seed, by)
    stage.check(decided)
    if not raw.ready(stage, decided, rows):
        yield from raw.run(stage, writer, config, seed, rows, decided)
    yield _told(stage)


def _told(stage: Stage) -> Report:
    """What the raw stage gave."""
    manifest = stage.done()
    figures = manifest["statistics"]
    rate = 60 * manifest["rows"] / manifest["seconds"] if manifest["seconds"] else 0.0
    agreement, commonest = figures["category_agreement"], figures["commonest_beginning"]
    lines = [
        ("rows", f"{manifest['rows']:,}"),
        ("time", f"{manifest['seconds']:,.0f} s, {rate:,.0f} rows/min"),
        ("distinct instructions", f"{figures['distinct_instructions']:,}"),
        ("came to an end", f"{figures['ended'] or 0:.0%}"),
        ("words of an answer", f"{figures['words_of_an_answer']}"),
    ]
    if agreement is not None:
        lines.append(("in the category asked for", f"{agreement:.0%}, says the classifier"))
    if commonest:
        lines.append(("commonest beginning", f"“{commonest['words']}”, {commonest['share']:.0%}"))
    return Report("Raw rows are written", manifest, (Table(("figure", "value"), tuple(lines)), Lines("", (f"They lie in {stage.folder}",))))


def _clear(paths: Paths, chosen: tuple[str, ...]) -> None:
    # What follows from a stage is of no use without it.
    folders = ("raw", "filtered") if "raw" in chosen else ("filtered",) if "filtered" in chosen else ()
    for name in folders:
        Stage.of(paths, name).clear()


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    folder = paths.datasets / NAME
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError("Another `synthesize` is at work here.", "Wait for it, or end it with Ctrl-C.") from error
    try:
        yield
    finally:
        lock.release()
