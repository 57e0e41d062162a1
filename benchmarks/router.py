"""The router on held-out questions: category, calibration, and what escalation gives for what it costs.

Judged on rows that nobody was trained on or calibrated on. Answers come from the engine of the chat and are kept under
ROOT/logs/evaluations, so a run that was broken off goes on where it was; --seconds bounds one run.

usage: python benchmarks/router.py [--root DIR] [--rows 240] [--seconds 250] [--only category|confidence|curve|everyday|overhead]
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from routing import SEED, OutOfTime, Router, Row, answered_by, hear, judged_rows, small_talk, table

from assistant.core.errors import ModelError
from assistant.core.facts import is_right
from assistant.core.paths import resolve
from assistant.core.settings import RouterSettings
from assistant.core.values import CATEGORIES, Message, Route, Sampling
from assistant.router import classifier, confidence, policy
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import calibrate, judging, reliability
from finetuning.evaluation.bootstrap import interval

# An everyday mix: six in ten are talk, three are plain questions, one is about software.
MIX = {"general": 0.6, "qna": 0.3, "technical": 0.1}
# The share of questions that may be handed over, and the thresholds that are tried.
MOST = 0.4
GRID = tuple(
    {"confidence": sure, "complexity": complex_ / 20, "unlikely": unlikely / 20}
    for sure in (0.0, 0.5, 0.7, 0.9)
    for complex_ in range(0, 21, 2)
    for unlikely in range(0, 19, 2)
)


def main() -> int:
    """Print one JSON document a part; status 3 when the time was not enough (run it again)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root")
    parser.add_argument("--rows", type=int, default=240, help="held-out questions of each part")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--only", choices=sorted(PARTS), action="append")
    given = parser.parse_args()
    try:
        router = Router(resolve(given.root), given.seconds)
    except ModelError as error:
        parser.exit(2, f"{error.what} {error.fix}\n")
    status = 0
    try:
        for name in given.only or PARTS:
            try:
                for document in PARTS[name](router, given.rows):
                    print(json.dumps({"part": name, "engine": router.bench.name, **document}), flush=True)
            except OutOfTime:
                print(f"{name}: out of time; run it again to go on", file=sys.stderr)
                status = 3
    finally:
        router.close()
    return status


def category(router: Router, rows: int) -> Iterator[dict[str, Any]]:
    """The classifier's accuracy on both test splits."""
    for split in ("test", "test_phrasing"):
        path = held_out_rows.file_of(router.paths, "unified", split, "classification")
        labelled = held_out_rows.labelled(path, rows)
        right = [float(router.read(text).judgement.category == wanted) for text, wanted, _ in labelled]
        yield {"split": split, "accuracy": judging.as_document(interval(right)), "categories": list(CATEGORIES)}


def calibration(router: Router, rows: int) -> Iterator[dict[str, Any]]:
    """Of every live model: calibration error and discrimination before and after, with the reliability diagram."""
    for model, subject in router.subjects.items():
        calibrated = router.calibrations[model]
        if calibrated is None:
            yield {"model": model, "calibrated": False}
            continue
        chosen = judged_rows(router.paths, model, rows)
        # What lies outside of a version's training the chat gives to the base.
        speakers = judging.speakers_of(router.bench, subject, [one.question for one in chosen])
        asked = [one for one, who in zip(chosen, speakers, strict=True) if who == subject]
        said = router.answers(model, asked, judging.decoding(router.bench, asked))
        right = [bool(is_right(one.text, row.facts)) for one, row in zip(said, asked, strict=True)]
        before = reliability.figures([confidence.raw(one.features) for one in said], right)
        states = [router.bench.state(one.question) for one in asked]
        after = reliability.figures([calibrated.whole.value(one.features, state) for one, state in zip(said, states, strict=True)], right)
        early = reliability.auroc([calibrated.early.value(one.early, state) for one, state in zip(said, states, strict=True)], right)
        yield {
            "model": model,
            "version": subject.version,
            "fitted_on": calibrated.rows,
            "outside_of_its_scope": len(chosen) - len(asked),
            "before": before,
            "after": after,
            "early_auroc": early,
        }


def curve(router: Router, rows: int) -> Iterator[dict[str, Any]]:
    """Recall of facts against the share of questions escalated: the policy, random, always, never, an oracle.

    Of the questions with facts alone, and of the held-out questions as they are, with the talk among them, which may be escalated in vain.
    """
    found = list(table(router, rows))
    talk = list(small_talk(router, len(found)))
    for measure in ("expert", "all"):
        yield {"facts": measure, "questions": "with facts", **_curve(router, found, [], measure)}
        yield {"facts": measure, "questions": "all", **_curve(router, found, talk, measure)}


def _curve(router: Router, found: Sequence[Row], talk: Sequence[Row], measure: str) -> dict[str, Any]:
    never = statistics.fmean(row.recall(row.reading.first.model, measure) for row in found)
    always = statistics.fmean(row.recall(row.asked.category, measure) for row in found)
    gains = sorted((row.gain(measure) for row in found), reverse=True)

    def point(changes: dict[str, float]) -> dict[str, Any]:
        share, quality = cost_and_quality(router, found, talk, _changed(router, changes), measure)
        best = never + sum(max(gain, 0.0) for gain in gains[: round(share * (len(found) + len(talk)))]) / len(found)
        figures = {"share": share, "recall": quality, "random": never + share * (always - never), "oracle": best}
        return {**changes, **{key: round(value, 4) for key, value in figures.items()}, "closed": _closed(quality, never, always)}

    return {
        "rows": len(found),
        "talk": len(talk),
        "never": round(never, 4),
        "always": round(always, 4),
        "gap": judging.as_document(interval(gains)),
        "policy": point({}),
        f"at_most_{MOST:.0%}": _chosen_elsewhere(router, found, talk, measure),
        "sweep": [point(changes) for changes in GRID],
    }


def _chosen_elsewhere(router: Router, found: Sequence[Row], talk: Sequence[Row], measure: str) -> dict[str, Any]:
    """The thresholds that close most with at most ``MOST`` handed over, chosen on one half of the questions and judged on the other."""
    halves = [(found[place::2], talk[place::2]) for place in (0, 1)]
    shares, closed, chosen = [], [], []
    for fit, judge in (halves, halves[::-1]):
        affordable = [
            (quality, changes)
            for changes in GRID
            for share, quality in [cost_and_quality(router, *fit, _changed(router, changes), measure)]
            if share <= MOST
        ]
        best = max(affordable, key=lambda one: one[0])[1]
        share, quality = cost_and_quality(router, *judge, _changed(router, best), measure)
        never = statistics.fmean(row.recall(row.reading.first.model, measure) for row in judge[0])
        always = statistics.fmean(row.recall(row.asked.category, measure) for row in judge[0])
        shares.append(round(share, 4))
        closed.append(_closed(quality, never, always))
        chosen.append(best)
    return {"chosen": chosen, "shares": shares, "closed": closed}


def _closed(quality: float, never: float, always: float) -> float | None:
    return round((quality - never) / (always - never), 4) if always != never else None


def _changed(router: Router, changes: dict[str, float]) -> RouterSettings:
    return replace(router.settings, near=0.0, **changes)


def everyday(router: Router, rows: int) -> Iterator[dict[str, Any]]:
    """The share of an everyday mix that no specialist is asked for, and that the unified model answers alone, weighted by the mix."""
    files_of = [("general", "basic"), ("qna", "basic"), ("technical", "basic")]
    shares, unified = {}, {}
    for name, level in files_of:
        everything = held_out_rows.load(held_out_rows.file_of(router.paths, "unified", "test_phrasing"), "unified")
        fitted = {one.id for one in calibrate.parts(router.paths, "unified")[0]}
        mine = [
            one for one in everything if one.category == name and (name == "general" or one.difficulty == level) and one.id not in fitted
        ]
        mine = random.Random(SEED).sample(mine, min(len(mine), rows // 3))
        sampling = judging.decoding(router.bench, held_out_rows.load(held_out_rows.file_of(router.paths, "unified", "test"), "unified"))
        answering = [answered_by(router, hear(router, one, sampling), router.settings) for one in mine]
        alone = [(float(model in policy.DEFAULTS), float(model == "unified")) for model in answering]
        shares[name], unified[name] = (judging.as_document(interval(list(values))) for values in zip(*alone, strict=True))
    kept, own = (round(sum(MIX[name] * found[name]["mean"] for name in MIX), 4) for found in (shares, unified))
    yield {"mix": MIX, "without_a_specialist": kept, "by_unified_alone": own, "by_category": shares, "unified_by_category": unified}


def overhead(router: Router, rows: int) -> Iterator[dict[str, Any]]:
    """What a decision costs: the classifier's reading, and confidence with policy."""
    questions = [
        text for text, _, _ in held_out_rows.labelled(held_out_rows.file_of(router.paths, "unified", "test", "classification"), 30)
    ]
    engine, times = router.bench.engine, []
    assert router.probe is not None
    for question in questions:
        began = time.perf_counter()
        state = classifier.state(engine, question)
        judgement = router.probe.judge(state)
        for fitted in filter(None, router.scopes.values()):
            fitted.covers(question, state)
        times.append(time.perf_counter() - began)
    tokens = list(engine.stream(engine.format.encode([Message("user", questions[0])]), None, Sampling(max_tokens=60), lambda: False))
    began = time.perf_counter()
    for _ in range(50):
        value = confidence.features(tokens)
        calibrated = router.calibrations["unified"]
        share = calibrated.whole.value(value, state) if calibrated else 0.5
        policy.after(_ROUTE, judgement, 0.5, share, router.trained, router.settings)
    decided = (time.perf_counter() - began) / 50
    yield {
        "read_ms": round(statistics.median(times) * 1000, 1),
        "read_ms_p95": round(sorted(times)[-2] * 1000, 1),
        "decide_ms": round(decided * 1000, 3),
    }


def cost_and_quality(
    router: Router, rows: Sequence[Row], talk: Sequence[Row], settings: RouterSettings, measure: str
) -> tuple[float, float]:
    """The share of questions the policy escalates, and the recall it reaches on those with facts."""
    finally_by = [answered_by(router, row, settings) for row in rows]
    escalated = [model not in policy.DEFAULTS for model in [*finally_by, *(answered_by(router, row, settings) for row in talk)]]
    return statistics.fmean(escalated), statistics.fmean(row.recall(model, measure) for row, model in zip(rows, finally_by, strict=True))


_ROUTE = Route("unified", None, "")
PARTS: dict[str, Callable[[Router, int], Iterator[dict[str, Any]]]] = {
    "category": category,
    "confidence": calibration,
    "curve": curve,
    "everyday": everyday,
    "overhead": overhead,
}

if __name__ == "__main__":
    sys.exit(main())
