"""What is trained, live and loaded; switching and going back."""

import shutil
from collections.abc import Iterator
from typing import Any

import psutil

from assistant.chat import pins, router_status
from assistant.chat.live import Live, go_live
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import ModelError, PZ2Error, UsageError
from assistant.core.events import Event, Lines, Notice, Report, Switched, Table
from assistant.core.store import BUILT_IN, Store, check_name, no_model
from assistant.engine import base as engines
from assistant.router.classifier import MODEL as CLASSIFIER


def status(context: Context) -> Iterator[Event]:
    """What is trained, live and loaded, memory and disk, and the next step."""
    data = facts(context)
    models = tuple(
        (item["model"], item["live"] or "–", ", ".join(item["versions"]) or "none trained yet", "yes" if item["loaded"] else "no")
        for item in data["models"]
    )
    memory, disk = data["memory"], data["disk"]
    lines = [
        f"base       {data['base']}" + (f" ({data['base_fault']})" if data["base_fault"] else ""),
        f"engine     {data['engine'] or 'none'}",
        f"classifier {_classifier(data['classifier'])}",
        f"router     {_mode(data['router'])}; hybrid mode is {'on' if data['hybrid'] else 'off'}",
        f"thresholds {data['router']['note']}",
        f"loading    {router_status.preloading(data['router']['preloading'])}",
        f"memory     {memory['process_mb']} MB used here, {memory['free_mb']:,} of {memory['total_mb']:,} MB free",
        f"disk       {disk['free_gb']} GB free, models take {disk['models_mb']} MB",
        f"data       {data['data'] or 'no dataset yet'}",
    ]
    yield Report(
        "Status", data, (Table(("model", "live", "versions", "loaded"), models), Lines("", tuple(lines)), Lines("Next", (data["next"],)))
    )


def facts(context: Context) -> dict[str, Any]:
    """The document of ``status --json``."""
    paths, store = context.paths, Store(context.paths)
    settings = configuration.load(paths)
    live: Live | None = context.chat.live if context.chat else None
    resident = live.resident() if live else {}
    models = []
    for model in dict.fromkeys([*BUILT_IN, *store.models()]):
        versions, current = store.versions(model), _current(store, model)
        models.append(
            {"model": model, "live": current, "versions": versions, "loaded": resident.get(model) == current and current is not None}
        )
    base, weights, engine, fault = settings.base, "", None, None
    try:
        found = engines.base_of(settings, paths)
        folders = [store.version_folder(item["model"], item["live"]) for item in models if item["live"]]
        base, weights, engine = found.name, found.sha256, engines.engine_at_start(settings, found, folders)
    except PZ2Error as error:
        fault = f"{error.what} {error.fix}"
    trained = [item["model"] for item in models if item["live"]]
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(paths.root)
    return {
        "hybrid": "unified" in trained and any(model not in ("unified",) for model in trained) and pins.pinned(paths) is None,
        "base": base,
        "base_fault": fault,
        "engine": engine,
        "models": models,
        "classifier": {"live": _current(store, CLASSIFIER), "versions": store.versions(CLASSIFIER)},
        "router": {
            "mode": "pinned" if pins.pinned(paths) else "auto",
            "pinned": pins.pinned(paths),
            **router_status.facts(paths, store, settings.router, engine, weights),
        },
        "memory": {
            "process_mb": psutil.Process().memory_info().rss // 1_000_000,
            "free_mb": memory.available // 1_000_000,
            "total_mb": memory.total // 1_000_000,
        },
        "disk": {"free_gb": disk.free // 1_000_000_000, "models_mb": _size(paths.models) // 1_000_000},
        "data": _data(paths.processed),
        "next": _next(paths, store, trained),
    }


def switch(context: Context, model: str, version: str | None) -> Iterator[Event]:
    """Pin a model for every chat of this root, or return to auto; with a version, make that version live."""
    store = Store(context.paths)
    if model == "auto":
        pins.pin(context.paths, None)
        yield Notice("The router decides again.")
        return
    if model == CLASSIFIER:
        if version is None:
            raise UsageError("The classifier does not answer, so it cannot be pinned.", f"Name a version: `switch {CLASSIFIER} VERSION`.")
        yield from go_live(_live(context), model, version.zfill(4))
        return
    if model not in ("base", *BUILT_IN):
        check_name(model)
    known = ["auto", "base", *BUILT_IN, *store.models()]
    if model not in known:
        raise no_model(model, known)
    if version is not None:
        if model == "base":
            raise UsageError("The base has no versions.", "Use `switch base`, or name a trained model.")
        yield from go_live(_live(context), model, version.zfill(4))
        return
    pins.check(store, model)
    pins.pin(context.paths, model)
    yield Notice(f"{model} answers every chat from now on. `switch auto` gives it back to the router.")


def rollback(context: Context, model: str) -> Iterator[Event]:
    """Put the version before back, after a trial answer; doing it twice returns to where it was."""
    store = Store(context.paths)
    if model not in (*BUILT_IN, CLASSIFIER, *store.models()):
        raise no_model(model, [*BUILT_IN, *store.models()])
    now = store.current(model)
    if now.previous is not None:
        yield from go_live(_live(context), model, now.previous)
        return
    after = store.roll_back(model)
    if context.chat is not None:
        context.chat.live.announced(model, after.version)
    yield Switched(model, after.version, now.version)


def _classifier(found: dict[str, Any]) -> str:
    trained = f"; trained: {', '.join(found['versions'])}" if found["versions"] else ""
    return f"{found['live'] or 'the built-in one'} reads the questions{trained}"


def _mode(router: dict[str, Any]) -> str:
    return f"pinned to {router['pinned']}" if router["pinned"] else "auto"


def _live(context: Context) -> Live:
    if context.chat is not None:
        return context.chat.live
    return Live(context.paths, configuration.load(context.paths))


def _current(store: Store, model: str) -> str | None:
    try:
        return store.current(model).version
    except ModelError:
        return None


def _size(folder: Any) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _data(processed: Any) -> str:
    from assistant.core import files

    manifest = processed / "manifest.json"
    if not manifest.is_file():
        return ""
    counts = files.read_json(manifest).get("files", {})
    rows = sum(entry.get("rows", 0) for entry in counts.values())
    return f"{len(counts)} files with {rows:,} rows in {processed.name}"


def _next(paths: Any, store: Store, trained: list[str]) -> str:
    if not (paths.processed / "manifest.json").is_file():
        return "`generate` writes the training files, then `validate` checks them"
    if "unified" not in trained:
        waiting = store.versions("unified")
        if not waiting:
            return "`validate`, then `train unified`"
        if _held(store, waiting[-1]):
            return f"`history unified` says why {waiting[-1]} is held; `train unified --preset quality` trains longer"
        return f"`switch unified {waiting[-1]}` makes the trained version live"
    missing = [model for model in ("qna", "technical") if model not in trained]
    if missing:
        return f"`train {missing[0]}` makes the {missing[0]} specialist"
    return "chat, and import your own data when you have some"


def _held(store: Store, version: str) -> bool:
    try:
        return store.card("unified", version).figures.get("gate") == "held"
    except PZ2Error:
        return False
