"""The commands `train` and `jobs`. They start, watch and end the trainer's process, and load no torch themselves."""

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from assistant.core import files
from assistant.core.commands import Context, checked_seed
from assistant.core.errors import TrainingError, UsageError
from assistant.core.events import Event, Failed, Finished, Lines, Notice, Report, Step, Switched, Table
from assistant.core.paths import Paths
from assistant.core.store import Store
from finetuning.training import launch, plan, preferences, preflight, runs, trackers
from finetuning.training.recipe import LORA, PREFERENCE, assignments
from finetuning.training.runs import Job, Run

POLL_SECONDS = 0.2
CANCEL_SECONDS = 180.0


def train(
    context: Context,
    model: str,
    preset: str = "balanced",
    seed: int | None = None,
    promote: bool = False,
    detach: bool = False,
    set: Sequence[str] | None = None,
    processes: int | None = None,
    accelerate_config: str | None = None,
    report_to: Sequence[str] | None = None,
    judge: str | None = None,
    begin_with: str | None = None,
    **changes: Any,
) -> Iterator[Event]:
    """Plan, check, start, and follow a training. It lives on when the window is closed. Classifier and reward model are fitted here.

    ``begin_with`` is a version of the model, or ``live``: its weights are trained further, instead of none.
    """
    paths = context.paths
    seed = None if seed is None else checked_seed(seed)
    if judge:
        options = (promote, detach, set, processes, accelerate_config, report_to, begin_with)
        asked = (preset != "balanced", seed is not None, *options, *changes.values())
        yield from _judged(context, model, judge, any(asked))
        return
    if model in ("classifier", "reward") and begin_with:
        raise UsageError(f"--begin_with has no meaning for {model}: it is fitted anew each time.", f"Write `train {model}`.")
    if model == "classifier":
        others = {"set": set, "processes": processes, "accelerate_config": accelerate_config, "report_to": report_to}
        yield from _classifier(context, preset, promote, seed=seed, detach=detach, **others, **changes)
        return
    if model == "reward":
        yield from _reward(context, preset, promote, seed=seed, detach=detach, set=set, report_to=report_to, **changes)
        return
    plan.check_model(paths, model)
    together = launch.together(paths, processes, accelerate_config)
    trackers_asked = trackers.check(report_to or ())
    # A flag that was not given leaves the preset as it is.
    changes = {key: value for key, value in changes.items() if value is not False} | assignments(set or ())
    if changes.get("method") == PREFERENCE:
        raise UsageError(f"{PREFERENCE} learns from pairs of answers, which `train` does not read.", f"Use `prefer {model}`.")
    begins = None
    if begin_with:
        begins = preflight.Beginning(*beginning(paths, model, None if begin_with == "live" else begin_with))
        changes = shaped(paths, model, begins.version, changes)
    found = preflight.Look()
    yield Step(f"Checking what training {model} ({preset}) needs")
    yield from preflight.look(paths, model, preset, seed, changes, found, begins, together[0])
    yield from begun(context, found, promote, detach, together, trackers_asked)


def prefer(
    context: Context,
    model: str = "unified",
    version: str | None = None,
    pairs: Sequence[str] | None = None,
    preset: str = "balanced",
    seed: int | None = None,
    promote: bool = False,
    detach: bool = False,
    set: Sequence[str] | None = None,
    report_to: Sequence[str] | None = None,
    **changes: Any,
) -> Iterator[Event]:
    """Train a version of ours further on preference pairs (DPO): planned, started, followed and proved like any other run."""
    paths = context.paths
    seed = plan.SEED if seed is None else checked_seed(seed)
    plan.check_model(paths, model)
    trackers_asked = trackers.check(report_to or ())
    changes = {key: value for key, value in changes.items() if value is not False} | assignments(set or ()) | {"method": PREFERENCE}
    begins, digest = beginning(paths, model, version)
    yield Step(f"Gathering preference pairs for {model}")
    gathered = preferences.gather(paths, model, pairs or (), seed)
    found = preflight.Look()
    yield Step(f"Checking what preferring ({preset}) needs")
    yield from preflight.look(paths, model, preset, seed, changes, found, preflight.Beginning(begins, digest, gathered))
    yield from begun(context, found, promote, detach, (1, ""), trackers_asked)


def beginning(paths: Paths, model: str, version: str | None) -> tuple[str, str]:
    """The version that is trained further (the live one when none is named; `base` or nothing trained yet: none), and its hash."""
    store = Store(paths)
    name = version or store.current(model).version or "base"
    if name == "base":
        return "", ""
    card = store.card(model, name)
    digest = preferences.weights(store.version_folder(model, card.version))
    if card.method not in LORA or not digest:
        raise TrainingError(
            f"{model} {card.version} was trained by {card.method}; only a LoRA adapter is trained further.",
            f"Name another version, or `prefer {model} base`.",
        )
    return card.version, digest


def shaped(paths: Paths, model: str, version: str, changes: dict[str, Any]) -> dict[str, Any]:
    """What is asked of a run that trains a version further, with that version's shape; another shape is a UsageError."""
    if not version:
        raise UsageError(f"No version of {model} is live that could be trained further.", f"Train the first one: `train {model}`.")
    folder = Store(paths).version_folder(model, version)
    adapter, before = files.read_json(folder / "adapter_config.json"), plan.load(folder / "plan.json").recipe
    method = "dora" if adapter.get("use_dora") else before.method if before.quantised else "lora"
    shape = {
        "method": method,
        "lora_r": adapter["r"],
        "lora_alpha": adapter["lora_alpha"],
        "rank_stabilised": bool(adapter.get("use_rslora")),
        "frozen_share": before.frozen_share,
    }
    for key, value in shape.items():
        if changes.get(key) not in (None, value):
            raise UsageError(
                f"'{key}' cannot be {changes[key]}: {model} {version} has {value}, and its adapter keeps its shape.",
                f"Leave '{key}' out, or train anew without --begin_with.",
            )
    return changes | shape


def begun(
    context: Context,
    found: preflight.Look,
    promote: bool = False,
    detach: bool = False,
    together: tuple[int, str] = (1, ""),
    trackers_asked: tuple[str, ...] = (),
) -> Generator[Event, None, Run | None]:
    """Start a run whose preflight is done, and follow it; or say what stands against it (None)."""
    if found.plan is None:
        problems = "one thing stands" if found.failed == 1 else f"{found.failed} things stand"
        yield Failed(f"The training was not started: {problems} against it.", "Put right what is marked above, then train again.")
        yield Finished(2)
        return None
    if together[0] > (rows := found.plan.recipe.batch_size):
        yield Notice(f"{together[0]} processes share batches of {rows} rows: some will be idle.", "warning")
    if without := launch.left_out(together[1]):
        yield Notice(without, "warning")
    model = found.plan.model
    version = Store(context.paths).reserve(model, plan.to_json(found.plan))
    run = runs.create(context.paths, model, version, found.plan.hash, promote, *together, trackers_asked)
    yield from _launched(context, run, detach)
    return run


def jobs(context: Context, action: str = "list", run: str | None = None) -> Iterator[Event]:
    """List the runs, or follow, resume, cancel or delete one."""
    paths = context.paths
    match action:
        case "follow":
            yield from _follow(context, runs.newest(paths, run).run)
        case "resume":
            yield from resume(context, runs.newest(paths, run))
        case "cancel":
            yield from _cancel(paths, runs.newest(paths, run))
        case "delete":
            yield from _delete(paths, runs.newest(paths, run))
        case _:
            yield _list(runs.jobs(paths))


def _classifier(context: Context, preset: str, promote: bool, **others: Any) -> Iterator[Event]:
    # With it comes torch, which the other trainings load in a process of their own.
    from finetuning.training import classifier

    yield from classifier.train(context, promote, preset=None if preset == "balanced" else preset, **others)


def _reward(context: Context, preset: str, promote: bool, **others: Any) -> Iterator[Event]:
    # As above: with it comes torch.
    from finetuning.training import reward

    yield from reward.train(context, promote, preset=None if preset == "balanced" else preset, **others)


def _judged(context: Context, model: str, file: str, more: bool) -> Iterator[Event]:
    from finetuning.training import ordering

    if model != "reward" or more:
        raise UsageError(
            "--judge trains nothing: it judges the reward model, and no other flag has a meaning with it.",
            "Write `train reward --judge FILE`.",
        )
    yield from ordering.run(context, file)


def _launched(context: Context, run: Run, detach: bool) -> Iterator[Event]:
    run = launch.start(context.paths, run)
    yield Notice(f"Run {run.run} has begun, as process {run.pid}. It goes on when this window is closed; `jobs` shows it.")
    if not detach:
        yield from _follow(context, run)


def _follow(context: Context, run: Run) -> Iterator[Event]:
    """The events of a run's latest attempt until it ends. Closing this, or Ctrl-C, leaves the run running."""
    try:
        status = yield from _until_end(context, run)
    except KeyboardInterrupt:
        yield Notice(f"{run.run} goes on. `jobs follow` shows it again, `jobs cancel` ends it.")
        yield Finished(130)
        return
    if status == 0:
        yield from _offer(context, run)
    else:
        yield Finished(status)


def _until_end(context: Context, run: Run) -> Iterator[Event]:
    """Yield what the run says; returns the status it ended with."""
    paths = context.paths
    path, place = runs.events_file(paths, run.run), run.attempt_offset
    while True:
        alive = runs.is_alive(run) or runs.is_starting(run)
        for after, event in runs.events(path, place):
            place = after
            if isinstance(event, Finished):
                return event.status
            if isinstance(event, Switched):
                _tell(context, event)
            yield event
        if not alive:
            if launch.disk_is_full(paths):
                raise launch.disk_full(run)
            yield Failed(
                f"The trainer of {run.run} ended without a word (killed, or the machine stopped).",
                f"`jobs resume {run.run}` goes on from its last checkpoint.",
            )
            return 2
        time.sleep(POLL_SECONDS)


def _offer(context: Context, run: Run) -> Iterator[Event]:
    """Say that a finished version is held and why, and ask whether it shall go live all the same, when somebody can be asked."""
    store = Store(context.paths)
    if run.version not in store.versions(run.model):
        return
    figures = store.card(run.model, run.version).figures
    if store.current(run.model).version == run.version or figures.get("gate") in ("passed", "overruled"):
        return
    refusal = str(figures.get("refusal") or "")
    name = f"{run.model} {run.version}"
    if context.questions is not None:
        question = f"{name} is held: {refusal} Make it live all the same?" if refusal else f"Make {name} live?"
        if context.questions.confirm(question):
            switched = Switched(run.model, run.version, store.make_live(run.model, run.version).version)
            _tell(context, switched)
            yield switched
            return
    held = f"{name} is held: {refusal}" if refusal else f"{name} is not live."
    yield Notice(f"{held} `switch {name}` makes it live{' all the same' if refusal else ''}.")


def _tell(context: Context, switched: Switched) -> None:
    """Let the running chat know what is said here, so that its next turn does not say it again."""
    if context.chat is not None:
        context.chat.live.announced(switched.model, switched.version)


def resume(context: Context, job: Job) -> Iterator[Event]:
    """Start a run again that is not finished, and follow it."""
    paths, run = context.paths, job.run
    if job.alive:
        raise TrainingError(f"{run.run} is running.", "`jobs follow` shows it.")
    if run.version in Store(paths).versions(run.model):
        raise TrainingError(f"{run.run} is finished; there is nothing to resume.", f"`train {run.model}` makes a new version.")
    if not (Store(paths).version_folder(run.model, run.version) / "plan.json").is_file():
        raise TrainingError(f"The version of {run.run} was deleted.", f"`train {run.model}` makes a new one.")
    other = runs.active(paths)
    if other is not None:
        raise TrainingError(
            f"{other.run.run} is running; two trainings at once would starve each other.",
            "Wait for it (`jobs follow`) or end it (`jobs cancel`).",
        )
    yield from _launched(context, runs.launched(paths, run), detach=False)


def _cancel(paths: Paths, job: Job) -> Iterator[Event]:
    run = job.run
    if not job.alive:
        raise TrainingError(f"{run.run} is not running: it is {job.state}.", "`jobs` lists all runs.")
    launch.stop(paths, job)
    yield Step(f"Ending {run.run} after its step, with a checkpoint")
    deadline = time.monotonic() + CANCEL_SECONDS
    while (now := runs.job(paths, runs.read(paths, run.run))).alive and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if now.alive:
        raise TrainingError(
            f"{run.run} has not ended within {CANCEL_SECONDS:.0f} s.", "Wait a little and look with `jobs`; it ends after its step."
        )
    if now.state == "finished":
        yield Notice(f"{run.run} was done before it could be cancelled.")
    else:
        place = f"at step {now.step} of {now.steps}" if now.steps else "before its first step"
        yield Notice(f"{run.run} is cancelled {place}. `jobs resume {run.run}` goes on.")


def _delete(paths: Paths, job: Job) -> Iterator[Event]:
    unfinished = runs.remove(paths, job)
    kept = "its unfinished version and checkpoints" if unfinished else f"its log; {job.run.model} {job.run.version} stays"
    yield Notice(f"{job.run.run} is deleted: {kept}.")


def _list(found: list[Job]) -> Report:
    data = [
        {
            "run": job.run.run,
            "model": job.run.model,
            "state": job.state,
            "pid": job.run.pid if job.alive else None,
            "step": job.step,
            "steps": job.steps,
        }
        for job in found
    ]
    rows = tuple((job.run.run, job.run.model, job.state, f"{job.step}/{job.steps}" if job.steps else "–") for job in found)
    title = "Training runs, the newest first" if found else "No training run yet; `train unified` starts one."
    hint = Lines("", ("`history` shows what came of them: each version with its figures and what the gate said.",))
    return Report(title, data, (Table(("run", "model", "state", "steps"), rows), hint) if found else ())
