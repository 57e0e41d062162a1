"""Held-out questions as the router meets them: what it reads of each, what each model says, and who answers in the end."""

import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.errors import ModelError
from assistant.core.facts import recall
from assistant.core.paths import Paths
from assistant.core.settings import RouterSettings
from assistant.core.store import Store
from assistant.core.values import Judgement, Route, Sampling
from assistant.engine import base as engines
from assistant.router import classifier, confidence, policy, scope
from assistant.router.complexity import complexity
from finetuning.evaluation import asked as held_out_rows
from finetuning.evaluation import calibrate, judging, subjects
from finetuning.evaluation.asked import Asked
from finetuning.evaluation.bench import Bench, Said

SEED = 42


class OutOfTime(Exception):
    """The seconds of this run are over; what was answered is kept."""


@dataclass(frozen=True, slots=True)
class Row:
    """A held-out question with each model's answer and what the router reads."""

    asked: Asked
    expert_facts: tuple[str, ...]
    reading: "Reading"
    said: dict[str, Said]

    def recall(self, model: str, measure: str) -> float:
        """The recall by a model's answer of what the expert adds (``expert``), or of the key facts as well (``all``)."""
        facts = self.expert_facts if measure == "expert" else (*self.asked.facts, *self.expert_facts)
        return recall(self.said[model].text, facts) or 0.0

    def gain(self, measure: str) -> float:
        """What the specialist of its category would add."""
        return self.recall(self.asked.category, measure) - self.recall(self.reading.first.model, measure)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the router reads of a question before it is answered: category, the trained models it is for, and who answers first."""

    judgement: Judgement
    able: tuple[str, ...]
    complexity: float | None
    first: Route


class Router:
    """The live models of a root on one bench, bounded in time."""

    def __init__(self, paths: Paths, seconds: float) -> None:
        self.paths, self.end = paths, time.monotonic() + seconds
        settings = configuration.load(paths)
        self.settings = settings.router
        self.subjects = {
            subject.model: subject for subject in subjects.live(paths) if subject.model in ("base", "unified", *policy.SPECIALISTS)
        }
        self.bench = Bench(paths, settings, engines.base_of(settings, paths), list(self.subjects.values()))
        if "unified" not in self.subjects:
            raise ModelError("There is no live unified model.", "Train it first: `train unified`.")
        self.trained = [model for model in self.subjects if model != "base"]
        self.probe = classifier.live(Store(paths), self.bench.base.name, self.bench.base.sha256)[0]
        self.calibrations = {
            model: confidence.known(calibrate.folder(paths, subject), subjects.sha256(subject, self.bench.base), self.bench.name)
            for model, subject in self.subjects.items()
        }
        base = self.bench.base
        self.scopes = {
            model: scope.load(subject.adapter.folder, base.name, base.sha256) for model, subject in self.subjects.items() if subject.adapter
        }
        self._read = paths.logs / "evaluations" / "router_readings.json"
        borders = {model: found.threshold for model, found in self.scopes.items() if found}
        self._versions = {**borders, "base": self.bench.base.sha256, "classifier": Store(paths).current(classifier.MODEL).version}
        kept = files.read_json(self._read) if self._read.is_file() else {}
        self._readings: dict[str, Any] = kept["questions"] if kept.get("versions") == self._versions else {}

    def answers(self, model: str, rows: Sequence[Asked], sampling: Sampling) -> list[Said]:
        """A model's answers, in small parts so that a run may end between them."""
        found: list[Said] = []
        for start in range(0, len(rows), 8):
            self.check()
            prompts = [judging.prompt_of(self.bench, one.said_to(model), sampling) for one in rows[start : start + 8]]
            given = _result(self.bench.answers(self.subjects[model], prompts, sampling))
            found += given.said
        return found

    def read(self, question: str) -> Reading:
        """What the router reads of a question; kept."""
        if question not in self._readings:
            self.check()
            assert self.probe is not None
            state = self.bench.state(question)
            found = self.probe.judge(state)
            able = [model for model, fitted in self.scopes.items() if fitted is None or fitted.covers(question, state)]
            self._readings[question] = [found.category, found.probabilities, found.complexity, able]
        *fields, able = self._readings[question]
        judgement = Judgement(*fields)
        first = policy.first(judgement, pinned=None, requested=False, trained=self.trained, able=dict.fromkeys(able, True))
        return Reading(judgement, tuple(able), complexity(judgement, question), first)

    def check(self) -> None:
        """Whether there is time left."""
        if time.monotonic() > self.end:
            raise OutOfTime

    def close(self) -> None:
        """Keep the readings, give the memory back."""
        files.write_json(self._read, {"versions": self._versions, "questions": self._readings})
        self.bench.release()


def judged_rows(paths: Paths, model: str, rows: int) -> list[Asked]:
    """Rows with key facts that no calibration of the model has seen: unseen wordings and unseen entries in their proportion."""
    path = held_out_rows.file_of(paths, model, "test")
    entries = [one for one in held_out_rows.load(path, model) if one.facts]
    everything = [*calibrate.parts(paths, model)[1], *entries]
    return random.Random(SEED).sample(everything, min(rows, len(everything)))


def table(router: Router, rows: int) -> Iterator[Row]:
    """Held-out questions with expert facts, answered by the unified model, the specialist of their category and the base."""
    experts: dict[tuple[str, str], Asked] = {}
    fitted: set[str] = set()
    for model in policy.SPECIALISTS:
        fitted |= {one.id for one in calibrate.parts(router.paths, model)[0]}
        for split in ("test", "test_phrasing"):
            path = held_out_rows.file_of(router.paths, model, split)  # type: ignore[arg-type]
            experts |= {(model, one.id): one for one in held_out_rows.load(path, model)}
    everything = judged_rows(router.paths, "unified", 10_000)
    mine = [one for one in everything if one.id not in fitted and (expert := experts.get((one.category, one.id))) and expert.expert_facts][
        :rows
    ]
    short = judging.decoding(router.bench, mine)
    long = judging.decoding(router.bench, [experts[one.category, one.id] for one in mine])
    # Question by question, so that a run that was broken off leaves whole rows.
    for one in mine:
        said = {"unified": router.answers("unified", [one], short)[0], one.category: router.answers(one.category, [one], long)[0]}
        said["base"] = router.answers("base", [one], short)[0]
        yield Row(one, experts[one.category, one.id].expert_facts, router.read(one.question), said)


def small_talk(router: Router, count: int) -> Iterator[Row]:
    """Held-out talk, as much beside so many questions with facts as the held-out files hold."""
    rows = [
        one
        for split in ("test", "test_phrasing")
        for one in held_out_rows.load(held_out_rows.file_of(router.paths, "unified", split), "unified")  # type: ignore[arg-type]
    ]
    talk = [one for one in rows if one.category == "general"]
    chosen = random.Random(SEED).sample(talk, min(len(talk), round(count * len(talk) / (len(rows) - len(talk)))))
    sampling = judging.decoding(router.bench, rows)
    for one in chosen:
        yield hear(router, one, sampling)


def hear(router: Router, one: Asked, sampling: Sampling) -> Row:
    """A question with the answers of those who may be asked; what the router takes for talk is never escalated, so nobody is."""
    reading = router.read(one.question)
    likely = policy.specialist_of(reading.judgement) is not None
    asked = dict.fromkeys((reading.first.model, *policy.candidates(reading.judgement, reading.able))) if likely else {}
    # Who might take over is heard by its first words.
    few = replace(sampling, max_tokens=confidence.FIRST)
    said = {model: router.answers(model, [one], sampling if model == reading.first.model else few)[0] for model in asked}
    return Row(one, (), reading, said)


def answered_by(router: Router, row: Row, settings: RouterSettings) -> str:
    """Who answers a question in the end."""
    reading, model = row.reading, row.reading.first.model
    if model not in row.said:
        return model
    share = _confidence(router, model, row.asked.question, row.said[model])
    after = policy.after(reading.first, reading.judgement, reading.complexity, share, reading.able, settings)
    if after.step != "hand over":
        return model
    names = [after.model] if after.trigger == "complexity" else policy.candidates(reading.judgement, reading.able)
    heard = {name: _early(router, name, row.asked.question, row.said[name]) for name in names if name != model and name in row.said}
    return policy.successor(after, share, heard, settings.unlikely) or model


def _confidence(router: Router, model: str, question: str, said: Said) -> float | None:
    found = router.calibrations[model]
    return found.whole.value(said.features, router.bench.state(question)) if found else None


def _early(router: Router, model: str, question: str, said: Said) -> float | None:
    found = router.calibrations[model]
    return found.early.value(said.early, router.bench.state(question)) if found else None


def _result(generator: Any) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as over:
            return over.value
