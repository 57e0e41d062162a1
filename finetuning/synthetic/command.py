"""The command `synthesize`: the stages one by one or all at once, one process at a time."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from assistant.core import settings as core_settings
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Event, Lines, Notice, Report, Table
from assistant.core.paths import Paths
from assistant.engine import embedded
from finetuning.synthetic import config as configs
from finetuning.synthetic import filtered, preference, raw, splits
from finetuning.synthetic.source import Source
from finetuning.synthetic.stage import NAME, Stage
from finetuning.synthetic.teacher import Teacher, check_url

REWARD_FIX = "`train reward` fits one, or name one of Hugging Face with --reward."
STAGES = ("raw", "filtered", "preference", "files")
SEED = 42
LOCK = ".synthesize.lock"


def run(
    context: Context,
    stage: str = "all",
    rows: int = 1500,
    pairs: int = 600,
    seed: int = SEED,
    reward: str | None = None,
    force: bool = False,
    teacher: str | None = None,
    teacher_model: str | None = None,
    fresh: bool = False,
    yes: bool = False,
) -> Iterator[Event]:
    """Write, filter, compare and divide. What is there already is gone on with."""
    if rows < 1 or pairs < 1:
        raise UsageError(f"--rows is {rows}, --pairs {pairs}.", "At least 1 row and 1 pair have to be written.")
    if bool(teacher) != bool(teacher_model):
        raise UsageError("A teacher needs its address and its model's name.", "Write --teacher http://ADDRESS --teacher_model NAME.")
    paths, config = context.paths, configs.load(context.paths)
    chosen = STAGES if stage == "all" else (stage,)
    patience = (config.teacher_seconds, config.teacher_tries, config.teacher_at_once)
    asked = Teacher(check_url(teacher), teacher_model or "", *patience) if teacher else None
    source, wanted = Source(paths, core_settings.load(paths), config, asked), Wanted(rows, pairs, seed, reward, force)
    if chosen == ("preference",) and source.judge(reward, force) is None:
        raise ModelError("There is no reward model that scores.", f"{REWARD_FIX} --force takes one that is right too seldom.")
    with _alone(paths):
        if fresh and not (yield from _cleared(context, chosen, yes)):
            return
        try:
            yield from _stages(source, chosen, wanted)
        finally:
            source.release()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the words of the command ask for."""

    rows: int
    pairs: int
    seed: int
    reward: str | None
    force: bool


def _stages(source: Source, chosen: tuple[str, ...], wanted: Wanted) -> Iterator[Event]:
    paths, config, seed = source.paths, source.config, wanted.seed
    kept = Stage.of(paths, "filtered")
    if "raw" in chosen:
        yield from _raw(source, wanted)
    if "filtered" in chosen:
        yield from filtered.run(kept, Stage.of(paths, "raw"), config, paths)
    if "preference" in chosen:
        yield from _preference(source, wanted)
    if "files" in chosen:
        yield from splits.run(kept, config, seed)
        compared = Stage.of(paths, "preference")
        if compared.manifest().get("status") == "done":
            yield from preference.files_of(compared, config, seed)
        hint = "makes a domain of them that `train NAME` trains; docs/synthetic.md says what to expect."
        by = Stage.of(paths, "raw").manifest().get("settings", {}).get("by", "")
        if by.partition(" ")[0] == embedded.NAME:
            yield Notice(f"Rows that {embedded.NAME} wrote itself did not make it better (docs/synthetic.md); those of a teacher may.")
        yield Notice(f"`import {kept.file('sft_data')} --name NAME` {hint}")


def _raw(source: Source, wanted: Wanted) -> Iterator[Event]:
    stage = Stage.of(source.paths, "raw")
    decided = raw.settings(source.config, wanted.seed, source.by)
    stage.check(decided)
    if not raw.ready(stage, decided, wanted.rows):
        yield from raw.run(stage, source.writer(), source.config, wanted.seed, wanted.rows, decided)
    yield _told(stage)


def _preference(source: Source, wanted: Wanted) -> Iterator[Event]:
    stage, kept, config = Stage.of(source.paths, "preference"), Stage.of(source.paths, "filtered"), source.config
    judge = source.judge(wanted.reward, wanted.force)
    if judge is None:
        yield Notice(f"No preference pairs: there is no reward model. {REWARD_FIX}")
        return
    decided = preference.settings(config, wanted.seed, source.by, judge.name)
    stage.check(decided)
    preference.requests_of(kept)
    if preference.ready(stage, kept, decided, config, wanted.pairs):
        yield Notice(f"{stage.manifest()['rows']:,} preference pairs are there already.")
        return
    yield from preference.run(stage, kept, source.writer(), judge.load(), config, wanted.seed, wanted.pairs, decided)


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


def _cleared(context: Context, chosen: tuple[str, ...], yes: bool) -> Generator[Event, None, bool]:
    """Throw away what the stages wrote, only after saying so; returns False when the answer was no."""
    # What follows from a stage is of no use without it.
    stages = [Stage.of(context.paths, name) for name in STAGES[STAGES.index(chosen[0]) : -1]]
    there = ", ".join(told for stage in stages if (told := stage.told()))
    if not there:
        return True
    if not yes:
        if context.questions is None:
            fix = "Say so: add --yes. `--stage NAME --fresh` spares the stages before that one."
            raise UsageError(f"--fresh throws away {there}, which cannot be undone.", fix)
        if not context.questions.confirm(f"Throw away {there}?"):
            yield Notice("Nothing is thrown away.")
            return False
    for stage in stages:
        stage.clear()
    yield Notice(f"Thrown away: {there}.")
    return True


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
