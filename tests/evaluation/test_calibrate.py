import json
import random

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import DataError
from assistant.core.events import Failed, Report
from assistant.core.settings import Settings
from assistant.engine.base import Generated
from assistant.router import confidence
from finetuning.commands import REGISTRY
from finetuning.evaluation import calibrate
from finetuning.evaluation.bench import Bench
from finetuning.evaluation.subjects import find
from tests.evaluation.conftest import FACTS

ROWS = 400


@pytest.fixture
def many(root):
    """Held-out rows enough to calibrate on; the model knows a question the surer, the likelier it is right."""
    chance = random.Random(3)
    facts = {f"thing {number}": (f"word{number}", chance.random()) for number in range(ROWS)}

    def rows(names, split):
        made = [
            {
                "input_text": f"System: S\n\nUser: {name}\nAssistant:",
                "target_text": f"It is {facts[name][0]}.",
                "category": ("qna", "technical")[number % 2],
                "id": f"{split}-{number}",
                "key_facts": [facts[name][0]],
            }
            for number, name in enumerate(names)
        ]
        files.write_jsonl(root.processed / f"unified_{split}.jsonl", made)

    names = sorted(facts)
    rows(names[:240], "test_phrasing")
    rows(names[240:320], "validation")
    rows(names[320:], "test")
    return facts


@pytest.fixture
def unsure_engine(many, engine):
    """Tokens of an answer are as likely as the answer is likely to be right."""
    draw = random.Random(7)
    right = {name: draw.random() < share for name, (_, share) in many.items()}

    def batch(prompts, adapter, sampling):
        said = []
        for prompt in prompts:
            question = engine.format.decode(prompt).rstrip("\n").rpartition("user: ")[2]
            engine.asked.append((adapter, question))
            fact, share = many.get(question, (FACTS.get(question, "?"), 0.5))
            text = f"It is {fact}." if right.get(question, True) else "It is not known."
            share = min(0.98, max(0.3, share))
            top = ((1, 0.0), (2, -3.0))
            logprob = share - 1
            tops = tuple(((token, logprob), (token + 1, -1.0 - share * 3)) for token in map(ord, text))
            said.append(Generated(text, tuple(map(ord, text)), (logprob,) * len(text), "end", tops or (top,)))
        return said

    engine.batch = batch
    return engine


def benched(root, engine, name="unified/0001"):
    subject = find(root, name)
    return Bench(root, Settings(), engine.base, [subject]), subject


def run(generator):
    try:
        while True:
            next(generator)
    except StopIteration as over:
        return over.value


def test_a_calibrated_version_says_what_is_true_of_rows_it_was_not_fitted_on(root, unsure_engine):
    bench, subject = benched(root, unsure_engine)
    calibration = run(calibrate.calibrate(bench, subject, None))
    after, before = calibration.figures["after"], calibration.figures["before"]
    assert after["ece"] < before["ece"] and after["auroc"] > 0.7 and calibration.engine == "llama"
    assert confidence.load(subject.folder / "calibration.json", "llama") == calibration
    # Judged on as many unseen entries as are asked, which is fewer than are fitted on.
    assert after["rows"] == pytest.approx(sum(calibrate.fitting_rows(root, "unified")[1]), abs=1)
    assert after["rows"] < calibration.rows


def test_rows_that_judge_are_never_fitted_on(root, many):
    fit, judge = calibrate.parts(root, "unified")
    assert len(fit) == 96 and len(judge) == 144
    assert not {one.id for one in fit} & {one.id for one in judge}
    asked, weights = calibrate.fitting_rows(root, "unified")
    assert not {one.id for one in judge} & {one.id for one in asked}
    assert sum(weights[96:]) == pytest.approx(96 * 80 / 144)


def test_answers_given_before_serve_again(root, unsure_engine):
    bench, subject = benched(root, unsure_engine)
    run(calibrate.calibrate(bench, subject, 120))
    asked = len(unsure_engine.asked)
    run(calibrate.calibrate(bench, subject, 120))
    assert len(unsure_engine.asked) == asked


def test_the_verdicts_of_the_user_count_too(root, unsure_engine):
    bench, subject = benched(root, unsure_engine)
    features = [0.0] * len(confidence.FEATURES)
    label = {
        "model": "unified",
        "version": "0001",
        "engine": "llama",
        "question": "Why?",
        "right": True,
        "features": features,
        "early": features,
    }
    files.append_line(root.logs / "labels.jsonl", json.dumps(label))
    files.append_line(root.logs / "labels.jsonl", json.dumps({**label, "version": "0009"}))
    assert run(calibrate.calibrate(bench, subject, 120)).figures["labels_of_users"] == 1


def test_a_model_without_rows_cannot_be_calibrated(root, engine):
    bench, subject = benched(root, engine)
    (root.processed / "unified_test_phrasing.jsonl").unlink()
    (root.processed / "unified_test.jsonl").unlink()
    with pytest.raises(DataError, match="no held-out rows with key facts"):
        run(calibrate.calibrate(bench, subject))


def test_the_command_writes_beside_the_version_and_shows_before_and_after(root, unsure_engine):
    events = list(REGISTRY.run(["calibrate", "unified/0001", "--limit", "150"], Context(root)))
    assert not [event for event in events if isinstance(event, Failed)]
    report = next(event for event in events if isinstance(event, Report))
    assert report.data["file"].endswith("calibration.json") and report.data["after"]["rows"] == 146
    assert report.blocks[1].rows[0][0].endswith("%")
