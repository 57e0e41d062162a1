"""Preferences (DPO) on the embedded base: over a version of ours, measured against its frozen copy, stopped and gone on with."""

import math
from dataclasses import replace

import pytest

from assistant.core import files, settings
from assistant.core.errors import TrainingError
from assistant.core.events import Progress
from assistant.core.paths import Paths
from assistant.core.preferences import add_pick
from assistant.core.store import Store
from assistant.core.values import Adapter, Message, ModelCard
from assistant.engine import base as engines
from finetuning.training import finish, preferences, session

from .learning import learned, planned, small_root

SYSTEM = Message("system", "Be brief.")
PAIRS = [
    ("How do I draw a line?", "Press L, then click two points.", "I cannot help with that."),
    ("What is a byte?", "A byte is eight bits.", "I am not sure what that is."),
    ("Who are you?", "I am PZ2.", "I am nobody."),
    ("What is RAM?", "Memory of a computer that forgets without power.", "A male sheep, and nothing else."),
    ("What is a bug?", "A fault in a program.", "Something that never happens."),
]
FEW = {"method": "dpo", "max_steps": 4, "learning_rate": 0.002, "beta": 0.1}


@pytest.fixture(scope="module")
def root(base_folder, tmp_path_factory) -> Paths:
    paths = small_root(tmp_path_factory.mktemp("preferences"), base_folder)
    for question, better, worse in PAIRS:
        add_pick(paths, [SYSTEM, Message("user", question)], better, worse, "good:")
    return paths


@pytest.fixture(scope="module")
def trained(root):
    """A version of ours to begin with, and what its training gave."""
    _, work, outcome = learned(root, learning_rate=0.003)
    finish.keep(work, outcome)
    Store(root).finish(_card(work, outcome))
    return work, outcome


@pytest.fixture(scope="module")
def first(trained):
    work, _ = trained
    return work.run.version, preferences.weights(work.version)


@pytest.fixture(scope="module")
def data(root):
    gathered = preferences.gather(root, "small", [], 42)
    return "preference", gathered.train, gathered.validation


@pytest.fixture(scope="module")
def preferred(root, first, data):
    work, said = planned(root, data, first, **FEW)
    return work, said, session.learn(work)


def _card(work, outcome):
    plan = work.plan
    figures = {"preset": plan.preset}
    hashes = plan.base, plan.base_sha256, plan.dataset, plan.train.sha256
    return ModelCard(
        plan.model, work.run.version, work.run.run, plan.method, *hashes, "2026-01-01T00:00:00+00:00", outcome.steps,
        outcome.trained_tokens, outcome.seconds, outcome.final_loss, 1, ("hf",), system="Be brief.", figures=figures,
    )  # fmt: skip


def test_it_begins_where_the_version_is_and_learns_the_pairs(preferred):
    _, said, outcome = preferred
    assert outcome.validation_before == pytest.approx(math.log(2), abs=0.01), "nothing is preferred over the frozen copy of itself"
    assert outcome.first_loss == pytest.approx(math.log(2), abs=0.01)
    assert outcome.final_loss < outcome.first_loss
    last = [event for event in said if isinstance(event, Progress)][-1]
    assert last.figures["margin"] > 0
    assert last.figures["accuracy"] == 1


def test_the_version_is_one_adapter_that_answers_as_it_was_trained(root, first, preferred):
    work, _, _ = preferred
    assert not [path for path in work.version.iterdir() if path.is_dir()], "the frozen copy is not part of the version"
    rows = [(row.ids[: row.prompt], row.ids[row.prompt :], row.rejected) for row in work.rows.rows]
    engine = engines.make("hf", work.base, settings.load(root), root)
    try:
        before = Adapter(f"small/{first[0]}", Store(root).version_folder("small", first[0]))
        after = Adapter("small/preferred", work.version)
        engine.set_adapters([before, after])
        margins = []
        for adapter in (before, after):
            scores = engine.score([(prompt, answer) for prompt, *answers in rows for answer in answers], adapter.key)
            sums = list(map(sum, scores))
            margins.append([chosen - rejected for chosen, rejected in zip(sums[::2], sums[1::2], strict=True)])
    finally:
        engine.release()
    assert all(now > then for then, now in zip(*margins, strict=True))


def test_a_version_trained_further_on_answers_begins_where_it_was(root, trained, first):
    work, _ = planned(root, begins=first, learning_rate=0.001, whitened=True)
    outcome = session.learn(work)
    assert outcome.validation_before == pytest.approx(trained[1].validation_after, abs=0.02)
    assert outcome.validation_after < outcome.validation_before


def test_one_that_was_stopped_goes_on_as_if_it_had_not_been(root, first, data, preferred):
    whole, _, outcome = preferred
    work, said = planned(root, data, first, **FEW)
    steps = []

    def say(event):
        said.append(event)
        steps.extend([event] if isinstance(event, Progress) and event.unit == "steps" else [])

    assert session.learn(replace(work, say=say, stop=lambda: len(steps) >= 2)) is None
    assert len(steps) < 4
    again = session.learn(work)
    assert again.steps == outcome.steps == 4
    assert again.final_loss == pytest.approx(outcome.final_loss, abs=1e-3)
    name = "adapter_model.safetensors"
    assert files.sha256(whole.version / name) == files.sha256(work.version / name)


def test_a_version_that_is_gone_or_changed_is_no_beginning(root, data):
    work, _ = planned(root, data, ("0001", "0" * 64), **FEW)
    with pytest.raises(TrainingError, match="not there as it was"):
        session.learn(work)
