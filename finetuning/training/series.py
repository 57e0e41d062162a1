"""`methods`: the same rows learned by several methods, each with the same budget, compared on the same questions, and a report of it."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import PZ2Error, UsageError
from assistant.core.events import Event, Finished, Notice, Step
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine import hf
from finetuning.training import commands, preferences, preflight, runs
from finetuning.training import plan as plans
from finetuning.training import rows as row_files
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import LORA, METHODS, PREFERENCE, assignments

USUAL = ("lora", "prompt_tuning", "ia3", PREFERENCE)
# What all versions are asked beside the held-out rows.
SUITES = ("general_ability", "instruction_following")


def run(
    context: Context,
    model: str = "unified",
    methods: Sequence[str] | None = None,
    name: str = "methods",
    limit: int | None = None,
    preset: str = "balanced",
    seed: int | None = None,
    set: Sequence[str] | None = None,
    **changes: Any,
) -> Iterator[Event]:
    """Train one version a method, compare them with the base, and write the report. What is trained already is not trained again."""
    chosen = _checked(methods or USUAL)
    plans.check_model(context.paths, model)
    # Nobody is asked on the way: the gate decides what goes live, as ever.
    alone = replace(context, questions=None)
    given = {key: value for key, value in changes.items() if value is not False} | assignments(set or ())
    made: dict[str, str] = {}
    for method in chosen:
        yield Step(f"{model} by {method}")
        version = yield from _version(alone, model, method, preset, seed, given, made)
        if version is None:
            return
        made[method] = version
    from finetuning.evaluation import compare
    from finetuning.evaluation.reports import command as reports

    systems = ["base", *(f"{model}/{version}" for version in made.values())]
    learned = _learned(context.paths, model, made[chosen[0]])
    yield from compare.compare(alone, systems, limit=limit, suite=SUITES, show=0, learned=learned)
    yield from reports.run(alone, name)


def _checked(methods: Sequence[str]) -> tuple[str, ...]:
    known = (*METHODS, PREFERENCE)
    wrong = [method for method in methods if method not in known]
    if wrong:
        raise UsageError(f"There is no method '{wrong[0]}'.", f"Methods: {', '.join(known)}.")
    chosen = tuple(dict.fromkeys(methods))
    if PREFERENCE in chosen and not any(method in LORA for method in chosen[: chosen.index(PREFERENCE)]):
        raise UsageError("dpo begins with a version that was trained by LoRA.", "Put lora before it: --methods lora dpo.")
    return chosen


def _version(
    context: Context, model: str, method: str, preset: str, seed: int | None, given: dict[str, Any], made: dict[str, str]
) -> Generator[Event, None, str | None]:
    """The version of one method: found, gone on with, or trained; None when that came to nothing."""
    paths = context.paths
    found, beginning = preflight.Look(), None
    if method == PREFERENCE:
        first = next(made[one] for one in reversed(made) if one in LORA)
        pairs = preferences.gather(paths, model, (), plans.SEED if seed is None else seed)
        beginning = preflight.Beginning(*commands.beginning(paths, model, first), pairs)
    yield from preflight.look(paths, model, preset, seed, {**given, "method": method}, found, beginning)
    if found.plan is not None and (there := _there(paths, found.plan)):
        yield Notice(f"{model} {there} was trained so already.")
        return there
    job = _unfinished(paths, found.plan) if found.plan is not None else None
    if job is not None:
        went_well, _ = yield from _passed(commands.resume(context, job))
        return job.run.version if went_well else None
    went_well, begun = yield from _passed(commands.begun(context, found))
    return begun.version if went_well else None


def _learned(paths: Paths, model: str, version: str) -> set[str]:
    """The ids of the entries that a version learned, where that was only a part of its dataset."""
    plan = plans.load(Store(paths).version_folder(model, version) / "plan.json")
    if plan.recipe.share == 1:
        return set()
    settings = configuration.load(paths)
    chat = hf.chat_format(engines.base_of(replace(settings, base=plan.base_source), paths), paths)
    rows = row_files.encode(paths.datasets / plan.train.path, chat, model, plan.recipe.max_length)
    return {row.entry for row in row_files.part(rows, plan.recipe.share, plan.seed).rows if row.entry}


def _passed(steps: Iterator[Event]) -> Generator[Event, None, tuple[bool, Any]]:
    """The events of a step; whether it ended well, and what it returned."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return True, end.value
        yield event
        if isinstance(event, Finished) and event.status:
            return False, None


def _there(paths: Paths, wanted: TrainingPlan) -> str:
    """A finished version with exactly this plan, "" when there is none."""
    store = Store(paths)
    for version in store.versions(wanted.model):
        try:
            plan = plans.load(store.version_folder(wanted.model, version) / "plan.json")
        except (OSError, PZ2Error):
            continue
        if plan.hash == wanted.hash:
            return version
    return ""


def _unfinished(paths: Paths, wanted: TrainingPlan) -> Any:
    finished = Store(paths).versions(wanted.model)
    waiting = (job for job in runs.jobs(paths) if not job.alive and job.run.version not in finished)
    return next((job for job in waiting if job.run.plan_hash == wanted.hash and job.run.model == wanted.model), None)
