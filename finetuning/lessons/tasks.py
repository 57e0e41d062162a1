"""The tasks of ``run_fine_tuning.py``: compare, special_tokens, preprocess, explain, train; without a word all of them."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Event, Finished, Notice, Report, Step
from assistant.core.paths import PROJECT, Paths, find
from assistant.core.prompts import ChatFormat, ChatML
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning import learn
from finetuning.data import import_
from finetuning.lessons import conversations, explain, forms, special_tokens, workspace
from finetuning.training import commands
from finetuning.training import plan as plans
from finetuning.training import recipe as recipes
from finetuning.training import rows as row_files

TASKS = ("compare", "special_tokens", "preprocess", "explain", "train")
# What comes first explains what comes later.
ORDER = ("special_tokens", "preprocess", "compare", "explain", "train")
FINAL = "final_model"
# Below this rate an adapter on a small base learns next to nothing in one epoch (docs/LOG.md).
SMALL_RATE = 1e-4


@dataclass(frozen=True, slots=True)
class Options:
    """What the user wants: ``file`` is imported first; ``dataset`` names one that is there (None: the unified model's)."""

    output: Path
    model: str | None = None
    dataset: str | None = None
    file: str | None = None
    preset: str = "balanced"
    flags: tuple[tuple[str, Any], ...] = ()
    promote: bool = False


def run(context: Context, tasks: Sequence[str], options: Options) -> Iterator[Event]:
    """Do the tasks in order; the first that fails ends it."""
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise UsageError(f"There is no task '{unknown[0]}'.", f"Choose from {', '.join(TASKS)}.")
    paths = workspace.at(context.paths, options.model, options.output)
    yield from workspace.told(context.paths, paths, options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    name, events = _dataset(context.paths, options)
    yield from events
    results: dict[str, Any] = {}
    for task in [task for task in ORDER if task in tasks]:
        for event in _task(task, context, paths, name, options):
            if isinstance(event, Finished):
                if event.status:
                    yield event
                    return
                continue
            if isinstance(event, Report):
                results[task] = event.data
            yield event
    if len(tasks) > 1:
        yield Report(f"Done: {', '.join(results)}. Everything lies in {options.output}", results)


def _task(task: str, context: Context, paths: Paths, name: str, options: Options) -> Iterator[Event]:
    if task == "train":
        yield from _train(Context(paths, context.questions, json=context.json), name, options)
        return
    if task == "compare":
        yield from forms.run(list(dict.fromkeys((context.paths, paths))), name, options.output)
        return
    base = engines.base_of(configuration.load(paths), paths)
    recipe = recipes.recipe(paths, options.preset, plans.scale(plans.parameters(base)), dict(options.flags))
    chat = _format(base, paths)
    _, rows, _ = plans.sources(paths, name)
    if task == "preprocess":
        yield from conversations.run(chat, rows, name, recipe.max_length, options.output)
        return
    encoded = row_files.encode(rows, chat, name, recipe.max_length)
    if task == "special_tokens":
        yield from special_tokens.run(chat, encoded.rows, options.output)
    else:
        yield from explain.run(base.name, encoded, recipe.sized(len(encoded.rows), encoded.answers, encoded.tokens))


def _format(base: Base, paths: Paths) -> ChatFormat:
    if base.tokenizer_json is not None:
        return ChatML.load(base.tokenizer_json)
    from assistant.engine.hf import chat_format

    return chat_format(base, paths)


def _dataset(paths: Paths, options: Options) -> tuple[str, Iterator[Event]]:
    """The model that is trained, by its dataset, and the events of what has to be imported for it."""
    given = options.file or options.dataset
    if given is None or given in ("unified", "processed_english"):
        return "unified", iter(())
    path = find(given, paths)
    if (options.file or path.is_file()) and not path.is_dir():
        name = learn.name_of(path)
        learn.refuse_other(paths, name, path)
        return name, import_.run(Context(paths), given, name, yes=True)
    name = path.name if path.is_dir() else given
    return plans.check_model(paths, name), iter(())


def _train(context: Context, name: str, options: Options) -> Iterator[Event]:
    """Train, and lay what came of it into the output folder."""
    flags = dict(options.flags)
    rate = flags.get("learning_rate")
    base = engines.base_of(configuration.load(context.paths), context.paths)
    if rate is not None and rate < SMALL_RATE and plans.scale(plans.parameters(base)) == "small" and flags.get("method") != "full":
        yield Notice(
            f"A learning rate of {rate:g} teaches a base of this size next to nothing in {flags.get('epochs', 1):g} epochs; 0.001 does.",
            "warning",
        )
    store = Store(context.paths)
    before = set(store.versions(name))
    for event in commands.train(context, name, preset=options.preset, promote=options.promote, **flags):
        if isinstance(event, Finished) and event.status:
            yield event
            return
        yield event
    made = sorted(set(store.versions(name)) - before)
    if not made:
        return
    target = options.output / FINAL
    yield Step(f"Copying {name} {made[-1]} to {target}")
    _copy(store.version_folder(name, made[-1]), target)
    yield Notice(f"{target} holds {name} {made[-1]}; `evaluate {_shown(target)}` judges it.")


def _copy(version: Path, target: Path) -> None:
    """A version's folder in the place of the one before, whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(version, part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def _shown(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)
