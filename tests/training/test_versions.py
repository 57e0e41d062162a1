import json
from dataclasses import asdict

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.events import Failed, Finished, Notice, Report, Table
from assistant.core.store import Current, Store
from assistant.core.values import ModelCard
from finetuning.commands import REGISTRY
from finetuning.training import runs


class Says:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def confirm(self, question, default=False):
        self.asked.append(question)
        return self.answer


@pytest.fixture
def store(paths):
    return Store(paths)


@pytest.fixture
def finish(store):
    def write(model="unified", **figures):
        version = store.reserve(model, {})
        folder = store.version_folder(model, version)
        (folder / "adapter_model.safetensors").write_bytes(b"0" * 2_000_000)
        card = ModelCard(model, version, f"{model}-{version}", "lora", "B", "", "d", "", "now", 3, 9, 150.0, 0.3, 10, ("hf",), "", figures)
        files.write_json(folder / "card.json", asdict(card))
        return version

    return write


def go(paths, *words, questions=None):
    return list(REGISTRY.run(words, Context(paths, questions)))


def notices(events):
    return " ".join(event.text for event in events if isinstance(event, Notice))


def test_history_shows_each_version_with_its_figures_and_what_is_live(paths, store, finish):
    finish(preset="fast", rows=1200, held_out_loss=1.234, key_fact_recall=0.81, general=0.55, gate="passed", refusal="")
    finish(gate="held", refusal="It has forgotten: general ability.")
    store.make_live("unified", "0001")
    (report,) = [event for event in go(paths, "history") if isinstance(event, Report)]
    table = next(block for block in report.blocks if isinstance(block, Table))
    assert table.rows[1] == ("unified 0001", "lora", "fast", "1,200", "2.5", "1.23", "81%", "55%", "passed", "live")
    assert [line["version"] for line in report.data] == ["0002", "0001"] and json.dumps(report.data)
    (report,) = [event for event in go(paths, "history", "unified") if isinstance(event, Report)]
    assert "0002 was held: It has forgotten" in str(report.blocks)


def test_a_root_without_versions_and_an_unknown_model_are_sentences(paths):
    assert "`train unified` makes one" in go(paths, "history")[0].title
    assert "`train qna` makes one" in go(paths, "history", "qna")[0].title
    assert "There is no model 'law'" in go(paths, "history", "law")[0].what


def test_deleting_asks_and_a_no_deletes_nothing(paths, store, finish):
    finish()
    no, yes = Says(False), Says(True)
    assert "Nothing is deleted" in notices(go(paths, "delete", "unified", "1", questions=no))
    assert no.asked == ["Delete unified 0001 (2 MB)?"] and store.versions("unified") == ["0001"]
    go(paths, "delete", "unified", "1", questions=yes)
    assert store.versions("unified") == []


def test_in_a_pipe_deleting_needs_yes(paths, store, finish):
    finish()
    events = go(paths, "delete", "unified", "0001")
    assert isinstance(events[0], Failed) and "--yes" in events[0].fix and events[-1] == Finished(2)
    assert go(paths, "delete", "unified", "0001", "--yes")[-1] == Finished(0)


def test_the_live_version_goes_only_after_saying_what_answers_then(paths, store, finish):
    for version in (finish(), finish()):
        store.make_live("unified", version)
    asked = Says(True)
    events = go(paths, "delete", "unified", "0002", questions=asked)
    assert asked.asked[0].startswith("unified 0002 is live; without it unified 0001 answers.") and "unified 0001 answers" in notices(events)
    assert store.current("unified") == Current("0001", None) and store.live("unified") is not None
    assert "the base answers" in notices(go(paths, "delete", "unified", "0001", "--yes"))
    assert store.current("unified") == Current(None, None) and store.live("unified") is None


def test_deleting_the_version_before_leaves_a_rollback_that_works(paths, store, finish):
    for version in (finish(), finish()):
        store.make_live("unified", version)
    assert "`rollback unified` would go back to" in notices(go(paths, "delete", "unified", "0001", "--yes"))
    assert store.current("unified") == Current("0002", None)
    go(paths, "rollback", "unified")
    assert store.current("unified") == Current(None, "0002")


def test_the_number_of_a_deleted_version_is_never_given_again(paths, store, finish):
    finish()
    go(paths, "delete", "unified", "0001", "--yes")
    assert finish() == "0002"
    assert "no finished version 0001" in go(paths, "delete", "unified", "0001", "--yes")[0].what


def test_the_live_version_stays_while_a_new_one_is_compared_with_it(paths, store, finish):
    store.make_live("unified", finish())
    runs.create(paths, "unified", "0002", "", False)
    assert "unified-0002 is compared with unified 0001" in go(paths, "delete", "unified", "0001", "--yes")[0].what
    assert store.current("unified").version == "0001"


def test_a_run_whose_version_was_deleted_cannot_be_resumed(paths, store, finish):
    version = finish()
    run = runs.create(paths, "unified", version, "", False)
    runs.write(paths, runs.replace(run, pid=1, pid_created=0.0))
    go(paths, "delete", "unified", version, "--yes")
    assert "was deleted" in go(paths, "jobs", "resume", run.run)[0].what
