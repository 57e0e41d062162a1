"""The proof of a new version: it, the live one and the base on the same questions, and what the gate says."""

from collections.abc import Collection, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from assistant.core.errors import DataError, ModelError
from assistant.core.events import Checked, Event, Lines, Notice, Report, Step, Table
from assistant.core.paths import Paths
from assistant.core.prompts import system_prompt
from assistant.core.settings import Settings
from assistant.core.store import Store
from assistant.core.values import Adapter, Message
from assistant.engine.base import Base
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import calibrate, judging, run, suites
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.bootstrap import paired
from finetuning.evaluation.gate import NAMES, Difference, Evidence, refusal, verdict
from finetuning.evaluation.subjects import Subject, base_subject, version_subject

# Held-out rows of a proof, and questions asked twice for the noise: enough for an interval of about ±0.08, few enough for two minutes.
ROWS = 120
REPEATED = 24
# A row's loss depends a little on the rows beside it (bf16), and a consistent gain this small, on few rows, says nothing of use.
LOSS_NOISE = 0.02

Document = dict[str, Any]
Pair = tuple[Sequence[int], Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof gave: why the version must not go live ("" when it may), the words, and the documents.

    ``live`` is the live version it was compared with, None when the base answered.
    """

    refusal: str
    verdict: tuple[str, ...]
    document: Document
    live: str | None = None


def prove(
    paths: Paths,
    settings: Settings,
    base: Base,
    model: str,
    version: str,
    adapter: Adapter,
    rows: int = ROWS,
    questions: int = 0,
    pairs: Sequence[Pair] = (),
    learned: Collection[str] = (),
    system: str = "",
) -> Generator[Event, None, Proof]:
    """Judge a new version against the live one and the base; the document goes beside the version.

    Its card need not be written yet, so ``system`` is its system prompt. All are judged on ``base`` as the chat loads it, whatever form of
    it the version was trained on. ``rows`` held-out rows and ``questions`` of general ability (0: all) are asked; of ``pairs`` (prompt,
    chosen and rejected answer, as token ids) the chosen answer shall be the likelier one, a token. Of a version that learned only some
    entries of its dataset (``learned``, their ids) half of the rows are of these. Broken off, it goes on where it was: answers are kept.
    """
    new = Subject(f"{model} {version}", model, version, adapter, system=system)
    live = yield from _live(Store(paths), base, model, version)
    rivals = [*([live] if live else []), base_subject()]
    bench = Bench(paths, settings, base, [new, *rivals])
    try:
        (asked, split), general = _asked(paths, model, rows, learned), spread(suites.load(suites.GENERAL), questions)
        of = f" ({sum(one.entry in learned for one in asked)} of what it learned)" if learned else ""
        asking = f"{len(asked)} held-out rows{of}, {len(general.questions)} general questions"
        yield Step(f"Proving {new.label} against {' and '.join(rival.label for rival in rivals)} on {bench.name}: {asking}")
        documents: dict[str, Document] = {}
        for subject in (new, *rivals):
            documents[subject.label] = yield from run.judge(bench, subject, asked, [general], with_speed=subject is new)
        yield from _classified(bench, new, rivals, documents, rows)
        for subject in (new, *rivals) if pairs else ():
            documents[subject.label]["preference"] = yield from _preferred(bench, subject, pairs)
        noise = yield from _noise(bench, new, general, documents[new.label]["suites"][general.name])
        effects = {bench.name: judging.effect(bench, new, asked or _stand_ins(general))}
        # The base speaks for itself only where its own rows are asked.
        judged = [new, *(rival for rival in rivals if model == "unified" and rival.adapter is None)]
        yield from calibrate.after_proof(bench, judged, asked, rows)
    finally:
        bench.release()
    differences = tuple(one for rival in rivals for one in compared(documents[new.label], documents[rival.label], noise))
    evidence = Evidence(model, version, live.label if live else None, differences, effects, split == "test_phrasing")
    said = refusal(evidence)
    document = {**documents[new.label], "gate": _gate(evidence, said, noise, documents)}
    run.write(paths, new, "evaluation.json", document)
    yield _report(evidence, said)
    yield Checked("gate", not said, said or "better than what answers now, and nothing is forgotten")
    return Proof(said, verdict(evidence), document, live.version if live else None)


def spread(suite: suites.Suite, questions: int) -> suites.Suite:
    """At most so many questions of a suite, evenly from all of its groups."""
    count = len(suite.questions)
    if not 0 < questions < count:
        return suite
    return replace(suite, questions=tuple(suite.questions[place * count // questions] for place in range(questions)))


def compared(new: Document, old: Document, noise: float = 0.0) -> list[Difference]:
    """The differences between two documents over the questions they share, each turned so that above 0 is better."""
    rival, found = old["subject"], []
    rows, others = _by_id(new.get("held_out")), _by_id(old.get("held_out"))
    both = [name for name in rows if name in others]
    if both:
        tokens = [rows[name]["reference_tokens"] for name in both]
        gain = paired([others[name]["loss"] for name in both], [rows[name]["loss"] for name in both], weights=tokens)
        found.append(Difference("loss", rival, _weighted(rows, both), _weighted(others, both), gain, LOSS_NOISE))
    facts = [name for name in both if rows[name]["recall"] is not None]
    if facts:
        found.append(_difference("key_facts", rival, [rows[n]["recall"] for n in facts], [others[n]["recall"] for n in facts], 0.0))
    preferred, did = (_by_id(one.get("preference")) for one in (new, old))
    if preferred and did:
        right, was = ([float(one[name]["right"]) for name in preferred] for one in (preferred, did))
        found.append(_difference("preference", rival, right, was, 0.0))
    labels, read = (_by_id(one.get("classification")) for one in (new, old))
    labelled = [name for name in labels if name in read]
    if labelled:
        right, was = ([float(one[name]["right"]) for name in labelled] for one in (labels, read))
        found.append(_difference("category", rival, right, was, 0.0))
    general, before = (_by_id(one.get("suites", {}).get(suites.GENERAL)) for one in (new, old))
    asked = [name for name in general if name in before]
    if asked:
        right, was = ([float(one[name]["right"]) for name in asked] for one in (general, before))
        found.append(_difference("general", rival, right, was, noise))
    return found


def _difference(measure: Any, rival: str, new: Sequence[float], old: Sequence[float], noise: float) -> Difference:
    return Difference(measure, rival, sum(new) / len(new), sum(old) / len(old), paired(new, old), noise)


def _live(store: Store, base: Base, model: str, version: str) -> Generator[Event, None, Subject | None]:
    """The live version, when it can answer on this base."""
    try:
        live = store.current(model).version
        if live is None or live == version:
            return None
        card = store.card(model, live)
    except ModelError as error:
        yield Notice(f"What is live cannot be compared: {error.what}", "warning")
        return None
    if card.base != base.name or (card.base_sha256 and base.sha256 and card.base_sha256 != base.sha256):
        yield Notice(f"{model} {live} stands on another base ({card.base}) and is not compared.", "warning")
        return None
    return version_subject(store, model, live)


def _classified(
    bench: Bench, new: Subject, rivals: Sequence[Subject], documents: dict[str, Document], rows: int
) -> Generator[Event, None, None]:
    """Add the classifier's figures to the documents of a version that brings a classifier of its own, and to its rivals'."""
    path = held_out_rows.file_of(bench.paths, "unified", "test", "classification")
    probes = {subject.label: run.probe_of(subject) for subject in (new, *rivals)}
    if new.model != "unified" or not path.is_file() or all(probe == probes[new.label] for probe in probes.values()):
        return
    labels = held_out_rows.labelled(path, rows)
    for label, probe in probes.items():
        documents[label]["classification"] = yield from judging.classification(bench, probe, labels)


def _preferred(bench: Bench, subject: Subject, pairs: Sequence[Pair]) -> Generator[Event, None, Document]:
    """How many held-out pairs a subject orders as they were chosen, by the mean log-probability of a token."""
    both = [(prompt, answer) for prompt, *answers in pairs for answer in answers]
    means = [sum(row) / len(row) for row in (yield from bench.scores(subject, both, "answers of pairs"))]
    items = [{"id": str(place), "right": means[2 * place] > means[2 * place + 1]} for place in range(len(pairs))]
    return {"accuracy": sum(item["right"] for item in items) / len(items), "pairs": len(items), "items": items}


def _asked(paths: Paths, model: str, rows: int, learned: Collection[str]) -> tuple[list[Asked], str]:
    try:
        path, split = held_out_rows.best_file(paths, model)
    except DataError:
        return [], ""
    return held_out_rows.half_of(held_out_rows.load(path, model), rows, learned), split


def _noise(bench: Bench, new: Subject, general: suites.Suite, before: Document) -> Generator[Event, None, float]:
    """How far the same questions, asked again in another order, come apart in accuracy."""
    again = general.questions[:: max(1, len(general.questions) // REPEATED)][::-1]
    second = yield from judging.suite(bench, new, general, again, again=True)
    first = _by_id(before)
    changed = sum(first[item["id"]]["right"] != item["right"] for item in second["items"])
    return changed / len(second["items"])


def _stand_ins(general: suites.Suite) -> list[Asked]:
    system = Message("system", system_prompt("unified"))
    chosen = general.questions[: judging.EFFECT_PROMPTS]
    return [Asked(one.id, "unified", (system, Message("user", one.turns[0].user)), "", (), (), "", "") for one in chosen]


def _by_id(part: Document | None) -> dict[str, Document]:
    return {item["id"]: item for item in part["items"]} if part else {}


def _weighted(rows: dict[str, Document], names: Sequence[str]) -> float:
    tokens = sum(rows[name]["reference_tokens"] for name in names)
    return sum(rows[name]["loss"] * rows[name]["reference_tokens"] for name in names) / tokens


def _gate(evidence: Evidence, said: str, noise: float, documents: dict[str, Document]) -> Document:
    return {
        "refusal": said,
        "verdict": list(verdict(evidence)),
        "live": evidence.live,
        "noise": round(noise, 4),
        "effects": {engine: round(value, 4) for engine, value in evidence.effects.items()},
        "differences": [asdict(one) for one in evidence.differences],
        "rivals": {label: run.without_items(document) for label, document in documents.items()},
    }


def row(one: Difference) -> tuple[str, ...]:
    """A difference as a table's row: measure, rival, before, now, gain, interval."""
    values = (f"{one.old:.3f}", f"{one.new:.3f}", f"{one.gain.mean:+.3f}", f"{one.gain.low:+.3f} to {one.gain.high:+.3f}")
    return (NAMES[one.measure], one.against, *values)


def _report(evidence: Evidence, said: str) -> Report:
    rows = tuple(row(one) for one in evidence.differences)
    title = f"{evidence.model} {evidence.version}: " + ("it may go live" if not said else "held")
    data = {"model": evidence.model, "version": evidence.version, "refusal": said, "verdict": list(verdict(evidence))}
    table = Table(("measure", "against", "before", "now", "gain", "95% interval"), rows)
    return Report(title, data, (table, Lines("", verdict(evidence))))
