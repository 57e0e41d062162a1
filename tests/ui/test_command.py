import io

import pytest

from assistant.core.commands import Command, Context, Registry
from assistant.core.events import Failed, Finished, Lines, Notice, Report, Step
from assistant.ui import command, theme
from assistant.ui.render import Screen
from finetuning.commands import REGISTRY


def train(context):
    yield Step("Training")
    raise KeyboardInterrupt


def learn(context):
    yield Notice("learnt")


def jobs(context, **_):
    yield Report("Runs", [{"run": "qna-0001", "model": "qna", "state": "running", "pid": 1, "step": 3, "steps": 9}])


TOY = Registry(
    (
        Command("train", "train", f"{__name__}:train"),
        Command("learn", "train with torch", f"{__name__}:learn", needs_torch=True),
        Command("jobs", "runs", f"{__name__}:jobs"),
    )
)


class Answers:
    def __init__(self, yes):
        self.yes = yes

    def confirm(self, question, default=False):
        return self.yes


@pytest.fixture
def screen():
    return Screen(theme.console(80, io.StringIO()))


def text_of(screen):
    return " ".join(screen.console.file.getvalue().split())


def test_ctrl_c_during_a_training_says_that_it_goes_on_and_how_to_follow_it(screen, paths):
    assert command.run(screen, TOY, ["train"], Context(paths), "ft: ") == 130
    assert "The run qna-0001 goes on by itself (step 3 of 9)." in text_of(screen)
    assert "`ft: jobs follow` shows it, `ft: jobs cancel` ends it." in text_of(screen)


def test_hints_are_what_is_typed_at_this_door():
    events = iter(
        [
            Notice("`jobs follow` shows it, `jobsite` does not."),
            Failed("No.", "Run `train`."),
            Report("R", 1, (Lines("", ("`jobs`",)),)),
            Finished(2),
        ]
    )
    notice, failed, report, last = command.addressed(events, TOY, "ft: ")
    assert notice.text == "`ft: jobs follow` shows it, `jobsite` does not."
    assert failed.fix == "Run `ft: train`."
    assert report.blocks[0].lines == ("`ft: jobs`",)
    assert last == Finished(2)


def test_without_torch_nobody_to_ask_means_a_sentence(paths, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "has_torch", lambda: False)
    monkeypatch.setattr(command.sys, "prefix", str(tmp_path))
    failed, finished = command.prepared(TOY, ["learn"], Context(paths))
    assert "Training needs packages that are not installed yet" in failed.what
    assert "pip install -r requirements-training.txt" in failed.fix
    assert finished == Finished(2)


def test_without_torch_the_person_is_asked_and_a_no_is_kept(paths, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "has_torch", lambda: False)
    (tmp_path / "pz2-ready.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(command.sys, "prefix", str(tmp_path))
    failed, _ = command.prepared(TOY, ["learn"], Context(paths, questions=Answers(False)))
    assert "`./run_finetuning.sh setup` when you want to train" in failed.fix


SET_UP = """
import os, pathlib, sys
print("Installing what it needs …", file=sys.stderr)
print("no space left on the disk", file=sys.stderr)
pathlib.Path(os.environ["PZ2_VENV"], "called").write_text(sys.argv[-1])
"""


@pytest.mark.parametrize("works", [True, False])
def test_a_yes_installs_the_packages_and_goes_on_or_says_why_not(paths, monkeypatch, tmp_path, works):
    (tmp_path / "pz2-ready.json").write_text("{}", encoding="utf-8")
    (tmp_path / "set_up.py").write_text(SET_UP, encoding="utf-8")
    monkeypatch.setattr(command.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(command, "SET_UP", tmp_path / "set_up.py")
    monkeypatch.setattr(command, "has_torch", lambda: works and (tmp_path / "called").is_file())
    events = list(command.prepared(TOY, ["learn"], Context(paths, questions=Answers(True))))
    assert (tmp_path / "called").read_text(encoding="utf-8") == "setup"
    assert Step("Installing what it needs") in events
    if works:
        assert events[-2:] == [Notice("learnt"), Finished(0)]
    else:
        assert Notice("no space left on the disk", "warning") in events and events[-1] == Finished(2)


@pytest.mark.parametrize("words", ["train unifed", "prefer unifed", "train", "train qna --lerning_rate 1", "trian"])
def test_wrong_words_are_refused_before_anything_is_installed(paths, monkeypatch, tmp_path, words):
    monkeypatch.setattr(command, "has_torch", lambda: False)
    (tmp_path / "pz2-ready.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(command.sys, "prefix", str(tmp_path))
    failed, finished = command.prepared(REGISTRY, words.split(), Context(paths))
    assert "packages" not in failed.what
    assert finished == Finished(2)


def test_with_torch_nothing_is_asked(paths):
    if not command.has_torch():
        pytest.skip("torch is not installed")
    assert list(command.prepared(TOY, ["learn"], Context(paths))) == [Notice("learnt"), Finished(0)]
