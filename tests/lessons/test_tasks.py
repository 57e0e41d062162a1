import csv
from dataclasses import asdict

import pytest

from assistant.core import files, settings
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Finished, Notice, Report
from assistant.core.paths import PROJECT
from assistant.core.store import Store
from assistant.core.values import ModelCard
from assistant.engine.base import Base
from finetuning.lessons import explain, sheet, tasks, words, workspace
from finetuning.training import commands
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Encoded, Row

LAW = PROJECT / "examples" / "korean_law.csv"


@pytest.fixture
def trainer(monkeypatch):
    """A trainer that only writes a version; what it was asked."""
    asked = []

    def train(context, model, **flags):
        asked.append((context.paths.root, model, flags))
        store = Store(context.paths)
        number = store.reserve(model, {"model": model})
        files.write_text(store.version_folder(model, number) / "adapter_model.safetensors", f"weights {number}")
        card = ModelCard(model, number, "run", "lora", "b", "", "d", "", "now", 2, 9, 1.0, 0.5, 10, ("hf",))
        files.write_json(store.version_folder(model, number) / "card.json", asdict(card))
        yield Notice("trained")

    monkeypatch.setattr(commands, "train", train)
    monkeypatch.setattr(tasks.engines, "base_of", lambda settings, paths: Base("Tiny-135M", "tiny/tiny-135M"))
    return asked


def run(paths, names, options):
    return list(tasks.run(Context(paths), names, options))


def test_a_csv_is_imported_trained_and_its_version_lies_in_final_model(paths, trainer, tmp_path):
    flags = (("epochs", 1.0), ("batch_size", 1), ("learning_rate", 2e-5), ("lora_r", 8))
    for number in (1, 2):
        events = run(paths, ["train"], tasks.Options(tmp_path / "out", file=str(LAW), flags=flags))
        assert files.read_json(tmp_path / "out" / "final_model" / "card.json")["version"] == f"000{number}"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"final_model"}
    assert trainer[0] == (paths.root, "korean_law", {"preset": "balanced", "promote": False, **dict(flags)})
    assert any("next to nothing" in event.text for event in events if isinstance(event, Notice))


def test_another_base_is_trained_in_a_root_of_its_own(paths, trainer, tmp_path):
    run(paths, ["train"], tasks.Options(tmp_path / "out", model="tiny/other", file=str(LAW)))
    other = tmp_path / "out" / "workspace"
    assert trainer[0][0] == other and "base: tiny/other" in (other / "models" / "settings.yaml").read_text(encoding="utf-8")
    assert (other / "datasets" / "korean_law" / "train.jsonl").is_file() and Store(paths).versions("korean_law") == []
    assert workspace.at(paths, "embedded", tmp_path) == paths == workspace.at(paths, None, tmp_path)


@pytest.mark.parametrize("name", ["base #2", "base: new", "모델 #3"])
def test_another_base_may_lie_in_a_folder_of_any_name(paths, tmp_path, name):
    (tmp_path / name).mkdir()
    other = workspace.at(paths, str(tmp_path / name), tmp_path / "out")
    assert settings.load(other).base == str(tmp_path / name)


def test_a_training_that_fails_leaves_no_final_model_and_its_status(paths, trainer, tmp_path, monkeypatch):
    def failing(context, model, **flags):
        yield Finished(2)

    monkeypatch.setattr(commands, "train", failing)
    events = run(paths, ["train"], tasks.Options(tmp_path / "out", file=str(LAW)))
    assert events[-1] == Finished(2) and not (tmp_path / "out" / "final_model").exists()


@pytest.mark.parametrize("options", [{"dataset": "nothing"}, {"file": "nothing.csv"}])
def test_a_dataset_that_is_not_there_is_an_error_before_anything_is_done(paths, trainer, tmp_path, options):
    with pytest.raises(Exception) as error:
        run(paths, ["train"], tasks.Options(tmp_path / "out", **options))
    assert error.value.fix and trainer == []


def test_the_flags_of_train_follow_those_of_a_script():
    own = {"epochs": 1.0, "learning_rate": 2e-5, "method": None}
    assert words.train_flags(["--max_steps", "2", "--epochs", "3"], own) == {"epochs": 3.0, "learning_rate": 2e-5, "max_steps": 2}
    with pytest.raises(UsageError, match="unrecognized"):
        words.train_flags(["--nonsense"], own)


def test_an_explanation_counts_what_will_happen():
    rows = tuple(Row(tuple(range(10)), 6) for _ in range(20))
    report = next(event for event in explain.run("Tiny", Encoded(rows), Recipe(epochs=2.0, batch_size=4)) if isinstance(event, Report))
    assert (report.data["steps"], report.data["trained_tokens"]) == (10, 80)
    assert any("2 epochs make 10 steps" in line for line in report.data["lines"])


def test_a_sheet_opens_with_its_letters_right(tmp_path):
    path = sheet.write_csv(tmp_path / "a.csv", ["이름", "b"], [{"이름": 'a "quoted", line\nbreak', "b": 1}])
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == [{"이름": 'a "quoted", line\nbreak', "b": "1"}]
