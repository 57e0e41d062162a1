"""The versions of the models: the table of what was trained, and deleting one. No torch."""

from collections.abc import Iterator
from typing import Any

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, PZ2Error, TrainingError, UsageError
from assistant.core.events import Event, Lines, Notice, Report, Table
from assistant.core.store import BUILT_IN, Current, Store, no_model
from finetuning.training import runs

HEADS = ("version", "method", "preset", "rows", "min", "loss", "recall", "general", "gate", "")


def history(context: Context, model: str | None = None) -> Iterator[Event]:
    """Every finished version with its figures, the newest of each model first; with a model also why the gate held one."""
    store = Store(context.paths)
    known = _models(store)
    if model is not None and model not in (names := [*BUILT_IN, *known]):
        raise no_model(model, names)
    found = [line for name in ([model] if model else known) for line in _lines(store, name)]
    if not found:
        yield Report(f"No version of {model or 'any model'} yet; `train {model or 'unified'}` makes one.", [])
        return
    blocks: list[Table | Lines] = [Table(HEADS, tuple(map(_row, found)))]
    if model:
        held = tuple(f"{line['version']} was {line['gate']}: {line['refusal']}" for line in found if line["refusal"])
        blocks += [Lines("Gate", held)] if held else []
    example = " ".join(f"{line['model']}/{line['version']}" for line in found[:2]) if len(found) > 1 else ""
    if example:
        blocks.append(Lines("", (f"`compare {example}` asks two of them the same questions.",)))
    yield Report("Versions, the newest first", found, tuple(blocks))


def delete(context: Context, model: str, version: str, yes: bool = False) -> Iterator[Event]:
    """Delete a finished version; one that is live, or the one to go back to, only after saying so."""
    store, number = Store(context.paths), version.zfill(4)
    folder = store.version_folder(model, number)
    if number not in store.versions(model):
        known = ", ".join(store.versions(model)) or "none"
        raise ModelError(
            f"The {model} model has no finished version {number}.", f"Versions: {known}. `jobs delete` removes a broken-off run."
        )
    now = _current(store, model)
    megabytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6
    after = _without(store, model, now, number)
    warning = _consequence(model, number, now, after)
    busy = runs.active(context.paths)
    if now.version == number and busy is not None and busy.run.model == model:
        raise TrainingError(f"{busy.run.run} is compared with {model} {number}.", "Wait for it (`jobs follow`) or end it (`jobs cancel`).")
    if not yes:
        if context.questions is None:
            raise UsageError(f"{warning}Deleting {model} {number} cannot be undone.", f"Say so: `delete {model} {number} --yes`.")
        if not context.questions.confirm(f"{warning}Delete {model} {number} ({megabytes:.0f} MB)?"):
            yield Notice("Nothing is deleted.")
            return
    if after != now:
        store.put(model, after)
    store.delete(model, number)
    if warning:
        yield Notice(warning.strip(), "warning")
    yield Notice(f"{model} {number} is deleted: {megabytes:.0f} MB are free again.")


def _models(store: Store) -> list[str]:
    return [model for model in [*store.models(), "classifier"] if store.versions(model)]


def _lines(store: Store, model: str) -> list[dict[str, Any]]:
    now = _current(store, model)
    lines = []
    for version in reversed(store.versions(model)):
        try:
            card = store.card(model, version)
        except PZ2Error:
            continue
        figures, report = card.figures, _report(store, model, version)
        lines.append(
            {
                "model": model,
                "version": version,
                "live": version == now.version,
                "previous": version == now.previous,
                "created": card.created,
                "method": card.method,
                "preset": figures.get("preset") or report.get("preset"),
                "dataset": card.dataset,
                "base": card.base,
                "rows": figures.get("rows") or report.get("rows"),
                "steps": card.steps,
                "minutes": round(card.seconds / 60, 1),
                "held_out_loss": figures.get("held_out_loss"),
                "key_fact_recall": figures.get("key_fact_recall"),
                "general": figures.get("general"),
                "gate": figures.get("gate"),
                "refusal": figures.get("refusal") or "",
            }
        )
    return lines


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    rows = f"{line['rows']:,}" if line["rows"] else "–"
    loss = f"{line['held_out_loss']:.2f}" if line["held_out_loss"] is not None else "–"
    shares = (f"{line[key]:.0%}" if line[key] is not None else "–" for key in ("key_fact_recall", "general"))
    place = "live" if line["live"] else "before" if line["previous"] else ""
    name = f"{line['model']} {line['version']}"
    return (name, line["method"], line["preset"] or "–", rows, f"{line['minutes']:g}", loss, *shares, line["gate"] or "–", place)


def _report(store: Store, model: str, version: str) -> dict[str, Any]:
    try:
        return files.read_json(store.version_folder(model, version) / "report.json")
    except (OSError, DataError):
        return {}


def _current(store: Store, model: str) -> Current:
    try:
        return store.current(model)
    except ModelError:
        return Current()


def _without(store: Store, model: str, now: Current, version: str) -> Current:
    """What is live, and before it, when a version is gone."""
    before = now.previous if now.previous in store.versions(model) and now.previous != version else None
    return Current(before) if now.version == version else Current(now.version, before)


def _consequence(model: str, version: str, now: Current, after: Current) -> str:
    if now.version == version:
        return f"{model} {version} is live; without it {f'{model} {after.version}' if after.version else 'the base'} answers. "
    if now.previous == version:
        return f"{model} {version} is what `rollback {model}` would go back to; without it the base is. "
    return ""
