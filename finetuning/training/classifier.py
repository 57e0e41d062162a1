"""`train classifier`: fit the probe on this root's classification files, judge it beside the live one, and make it live.

It takes a few minutes in this process, because reading the questions is all the work. Closing it leaves nothing behind.
"""

import itertools
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Block, Chart, Checked, Event, Lines, Notice, Progress, Report, Step, Switched, Table
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.core.values import CATEGORIES, ModelCard
from assistant.engine import base as engines
from assistant.engine import hf
from assistant.engine.base import Base
from assistant.router.classifier import FILE, MODEL, Probe, live, reading
from finetuning.evaluation.bootstrap import Interval, interval, paired
from finetuning.training import probe as probes
from finetuning.training.probe import Labelled

Row = dict[str, Any]
# Rows of one entry that are read: more wordings of it cost time and taught nothing more (docs/LOG.md).
WORDINGS = 3
# Unseen wordings that are judged; validation and test are judged whole.
UNSEEN = 500
# Questions between two lines of progress.
CHUNK = 64
JUDGED = ("validation", "test", "test_phrasing")
NAMES = {"validation": "validation", "test": "test (entries never seen)", "test_phrasing": "seen entries, unseen wording"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A new probe beside the live one: figures by split, why it must not go live ("" when it may), and the paired difference."""

    splits: dict[str, Row]
    rival: str | None
    gain: Interval
    refusal: str


def train(context: Context, promote: bool = False, **others: Any) -> Iterator[Event]:
    """Fit, judge, and make live a classifier of this root's data; ``others`` are flags of `train` that mean nothing here."""
    given = [f"--{name}" for name, value in others.items() if value not in (None, False, ())]
    if given:
        raise UsageError(
            f"The classifier is one fit, so {', '.join(given)} changes nothing.", f"`train {MODEL}`, with --promote to overrule the gate."
        )
    paths, store = context.paths, Store(context.paths)
    settings = configuration.load(paths)
    base, splits = engines.base_of(settings, paths), _splits(paths)
    yield Step(f"Fitting a classifier on {len(splits['train']):,} questions over {base.name}")
    version = store.reserve(MODEL, _plan(paths, base, splits))
    folder, started = store.version_folder(MODEL, version), time.perf_counter()
    try:
        labelled = yield from _labelled(paths, base, settings.chat.context_tokens, splits)
        probe = probes.fit(labelled["train"], base.name, base.sha256)
        judged = _judged(store, base, probe, labelled)
        document = {"model": MODEL, "version": version, "base": base.name, "rows": len(splits["train"]), **_document(judged)}
        files.write_json(folder / FILE, probes.document(probe))
        files.write_json(folder / "report.json", document)
        store.finish(_card(paths, base, version, judged, promote, time.perf_counter() - started))
    finally:
        if version not in store.versions(MODEL):
            shutil.rmtree(folder, ignore_errors=True)
    yield _report(document, judged)
    yield Checked("gate", not judged.refusal, judged.refusal or f"not worse than {judged.rival or 'guessing'}")
    yield from _live(context, store, version, judged.refusal, promote)


def refusal(new: Sequence[float], old: Sequence[float] | None, rival: str) -> tuple[str, Interval]:
    """Why a classifier must not go live, or "", with the difference to the live one on the same questions (1.0 right, 0.0 wrong).

    It may when it is not surely worse; where no other reads this base's states, when it is surely better than guessing.
    """
    if old is None:
        found, chance = interval(new), 1 / len(CATEGORIES)
        told = f"{found.mean:.1%} of {found.rows} held-out questions right, 95% interval {found.low:.1%} to {found.high:.1%}"
        return ("" if found.low > chance else f"It is not surely better than guessing ({chance:.1%}): {told}."), found
    gain = paired(new, old)
    if not gain.below_zero:
        return "", gain
    was, now = sum(old) / len(old), sum(new) / len(new)
    return (
        f"It is worse than {rival}: {was:.1%} → {now:.1%} of {gain.rows} held-out questions right, "
        f"gain {gain.mean:+.3f}, 95% interval {gain.low:+.3f} to {gain.high:+.3f}."
    ), gain


def _splits(paths: Paths) -> dict[str, list[Row]]:
    """The rows by split, checked; of one entry at most so many are trained."""
    splits: dict[str, list[Row]] = {}
    for name in ("train", *JUDGED):
        path = paths.processed / f"classification_{name}.jsonl"
        rows = files.read_jsonl(path) if name != "test_phrasing" or path.is_file() else []
        for number, row in enumerate(rows, 1):
            if not isinstance(row.get("text"), str) or row.get("label") not in (0, 1, 2):
                raise DataError(
                    f"{path.name}, line {number}: no text, or a label that is not 0, 1 or 2.", "Run `validate` to see every fault."
                )
        splits[name] = rows
    labels = {row["label"] for row in splits["train"]}
    if len(labels) < 2 or not splits["validation"] + splits["test"]:
        raise DataError(
            "classification_train.jsonl needs rows of at least two labels, and the validation or test file some rows.",
            "Write the files of all categories: `generate`.",
        )
    seen: dict[Any, int] = {}
    for row in splits["train"]:
        row["rank"] = seen[row.get("id", row["text"])] = seen.get(row.get("id", row["text"]), 0) + 1
    splits["train"] = [row for row in splits["train"] if row["rank"] <= WORDINGS]
    splits["test_phrasing"] = splits["test_phrasing"][:UNSEEN]
    return splits


def _labelled(paths: Paths, base: Base, context_tokens: int, splits: dict[str, list[Row]]) -> Generator[Event, None, dict[str, Labelled]]:
    """Every question's state, with progress: the base reads all of them once."""
    yield Step("Loading the base")
    engine = hf.HfEngine(base, context_tokens, paths)
    try:
        rows = list(itertools.chain.from_iterable(splits.values()))
        states = yield from states_of(engine, [row["text"] for row in rows])
    finally:
        engine.release()
    labelled, place = {}, 0
    for name, part in splits.items():
        labelled[name] = Labelled(
            states[place : place + len(part)],
            tuple(CATEGORIES[row["label"]] for row in part),
            tuple(str(row.get("difficulty", "")) for row in part),
        )
        place += len(part)
    return labelled


def states_of(engine: Any, texts: Sequence[str]) -> Generator[Event, None, torch.Tensor]:
    """The base's state at the end of each question: (questions, width), with progress."""
    prompts = [engine.format.encode(reading(text)) for text in texts]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    states, began, done = None, time.perf_counter(), 0
    total, tokens = sum(map(len, prompts)), 0
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        found = engine.states([prompts[place] for place in chosen])
        states = torch.zeros(len(prompts), found.shape[1]) if states is None else states
        states[chosen] = found
        done, tokens = done + len(chosen), tokens + sum(len(prompts[place]) for place in chosen)
        used = time.perf_counter() - began
        yield Progress(done, len(order), "questions", {"tokens/s": round(tokens / used)}, used / tokens * (total - tokens))
    assert states is not None
    return states


def _judged(store: Store, base: Base, probe: Probe, labelled: dict[str, Labelled]) -> Judged:
    rival, name = _rival(store, base)
    splits = {}
    for split in JUDGED:
        if len(labelled[split].categories):
            splits[split] = probes.figures(probe, labelled[split])
            splits[split]["live_accuracy"] = _mean(probes.right(rival, labelled[split])) if rival else None
    held = [labelled[split] for split in ("validation", "test")]
    new = [value for part in held for value in probes.right(probe, part)]
    old = [value for part in held for value in probes.right(rival, part)] if rival else None
    said, gain = refusal(new, old, name or "")
    return Judged(splits, name, gain, said)


def _rival(store: Store, base: Base) -> tuple[Probe | None, str | None]:
    """What reads questions now, and its name; nothing when it is damaged or this base has none."""
    try:
        probe, version = live(store, base.name, base.sha256)
    except ModelError:
        return None, None
    return probe, None if probe is None else f"{MODEL} {version}" if version else "the built-in classifier"


def _live(context: Context, store: Store, version: str, said: str, promote: bool) -> Iterator[Event]:
    if said and not promote:
        held = f"{MODEL} {version} is held."
        if context.questions is None or not context.questions.confirm(f"{held} Make it live all the same?"):
            yield Notice(f"{held} `switch {MODEL} {version}` makes it live all the same.")
            return
    before = store.make_live(MODEL, version)
    if context.chat is not None:
        context.chat.live.announced(MODEL, version)
    yield Switched(MODEL, version, before.version)


def _plan(paths: Paths, base: Base, splits: dict[str, list[Row]]) -> Row:
    named = {name: paths.processed / f"classification_{name}.jsonl" for name, rows in splits.items() if rows}
    return {
        "model": MODEL,
        "method": "probe",
        "base": base.name,
        "base_sha256": base.sha256,
        "dataset": paths.processed.name,
        "files": {path.name: {"sha256": files.sha256(path), "rows_read": len(splits[name])} for name, path in named.items()},
        "wordings": WORDINGS,
        "networks": probes.NETWORKS,
        "units": probes.UNITS,
        "penalty": probes.PENALTY,
        "epochs": probes.EPOCHS,
    }


def _card(paths: Paths, base: Base, version: str, judged: Judged, promote: bool, seconds: float) -> ModelCard:
    folder = Store(paths).version_folder(MODEL, version)
    return ModelCard(
        model=MODEL,
        version=version,
        run="",
        method="probe",
        base=base.name,
        base_sha256=base.sha256,
        dataset=paths.processed.name,
        dataset_sha256=files.sha256(paths.processed / "classification_train.jsonl"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=0,
        trained_tokens=0,
        seconds=round(seconds, 1),
        final_loss=0.0,
        adapter_bytes=(folder / FILE).stat().st_size,
        engines=("llama", "hf") if base.gguf else ("hf",),
        figures={
            "accuracy": {split: round(found["accuracy"], 4) for split, found in judged.splits.items()},
            "gate": "overruled" if judged.refusal and promote else "refused" if judged.refusal else "passed",
            "refusal": judged.refusal,
        },
    )


def _document(judged: Judged) -> Row:
    return {"splits": judged.splits, "gate": {"refusal": judged.refusal, "against": judged.rival, "gain": asdict(judged.gain)}}


def _report(document: Row, judged: Judged) -> Report:
    shown = "test" if "test" in judged.splits else next(iter(judged.splits))
    found = judged.splits[shown]
    rows = []
    for split, one in judged.splits.items():
        was = f"{one['live_accuracy']:.1%}" if one["live_accuracy"] is not None else "–"
        near = one["accuracy_interval"]
        rows.append((NAMES[split], str(one["rows"]), f"{one['accuracy']:.1%}", f"{near['low']:.1%} to {near['high']:.1%}", was))
    blocks: list[Block] = [
        Table(("questions", "rows", "right", "95% interval", judged.rival or "before"), tuple(rows)),
        Table(
            ("category", "precision", "recall", "F1", "rows"),
            tuple(_class(name, one) for name, one in found["classes"].items()),
            NAMES[shown],
        ),
        Table(
            ("true ↓ read →", *CATEGORIES),
            tuple((true, *(str(counts[read]) for read in CATEGORIES)) for true, counts in found["confusion"].items()),
            "Confusion",
        ),
    ]
    levels = tuple((level, value) for level, value in found["complexity_by_difficulty"].items() if value is not None)
    if levels:
        blocks.append(Chart("Mean complexity by difficulty", levels))
    apart = found["complexity_auroc"]["basic_advanced"]
    if apart is not None:
        blocks.append(Lines("", (f"complexity tells advanced from basic questions with an AUROC of {apart:.2f}",)))
    title = f"{MODEL} {document['version']}: {found['accuracy']:.1%} of {found['rows']} {shown} questions right"
    return Report(title, document, tuple(blocks))


def _class(name: str, found: dict[str, float]) -> tuple[str, ...]:
    return (name, *(f"{found[key]:.3f}" for key in ("precision", "recall", "f1")), str(found["support"]))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
