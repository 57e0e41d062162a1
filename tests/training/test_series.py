from types import SimpleNamespace

import pytest

from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Finished, Notice
from assistant.core.paths import Paths
from assistant.core.store import Store
from finetuning.training import plan as plans
from finetuning.training import series
from finetuning.training.plan import DatasetFile, TrainingPlan
from finetuning.training.recipe import Recipe


@pytest.mark.parametrize(
    ("methods", "said"), [(["lora", "sgd"], "no method 'sgd'"), (["dpo"], "trained by LoRA"), (["ia3", "dpo", "lora"], "trained by LoRA")]
)
def test_methods_that_cannot_go_together_are_refused_before_anything_is_trained(tmp_path, methods, said):
    with pytest.raises(UsageError, match=said):
        list(series.run(Context(Paths(tmp_path)), "unified", methods))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """What was asked to train: one version for each plan, unless a method fails."""
    paths, begun, failing = Paths(tmp_path), [], set()

    def look(paths, model, preset, seed, changes, found, beginning=None):
        recipe = Recipe(method=changes["method"], max_steps=changes.get("max_steps") or 0)
        begins = (beginning.version, "") if beginning else ("", "")
        data = DatasetFile("x", "0"), None
        found.plan = plans.sealed(TrainingPlan(model, "base", "embedded", "0", 1, "x", *data, preset, recipe, 42, *begins))
        yield Notice(changes["method"])

    def begin(context, found):
        store, plan = Store(paths), found.plan
        yield Notice("training")
        if plan.method in failing:
            yield Finished(2)
            return None
        begun.append(plan.method)
        version = store.reserve(plan.model, plans.to_json(plan))
        return SimpleNamespace(version=version)

    def finished(store, model):
        return sorted(path.parent.name for path in store.version_folder(model, "0001").parent.glob("*/plan.json"))

    monkeypatch.setattr(series.preflight, "look", look)
    monkeypatch.setattr(series.commands, "begun", begin)
    monkeypatch.setattr(series.Store, "versions", finished)
    monkeypatch.setattr(series.preferences, "gather", lambda *_: None)
    monkeypatch.setattr(series.commands, "beginning", lambda paths, model, version: (version, ""))
    monkeypatch.setattr(
        "finetuning.evaluation.compare.compare", lambda context, models, **more: iter([Notice(" ".join((*models, *more["suite"])))])
    )
    monkeypatch.setattr("finetuning.evaluation.reports.command.run", lambda context, name: iter([Notice(f"report {name}")]))
    return Context(paths), begun, failing


def said(events):
    return [event.text for event in events if isinstance(event, Notice)]


def test_each_method_is_trained_once_then_all_are_compared_and_reported(trained):
    context, begun, _ = trained
    lines = said(series.run(context, "unified", ["lora", "ia3", "dpo"], name="mine"))
    assert begun == ["lora", "ia3", "dpo"]
    suites = "general_ability instruction_following"
    assert lines[-2:] == [f"base unified/0001 unified/0002 unified/0003 {suites}", "report mine"]
    again = said(series.run(context, "unified", ["lora", "ia3", "dpo"]))
    assert begun == ["lora", "ia3", "dpo"], "what is there is not trained again"
    assert "unified 0002 was trained so already." in again


def test_a_method_that_fails_ends_the_series_with_its_status(trained):
    context, begun, failing = trained
    failing.add("ia3")
    events = list(series.run(context, "unified", ["lora", "ia3", "full"]))
    assert begun == ["lora"]
    assert events[-1] == Finished(2)
    failing.clear()
    said(series.run(context, "unified", ["lora", "ia3", "full"]))
    assert begun == ["lora", "ia3", "full"], "given again, it goes on where it was"
