"""The second stage: keep the good rows, and say of every other which rule was against it and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from assistant.core import files
from assistant.core.events import Event, Lines, Report, Step, Table
from assistant.core.facts import normalise
from assistant.core.paths import Paths
from finetuning.data.audit import question_of, split_of
from finetuning.data.dedupe import near_duplicates
from finetuning.evaluation import suites
from finetuning.synthetic import arrays, raw
from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.rules import RULES, judge, judge_request
from finetuning.synthetic.stage import Stage
from finetuning.synthetic.topics import PREFIX

KEPT, REJECTED, STATISTICS = "instructions_filtered", "instructions_rejected", "filtering_stats"
# Requests that are sound by themselves: where only the answer was rejected, others may be written.
REQUESTS = "requests_filtered"
NEAR, LEAK = "near_duplicate", "leakage"
# All rules by the order in which they are counted.
NAMES = (*RULES, NEAR, LEAK)
EXAMPLES = 3
# Splits that judge, by their places in the audit's list of splits: everything but the trained rows.
_JUDGED = (1, 2, 3)
_ASKED = ("id", "category", "instruction")
Judge = Callable[[dict[str, Any], SyntheticConfig], tuple[str, str]]


def run(stage: Stage, before: Stage, config: SyntheticConfig, paths: Paths) -> Iterator[Event]:
    """Judge all raw rows. It takes seconds and gives the same every time, so it is done as a whole."""
    source = before.done()
    full = before.file(raw.FULL)
    yield Step(f"Judging {source['rows']:,} rows by {len(NAMES)} rules")
    everything, held = list(arrays.read(full)), held_out(paths)
    reasons = verdicts(everything, config, held)
    sound = verdicts(everything, config, held, judge_request)
    stage.folder.mkdir(parents=True, exist_ok=True)
    rows = lambda kept: (_kept(row, rule, why) for row, (rule, why) in zip(everything, reasons, strict=True) if (not rule) is kept)  # noqa: E731
    kept = arrays.write(stage.file(KEPT), rows(True))
    rejected = arrays.write(stage.file(REJECTED), rows(False))
    asked = ({name: row[name] for name in _ASKED} for row, (rule, _) in zip(everything, sound, strict=True) if not rule)
    requests = arrays.write(stage.file(REQUESTS), asked)
    counts = Counter(rule for rule, _ in reasons if rule)
    figures = {
        "rows": kept + rejected,
        "kept": kept,
        "share_kept": round(kept / len(reasons), 4) if reasons else None,
        "sound_requests": requests,
        "rejected": {name: counts[name] for name in NAMES},
    }
    files.write_json(stage.file(STATISTICS), figures)
    figures["of_the_kept"] = raw.statistics(arrays.read(stage.file(KEPT)))
    stage.note("done", {"raw_sha256": files.sha256(full)}, rows=kept, statistics=figures)
    yield report(stage, figures)


def verdicts(rows: list[dict[str, Any]], config: SyntheticConfig, held: Iterable[str], judge: Judge = judge) -> list[tuple[str, str]]:
    """For each row the rule against it and the reason, two empty texts for a row to keep.

    Of nearly equal requests the first one that passed everything else is kept, so more rows behind these never change what is kept of them.
    """
    found = [judge(row, config) for row in rows]
    passed = [place for place, (rule, _) in enumerate(found) if not rule]
    texts = [rows[place]["instruction"] for place in passed]
    for place, why in _leaks(texts, list(held), config.leak).items():
        found[passed[place]] = (LEAK, why)
    passed = [place for place in passed if not found[place][0]]
    for later, earlier in _repeated([rows[place]["instruction"] for place in passed], config.near_duplicate).items():
        found[passed[later]] = (NEAR, f"nearly the same instruction as {rows[passed[earlier]]['id']}")
    return found


def held_out(paths: Paths) -> list[str]:
    """Every question that judges models here: the splits of all datasets that are not trained, and the suites."""
    texts: dict[str, None] = {}
    for path in sorted(paths.datasets.glob("*/*.jsonl")):
        if split_of(path.name) in _JUDGED:
            for row in files.read_jsonl(path):
                if str(row.get("id", "")).startswith(PREFIX):
                    # A domain that was made of these very rows.
                    continue
                text = question_of(row, "classification" if "text" in row else "unified")
                # Of a conversation its last question counts.
                texts[text.rpartition("\nUser: ")[2]] = None
    for name in suites.names():
        for question in suites.load(name).questions:
            texts.update(dict.fromkeys(turn.user for turn in question.turns))
    return [text for text in texts if text.strip()]


def report(stage: Stage, figures: dict[str, Any]) -> Report:
    """How many rows each rule took, with examples of its reasons."""
    reasons: dict[str, list[str]] = {name: [] for name in NAMES}
    for row in arrays.read(stage.file(REJECTED)):
        if len(reasons[row["rule"]]) < EXAMPLES:
            reasons[row["rule"]].append(f"{row['id']}: {row['reason']}")
    table = tuple((name, f"{count:,}", f"{count / figures['rows']:.0%}") for name, count in figures["rejected"].items() if count)
    shown = tuple(line for name in NAMES for line in reasons[name][:1])
    title = f"{figures['kept']:,} of {figures['rows']:,} rows are kept; of {figures['sound_requests']:,} the request is sound"
    return Report(title, figures, (Table(("rule", "rows", "share"), table, "Rejected"), Lines("For example", shown)))


def _leaks(texts: list[str], held: list[str], threshold: float) -> dict[int, str]:
    """The places of texts that are, or are nearly, a held-out question."""
    if not texts or not held:
        return {}
    bare = {normalise(text): text for text in held}
    found = {place: f"the same as a held-out question: “{text[:60]}”" for place, text in enumerate(texts) if normalise(text) in bare}
    parts = [0] * len(texts) + [1] * len(held)
    for pair in near_duplicates([*texts, *held], threshold, parts):
        if pair.first < len(texts) <= pair.second:
            found.setdefault(pair.first, f"{pair.likeness:.2f} like the held-out question “{held[pair.second - len(texts)][:60]}”")
    return found


def _repeated(texts: list[str], threshold: float) -> dict[int, int]:
    """Of each text that is like an earlier kept one, the place of that one."""
    alike: dict[int, list[int]] = {}
    for pair in near_duplicates(texts, threshold):
        alike.setdefault(pair.second, []).append(pair.first)
    first = {}
    for place, text in enumerate(texts):
        first.setdefault(normalise(text), place)
        if first[normalise(text)] != place:
            alike.setdefault(place, []).append(first[normalise(text)])
    dropped: dict[int, int] = {}
    for later in sorted(alike):
        kept = [earlier for earlier in sorted(alike[later]) if earlier not in dropped]
        if kept:
            dropped[later] = kept[0]
    return dropped


def _kept(row: dict[str, Any], rule: str, why: str) -> dict[str, Any]:
    return {**row, "rule": rule, "reason": why} if rule else row
