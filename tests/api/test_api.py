import pytest
from scripted import ScriptedEngine, install

from assistant.core.errors import DataError, PZ2Error, TrainingError, UsageError
from assistant.core.events import Checked, Failed, Finished, Notice, Progress, Step
from assistant.core.paths import PROJECT
from finetuning.api import Project, quiet, stratified_split
from finetuning.training import commands

LAW = PROJECT / "examples" / "korean_law.csv"


@pytest.fixture
def project(paths):
    return Project(paths.root, quiet)


def test_a_file_becomes_a_dataset_with_statistics_and_forms(project):
    law = project.import_file(LAW)
    assert law.name == "korean_law" and len(law.rows()) == 60
    assert law.statistics()["train.jsonl"]["rows"] == len(law.rows("train"))
    messages = law.conversations("train")[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    row = law.prompt_completion("test")[0]
    assert row["prompt"][-1]["role"] == "user" and row["completion"][0]["role"] == "assistant"
    assert project.dataset("korean_law").rows("test") == law.rows("test")


def test_a_split_keeps_the_shares_of_every_category_and_difficulty(project):
    law = project.import_file(LAW, "law")
    assert {part: len(rows) for part, rows in law.split().items()} == {"train": 47, "validation": 6, "test": 7}
    anew = law.split(seed=7)
    assert anew == law.split(seed=7) and anew != law.split(seed=8) and anew["test"] != law.split()["test"]
    assert sum(map(len, anew.values())) == 60 and len({row["category"] for row in anew["test"]}) >= 4
    with pytest.raises(DataError):
        stratified_split([])


def test_what_is_wrong_is_raised_with_what_to_do(project, tmp_path):
    project.import_file(LAW, "law")
    for wrong in (
        lambda: project.import_file(LAW, "law"),
        lambda: project.import_file(tmp_path / "nothing.csv"),
        lambda: project.dataset("law").rows("exam"),
        lambda: project.dataset("nothing"),
        lambda: project.load("nobody"),
        lambda: project.load("law"),
        lambda: project.train("nobody"),
        lambda: project.train("unified", seed=-1),
    ):
        with pytest.raises(PZ2Error) as error:
            wrong()
        assert error.value.what and error.value.fix
    assert project.import_file(LAW, "law", replace=True).name == "law"


def test_a_training_that_cannot_start_says_what_stands_against_it(project, monkeypatch):
    def refused(context, model, **words):
        yield Checked("memory", False, "9 GB needed")
        yield Failed("It was not started.", "Free some.")
        yield Finished(2)

    monkeypatch.setattr(commands, "train", refused)
    with pytest.raises(TrainingError, match="memory: 9 GB needed"):
        project.train("unified")


def test_a_training_is_always_waited_for(project, monkeypatch):
    monkeypatch.setattr(commands, "train", lambda *words, **flags: pytest.fail("a training was begun"))
    with pytest.raises(UsageError, match="detach has no meaning") as error:
        project.train("unified", detach=True)
    assert "ft train unified --detach" in error.value.fix


def test_a_model_answers_each_question_by_itself(project, monkeypatch):
    engine = ScriptedEngine({"What is A?": "A letter.", "Hello!": "Hello."})
    install(engine, monkeypatch)
    with project.load() as model:
        assert model.answer("What is A?").answer == "A letter."
        assert model.answer("What is A?", category="technical").model == "base"
        assert model.memory_mb > 10
        speed = model.speed(questions=2)
        assert (speed.engine, speed.questions, speed.tokens > 0) == ("scripted", 2, True)
        with pytest.raises(UsageError, match="no category 'law'"):
            model.answer("What is A?", category="law")


def test_progress_is_printed_lightly_or_given_to_a_function(paths, monkeypatch, capsys):
    def trains(context, model, **words):
        yield Step("Training")
        for step in range(1, 101):
            yield Progress(step, 100, "steps")
        yield Notice("Done.")
        yield Failed("Stopped.", "Again.")

    monkeypatch.setattr(commands, "train", trains)
    with pytest.raises(TrainingError):
        Project(paths.root).train("unified")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training …" and lines[-2:] == ["100/100 steps", "Done."] and len(lines) < 6
    seen = []
    with pytest.raises(TrainingError):
        Project(paths.root, seen.append).train("unified")
    assert len(seen) == 103 and capsys.readouterr().out == ""
