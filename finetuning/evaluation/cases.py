"""The automatic test cases of each category and domain, asked of the chat as it is now; a failed check is exit status 1. No torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Checked, Event, Finished, Lines, Progress, Report, Step, Table, TurnDone
from assistant.core.facts import facts_present
from assistant.core.paths import Paths
from assistant.core.values import CATEGORIES, Reply
from finetuning.data.cases import FILE
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import suites
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.checkers import all_kept
from finetuning.evaluation.suites import Question

# Of what was taught, so much must be right; of all answers, so much must be sound in form.
RIGHT_SHARE = 0.6
SOUND_SHARE = 0.8
LIMIT = 5
Kind = Literal["taught", "unseen", "own"]
TOLD: dict[Kind, str] = {
    "taught": "trained entries in other words, or as they were trained",
    "unseen": "held-out entries that no training saw: only the form of the answer is demanded",
    "own": f"{FILE}",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One question of a category, and what makes its answer right: key facts, a suite's checks, or nothing (then only its form counts)."""

    category: str
    kind: Kind
    model: str
    question: str
    facts: tuple[str, ...] = ()
    suite: Question | None = None

    @property
    def judged(self) -> bool:
        """Whether an answer can be right or wrong."""
        return bool(self.facts) or self.suite is not None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case. ``right`` is None where nothing decides it; a ``sound`` answer is there, ends, and does not go in circles."""

    case: Case
    answer: str
    model: str
    right: bool | None
    sound: bool


def test(context: Context, categories: Sequence[str] | None = None, limit: int = LIMIT, show: int = 3) -> Iterator[Event]:
    """Ask the cases of every category and judge them; status 1 when a category does not pass."""
    if limit < 1:
        raise UsageError(f"A limit of {limit} cases is none.", "Give 1 or more.")
    cases = collect(context.paths, categories, limit)
    yield Step(f"Asking {len(cases)} test cases of {len({case.category for case in cases})} categories")
    live = context.chat.live if context.chat is not None else Live(context.paths, configuration.load(context.paths))
    results = []
    try:
        for number, case in enumerate(cases, 1):
            results.append(_run(context.paths, live, case))
            yield Progress(number, len(cases), "cases", {"right": float(sum(bool(result.right) for result in results))})
    finally:
        if context.chat is None:
            live.release()
    yield from judged(results, show)


def collect(paths: Paths, categories: Sequence[str] | None, limit: int) -> list[Case]:
    """The cases of the wanted categories (None: all there are); an unknown one is a UsageError."""
    found = {**_generated(paths, limit), **{name: _domain(paths, name, limit) for name in domains(paths)}}
    unknown = [name for name in categories or () if name not in found]
    if unknown:
        raise UsageError(
            f"There are no test cases of {', '.join(unknown)}.",
            f"Categories with test cases: {', '.join(found) or 'none yet; `generate` and `import` write them'}.",
        )
    cases = [case for name in categories or found for case in found[name]]
    if not cases:
        raise DataError("There are no test cases yet.", "`generate` writes those of PZ2's own data, `import` those of your file.")
    return cases


def domains(paths: Paths) -> list[str]:
    """The domains of this root that were imported."""
    if not paths.datasets.is_dir():
        return []
    return sorted(
        folder.name for folder in paths.datasets.iterdir() if (folder / "manifest.json").is_file() and (folder / "train.jsonl").is_file()
    )


def judged(results: Sequence[Result], show: int) -> Iterator[Event]:
    """The checks, the table, and the exit status of asked cases."""
    rows: list[tuple[str, ...]] = []
    data: list[dict[str, Any]] = []
    for category, kind in dict.fromkeys((result.case.category, result.case.kind) for result in results):
        part = [result for result in results if (result.case.category, result.case.kind) == (category, kind)]
        line = _line(category, kind, part)
        data.append(line)
        rows.append(_cells(line))
        yield Checked(f"{category} ({kind})", line["passed"], line["reason"])
    failed = [result for result in results if result.right is False or not result.sound]
    shown = [Lines(f"{one.case.category}: {one.case.question}", (f"{one.model}: {_short(one.answer)}", _why(one))) for one in failed[:show]]
    title = "Every category passes" if all(line["passed"] for line in data) else "Not every category passes"
    heads = ("category", "cases", "answered by", "judged", "right", "sound", "check")
    kinds = tuple(f"{kind}: {TOLD[kind]}" for kind in dict.fromkeys(result.case.kind for result in results))
    document = {"passed": all(line["passed"] for line in data), "categories": data, "cases": [_item(result) for result in results]}
    yield Report(title, document, (Table(heads, tuple(rows)), Lines("", kinds), *shown))
    if not document["passed"]:
        yield Finished(1)


def _generated(paths: Paths, limit: int) -> dict[str, list[Case]]:
    """The cases of the three categories, from the unseen wordings of what the unified model is trained on."""
    try:
        path, split = held_out_rows.best_file(paths, "unified")
    except DataError:
        return {}
    rows = held_out_rows.load(path, "unified")
    kind: Kind = "taught" if split == "test_phrasing" else "unseen"
    found = {name: _chosen([row for row in rows if row.category == name], name, kind, "auto", limit) for name in CATEGORIES}
    return {name: cases for name, cases in found.items() if cases}


def _domain(paths: Paths, name: str, limit: int) -> list[Case]:
    """The cases of a domain: its test cases by category, then its held-out rows."""
    folder = paths.datasets / name
    cases: list[Case] = []
    if (folder / FILE).is_file():
        for group, questions in _by_group(suites.read(folder / FILE).questions).items():
            category = name if group == "all" else f"{name}: {group}"
            cases += [Case(category, "own", name, one.turns[-1].user, suite=one) for one in questions[:limit]]
    test = folder / "test.jsonl"
    if test.is_file() and test.stat().st_size:
        cases += _chosen(held_out_rows.load(test, name), name, "unseen", name, limit)
    return cases


def _chosen(rows: Sequence[Asked], category: str, kind: Kind, model: str, limit: int) -> list[Case]:
    """Cases of rows of one question; those with key facts first, where they are demanded."""
    single = [row for row in held_out_rows.choose(rows, len(rows)) if len(row.messages) == 2]
    if kind == "taught":
        single.sort(key=lambda row: not row.facts)
    return [Case(category, kind, model, row.question, row.facts) for row in single[:limit]]


def _run(paths: Paths, live: Live, case: Case) -> Result:
    """Ask a case as a conversation of its own."""
    session = Session(paths, live, greedy=True, pinned=None if case.model == "auto" else case.model)
    if case.suite is None:
        reply = _said(session, case.question)
        right = len(facts_present(reply.answer, case.facts)) == len(case.facts) if case.facts else None
        return Result(case, reply.answer, _name(reply), right, _is_sound(reply))
    replies: list[Reply] = []
    kept = True
    for turn in case.suite.turns:
        replies.append(_said(session, turn.user))
        kept &= all_kept(turn.checks, replies[-1].answer, [reply.answer for reply in replies[:-1]])
    return Result(case, replies[-1].answer, _name(replies[-1]), kept, all(map(_is_sound, replies)))


def _said(session: Session, question: str) -> Reply:
    # When an answer is handed over, the specialist's comes last.
    return [event.reply for event in session.say(question) if isinstance(event, TurnDone)][-1]


def _is_sound(reply: Reply) -> bool:
    return bool(reply.answer.strip()) and reply.stopped == "end"


def _line(category: str, kind: Kind, part: Sequence[Result]) -> dict[str, Any]:
    """The figures of one category's cases, and whether they pass."""
    decided = [result.right for result in part if result.right is not None]
    right, sound = sum(decided), sum(result.sound for result in part)
    reasons = []
    if kind != "unseen" and decided and right < RIGHT_SHARE * len(decided):
        reasons.append(f"{right} of {len(decided)} right, {RIGHT_SHARE:.0%} are demanded")
    if sound < SOUND_SHARE * len(part):
        reasons.append(f"{sound} of {len(part)} answers sound in form, {SOUND_SHARE:.0%} are demanded")
    figures = f"{right} of {len(decided)} right" if decided else f"{sound} of {len(part)} sound; nothing to judge by but the form"
    return {
        "category": category,
        "kind": kind,
        "cases": len(part),
        "answered_by": sorted({result.model for result in part}),
        "judged": len(decided),
        "right": right,
        "sound": sound,
        "passed": not reasons,
        "reason": "; ".join(reasons) or figures,
    }


def _cells(line: dict[str, Any]) -> tuple[str, ...]:
    right = str(line["right"]) if line["judged"] else "–"
    verdict = "passed" if line["passed"] else "failed"
    counts = (str(line["cases"]), ", ".join(line["answered_by"]), str(line["judged"]), right, str(line["sound"]))
    return (f"{line['category']} ({line['kind']})", *counts, verdict)


def _item(result: Result) -> dict[str, Any]:
    return {
        "category": result.case.category,
        "kind": result.case.kind,
        "question": result.case.question,
        "answer": result.answer,
        "answered_by": result.model,
        "right": result.right,
        "sound": result.sound,
    }


def _why(result: Result) -> str:
    if not result.sound:
        return "not sound: it does not end, goes in circles, or is empty"
    if result.case.facts:
        present = facts_present(result.answer, result.case.facts)
        return f"missing: {', '.join(fact for fact in result.case.facts if fact not in present)}"
    return "does not keep what its case demands"


def _by_group(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Questions by group; those that are answered by choosing need likelihoods, which the chat has not."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        if not question.choices:
            groups.setdefault(question.group, []).append(question)
    return groups


def _name(reply: Reply) -> str:
    return f"{reply.model} {reply.version}" if reply.version else reply.model


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"
