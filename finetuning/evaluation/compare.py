"""Compare models, versions or methods on the same questions in one base load: paired differences with intervals, a plain verdict."""

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import ModelError, UsageError
from assistant.core.events import Checked, Event, Finished, Lines, Notice, Report, Step, Table
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.router import classifier
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import blind as blind_picks
from finetuning.evaluation import consistency, run, suites
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.bootstrap import Interval, paired
from finetuning.evaluation.gate import Evidence, refusal
from finetuning.evaluation.proof import compared, row
from finetuning.evaluation.subjects import BASE, Subject, base_subject, distinct, find, version_subject

LIMIT = 100
# Questions shown with all answers: to read, and to pick from.
SHOWN, BLIND = 3, 10
# A system whose tokens a second differ by less is neither faster nor slower: runs on a busy machine vary so much.
SPEED_NOISE = 0.05
_AT = {"loss": "held-out text", "key_facts": "facts", "general": "general ability", "category": "categories"}

Document = dict[str, Any]


def compare(
    context: Context,
    models: Sequence[str] | None = None,
    on: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    suite: Sequence[str] | None = None,
    engine: str = "auto",
    show: int | None = None,
    gate: bool = False,
    fresh: bool = False,
    systems: Sequence[str] | None = None,
    blind: bool = False,
    repeat: int | None = None,
    learned: Collection[str] = (),
) -> Iterator[Event]:
    """Judge models on the same questions; the first named is what the others are measured against.

    Of versions that learned only some entries (``learned``, their ids) half of the rows are of these, as in their proofs.
    """
    _check_numbers(limit, show)
    if systems:
        others = {"on": on, "split": split, "suite": suite, "engine": engine != "auto", "gate": gate, "fresh": fresh, "blind": blind}
        others["repeat"] = repeat is not None
        yield from _in_ways(
            context, models, [name for name, given in others.items() if given], systems, limit, SHOWN if show is None else show
        )
        return
    _check(context, blind, repeat)
    paths = context.paths
    subjects = _subjects(paths, models)
    owner = on or _owner(subjects)
    settings = configuration.load(paths)
    base = engines.base_of(settings, paths)
    bench = Bench(paths, settings, base, subjects, engine, fresh)
    path, split = run.held_out_file(paths, owner, split)
    asked = held_out_rows.load(path, owner)
    asked = held_out_rows.half_of(asked, len(asked) if limit == 0 else limit or LIMIT, learned)
    chosen = run.pick(paths, suite)
    yield Step(f"{' and '.join(subject.label for subject in subjects)} on {len(asked)} rows of {path.name} ({bench.name})")
    try:
        proof, documents = (yield from _proof_of_base(bench)), []
        for subject in subjects:
            documents.append((yield from run.judge(bench, subject, asked, chosen)))
            if repeat:
                documents[-1]["consistency"] = yield from consistency.measure(bench, subject, asked, repeat)
    finally:
        bench.release()
    document = {"split": split, "file": path.name, "base": proof, "systems": documents, "comparisons": _comparisons(documents)}
    where = paths.logs / "evaluations" / "comparison.json"
    files.write_json(where, document)
    picked = (yield from _blind(context, documents, asked, BLIND if show is None else show)) if blind else None
    if picked is not None:
        document["blind"] = picked[0]
        files.write_json(where, document)
    yield _report(document, 0 if blind else SHOWN if show is None else show, str(where), picked)
    yield Notice(f"Every answer side by side is in {where}. `report` puts everything together.")
    if gate:
        yield from _gate(documents, split == "test_phrasing")


def sides(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """The held-out questions that all systems answered, with their answers side by side."""
    tables = [{item["id"]: item for item in document.get("held_out", {}).get("items", [])} for document in documents]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return [
        {
            "id": name,
            "question": tables[0][name]["question"],
            "reference": tables[0][name]["reference"],
            "answers": {document["subject"]: table[name]["answer"] for document, table in zip(documents, tables, strict=True)},
        }
        for name in shared
    ]


def plain(old: Document, new: Document) -> str:
    """The verdict in a sentence: better at …, same at …, worse at …, and the speed."""
    words: dict[str, list[str]] = {"better": [], "same": [], "worse": []}
    for one in compared(new, old):
        words["better" if one.better else "worse" if one.worse else "same"].append(_AT[one.measure])
    for name, gain in _suite_gains(old, new).items():
        words["better" if gain.above_zero else "worse" if gain.below_zero else "same"].append(name.replace("_", " "))
    parts = [f"{word} at {' and '.join(names)}" for word, names in words.items() if names]
    return f"{new['subject']}, measured against {old['subject']}: {', '.join([*parts, *_speed(old, new)])}."


def _in_ways(
    context: Context, models: Sequence[str] | None, others: Sequence[str], systems: Sequence[str], limit: int | None, show: int
) -> Iterator[Event]:
    """Ways of answering instead of models; ``others`` are the given flags that go with models only."""
    if models:
        raise UsageError("`--systems` compares ways of answering, not models.", "Leave the models out, or leave --systems out.")
    if others:
        named = ", ".join(f"--{name}" for name in others)
        raise UsageError(f"`--systems` does not go with {named}.", "Only --limit and --show go with it; leave the rest out.")
    # Here, because it needs no torch, and the chat's own parts instead.
    from finetuning.evaluation import ways

    yield from ways.compare(context, systems, limit, show)


def _check_numbers(limit: int | None, show: int | None) -> None:
    run.check_limit(limit)
    if show is not None and show < 0:
        raise UsageError(f"{show} questions cannot be shown.", "Give --show a number of questions, or 0 for none.")


def _check(context: Context, blind: bool, repeat: int | None) -> None:
    if blind and context.questions is None:
        raise UsageError("`--blind` asks a person, and nobody is there to ask.", "Run it in a terminal, without --json.")
    if repeat is not None and repeat < 2:
        raise UsageError(f"Asked {repeat} times there is nothing to agree with.", "Give --repeat 2 or more.")


def _blind(
    context: Context, documents: Sequence[Document], asked: Sequence[held_out_rows.Asked], show: int
) -> Generator[Event, None, tuple[Document, Lines]]:
    prompts = {one.id: one.messages for one in asked}
    shown = [blind_picks.Side(side["id"], prompts[side["id"]], side["answers"]) for side in sides(documents)]
    assert context.questions is not None
    picks = yield from blind_picks.ask(context.paths, context.questions, shown, show)
    return blind_picks.report(context.paths, picks)


def _subjects(paths: Paths, systems: Sequence[str] | None) -> list[Subject]:
    if systems:
        found = [find(paths, name) for name in systems]
    else:
        store = Store(paths)
        live = [(model, store.current(model).version) for model in store.models()]
        found = [base_subject(), *(version_subject(store, model, version) for model, version in live if version)]
    if any(subject.model == classifier.MODEL for subject in found):
        raise UsageError("The classifier reads questions and answers none.", "Judge it alone with `evaluate classifier`.")
    found = distinct(found)
    if len(found) < 2:
        known = ", ".join(f"{model}/{version}" for model in Store(paths).models() for version in Store(paths).versions(model))
        example = f"compare base {known.split(', ')[0] or 'unified'}"
        raise UsageError("A comparison needs two systems.", f"For example `{example}`. Versions: {known or 'none yet'}.")
    if any(subject.source for subject in found):
        raise UsageError("A whole model of its own base cannot share a base load with others.", "Judge it alone with `evaluate FOLDER`.")
    return found


def _owner(subjects: Sequence[Subject]) -> str:
    """Whose held-out rows are asked: the one model's that is compared, else the unified model's."""
    models = {subject.model for subject in subjects} - {"base"}
    return models.pop() if len(models) == 1 else "unified"


def _proof_of_base(bench: Bench) -> Generator[Event, None, Document]:
    """Show that the base is the base: its file's hash, and its log-probabilities with and without adapters resident."""
    actual = files.sha256(bench.base.gguf) if bench.base.gguf else ""
    if actual and actual != bench.base.sha256:
        raise ModelError(
            f"{bench.base.gguf} is not the base: its SHA-256 is {actual[:12]}… instead of {bench.base.sha256[:12]}….",
            "The file is damaged or was replaced. Delete it and start ./run_finetuning.sh again: the base is put in place anew.",
        )
    _ = bench.engine
    _ = bench.scorer
    apart = {name: round(value, 6) for name, value in bench.base_changes.items()}
    told = ", ".join(f"{value:g} on {name}" for name, value in apart.items())
    hashed = f"SHA-256 {'verified' if actual else 'not known'}"
    yield Checked("the base is the base", True, f"{hashed}; its log-probabilities with and without adapters are {told} apart")
    return {"name": bench.base.name, "sha256": actual, "sha256_is_right": True, "log_probabilities_apart": apart}


def _comparisons(documents: Sequence[Document]) -> list[Document]:
    first = documents[0]
    return [
        {
            "system": other["subject"],
            "against": first["subject"],
            "differences": [asdict(one) for one in compared(other, first)],
            "suites": {name: asdict(gain) for name, gain in _suite_gains(first, other).items()},
            "verdict": plain(first, other),
        }
        for other in documents[1:]
    ]


def _suite_gains(old: Document, new: Document) -> dict[str, Interval]:
    """The paired gain in accuracy on every suite but the general ability, which ``compared`` has."""
    gains = {}
    for name, part in new["suites"].items():
        before = {item["id"]: item["right"] for item in old["suites"].get(name, {}).get("items", [])}
        both = [item for item in part["items"] if item["id"] in before]
        if name != suites.GENERAL and both:
            gains[name] = paired([float(item["right"]) for item in both], [float(before[item["id"]]) for item in both])
    return gains


def _speed(old: Document, new: Document) -> list[str]:
    was, now = (document.get("speed", {}).get("tokens_per_second") for document in (old, new))
    if not was or not now:
        return []
    change = now / was - 1
    return ["as fast"] if abs(change) < SPEED_NOISE else [f"{'faster' if change > 0 else 'slower'} by {abs(change):.0%}"]


def _report(document: Document, show: int, where: str, picked: tuple[Document, Lines] | None) -> Report:
    documents = document["systems"]
    heads = ("system", "key-fact recall", "loss", *(name.replace("_", " ") for name in documents[0]["suites"]), "tokens/s")
    overview = Table(heads, tuple(map(_line, documents)))
    gains = tuple((*row(one)[:1], other["subject"], *row(one)[2:]) for other in documents[1:] for one in compared(other, documents[0]))
    differences = Table(("measure", "system", "before", "now", "gain", "95% interval"), gains, f"Against {documents[0]['subject']}, paired")
    verdicts = tuple(one["verdict"] for one in document["comparisons"])
    shown = sides(documents)[:show]
    told = [f"{head}: {text}" for side in shown for head, text in (("QUESTION", side["question"]), *side["answers"].items())]
    repeated = (consistency.table(documents),) if "consistency" in documents[0] else ()
    beside = (Lines("Side by side", tuple(told)),) if told else ()
    blocks = (overview, differences, *repeated, Lines("Verdict", verdicts), *beside, *((picked[1],) if picked else ()))
    data = {**run.without_items(document), "file": where, "answers": shown}
    return Report(f"{len(documents)} systems on {documents[0]['engine']}", data, blocks)


def _line(document: Document) -> tuple[str, ...]:
    found = document["held_out"]["figures"]
    facts = f"{found['key_fact_recall']['mean']:.1%}" if found["key_fact_recall"] else "–"
    rate = document.get("speed", {}).get("tokens_per_second")
    shares = (f"{part['accuracy']['mean']:.1%}" for part in document["suites"].values())
    return (document["subject"], facts, f"{found['loss']['mean']:.3f}", *shares, f"{rate:.0f}" if rate else "–")


def _gate(documents: Sequence[Document], taught: bool) -> Iterator[Event]:
    """Whether the last system may replace the first; no is exit status 1."""
    first, last = documents[0], documents[-1]
    live = None if first["subject"] == BASE else first["subject"]
    said = refusal(Evidence(last["model"], last["version"] or "", live, tuple(compared(last, first)), taught=taught))
    yield Checked("gate", not said, said or f"{last['subject']} is better than {first['subject']} and has forgotten nothing")
    if said:
        yield Finished(1)
