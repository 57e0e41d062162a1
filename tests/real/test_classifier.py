import itertools
import json

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.events import Checked, Failed, Finished, Progress, Report, Switched
from assistant.core.store import Current, Store
from assistant.router import classifier
from finetuning.commands import REGISTRY
from finetuning.training.classifier import refusal

ASKED = {
    0: ("capital of {}", "what is {}", "who discovered {}", "when did {} begin"),
    1: ("{} does not open", "how to install {}", "{} crashes on start", "update {} on windows"),
    2: ("i feel sad about {}", "do you like {}", "good morning {}", "tell me a joke about {}"),
}
THINGS = {
    0: ("peru", "gravity", "rome", "jazz", "salt", "the moon"),
    1: ("word", "the printer", "firefox", "autocad", "python", "excel"),
    2: ("my cat", "rain", "work", "monday", "my mother", "you"),
}


@pytest.fixture
def root(real_root):
    """A root with a few labelled questions."""
    rows = [
        {"text": form.format(thing), "label": label} for label in ASKED for form, thing in itertools.product(ASKED[label], THINGS[label])
    ]
    levels = itertools.cycle(("basic", "advanced"))
    for name, part in (("train", rows[::2]), ("validation", rows[1::4]), ("test", rows[3::4])):
        files.write_jsonl(real_root.processed / f"classification_{name}.jsonl", [{**row, "difficulty": next(levels)} for row in part])
    return real_root


def run(root, *words):
    return list(REGISTRY.run(words, Context(root)))


def test_a_classifier_is_fitted_judged_and_rolled_back(root):
    events = run(root, "train", "classifier", "--promote")
    assert events[-1] == Finished(0), [event for event in events if isinstance(event, Failed)]
    assert any(isinstance(event, Progress) and event.unit == "questions" for event in events)
    data = next(event.data for event in events if isinstance(event, Report))
    assert data["splits"]["test"]["accuracy"] > 0.7 and data["gate"]["against"] == "the built-in classifier"
    assert any(isinstance(event, Checked) and event.name == "gate" for event in events)
    assert Switched("classifier", "0001", None) in events
    folder = Store(root).version_folder("classifier", "0001")
    assert {path.name for path in folder.iterdir()} == {"plan.json", "probe.json", "report.json", "card.json"}
    assert json.loads((folder / "plan.json").read_text(encoding="utf-8"))["base"] == classifier.load(folder / "probe.json").base
    run(root, "rollback", "classifier")
    assert Store(root).current("classifier") == Current(None, "0001")


def test_an_interrupted_fit_leaves_nothing_behind(root):
    events = REGISTRY.run(["train", "classifier"], Context(root))
    for event in events:
        if isinstance(event, Progress):
            break
    events.close()
    assert Store(root).versions("classifier") == [] and not list(Store(root).folder("classifier").glob("versions/*"))


def test_a_flag_that_means_nothing_here_is_wrong_usage(root):
    events = run(root, "train", "classifier", "--epochs", "3")
    assert "--epochs changes nothing" in next(event.what for event in events if isinstance(event, Failed))
    assert events[-1] == Finished(2)


def test_only_a_classifier_that_is_surely_worse_is_refused():
    right, wrong = [1.0] * 90 + [0.0] * 10, [1.0] * 60 + [0.0] * 40
    assert refusal(right, wrong, "classifier 0001")[0] == "" and refusal(right, right, "classifier 0001")[0] == ""
    assert refusal(wrong, right, "classifier 0001")[0].startswith("It is worse than classifier 0001: 90.0% → 60.0%")
    assert refusal(right, None, "")[0] == "" and "guessing" in refusal([1.0, 0.0, 0.0] * 30, None, "")[0]
