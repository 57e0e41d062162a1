import pytest
from data_room import rows_of, run_in

from assistant.core import files
from assistant.core.errors import UsageError
from assistant.core.events import Notice
from assistant.core.paths import PROJECT
from finetuning.learn import name_of
from finetuning.training import commands

LAW = PROJECT / "examples" / "korean_law.csv"


@pytest.fixture
def trained(monkeypatch):
    """What was asked of the trainer, instead of a training."""
    asked = []

    def train(context, model, **words):
        asked.append((model, {key: value for key, value in words.items() if value not in (None, False)}))
        yield Notice("trained")

    monkeypatch.setattr(commands, "train", train)
    return asked


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("korean_law.csv", "korean_law"),
        ("Shop FAQ (2024).csv", "shop_faq_2024"),
        ("한국법.csv", "hangukbeop"),
        ("2024-notes.jsonl", "d2024_notes"),
        ("Café.csv", "cafe"),
        ("qna.csv", "my_qna"),
        ("base.csv", "my_base"),
    ],
)
def test_a_domain_is_called_after_its_file(tmp_path, file, name):
    assert name_of(tmp_path / file) == name


def test_a_file_whose_name_gives_none_needs_one(tmp_path):
    with pytest.raises(UsageError, match="No name can be made"):
        name_of(tmp_path / "法律.csv")


def test_a_file_is_imported_and_then_trained_with_the_flags_given(paths, trained):
    ran = run_in(paths, "learn", LAW, "--preset", "fast", "--epochs", "1", "--batch_size", "2", "--max_length", "256")
    assert ran.status == 0 and "called korean_law" in ran.notices
    assert trained == [("korean_law", {"preset": "fast", "epochs": 1.0, "batch_size": 2, "max_length": 256})]
    assert (paths.datasets / "korean_law" / "train.jsonl").is_file()


def test_the_same_file_again_replaces_its_own_domain_and_no_other(paths, trained, tmp_path):
    assert run_in(paths, "learn", LAW, "--name", "law", "--categories", "민법", "형법").status == 0
    assert len(rows_of(paths.datasets / "law" / "test_cases.jsonl")) == 10
    assert run_in(paths, "learn", LAW, "--name", "law").status == 0
    assert len(rows_of(paths.datasets / "law" / "test_cases.jsonl")) == 25
    other = tmp_path / "law.csv"
    other.write_text("question,answer\nWho?,I.\n", encoding="utf-8")
    ran = run_in(paths, "learn", other)
    assert ran.status == 2 and f"made of {LAW.resolve()}" in ran.failure and len(trained) == 2


def test_a_file_of_the_same_name_in_another_folder_replaces_nothing(paths, trained, tmp_path):
    mine, other, copy = (tmp_path / folder / "faq.csv" for folder in ("a", "b", "c"))
    for file, answer in ((mine, "I."), (other, "You."), (copy, "I.")):
        file.parent.mkdir()
        file.write_text(f"question,answer\nWho?,{answer}\n", encoding="utf-8")
    assert run_in(paths, "learn", mine).status == run_in(paths, "learn", copy).status == run_in(paths, "learn", mine).status == 0
    ran = run_in(paths, "learn", other)
    assert ran.status == 2 and f"made of {mine}" in ran.failure and len(trained) == 3
    mine.write_text("question,answer\nWho?,All of us.\n", encoding="utf-8")
    assert run_in(paths, "learn", mine).status == 0, "the same file with other contents"
    assert rows_of(paths.datasets / "faq" / "train.jsonl")[0]["target_text"] == "All of us."


def test_a_manifest_that_names_no_place_goes_by_the_name_of_its_file(paths, trained):
    run_in(paths, "learn", LAW)
    manifest = paths.datasets / "korean_law" / "manifest.json"
    old = files.read_json(manifest)
    del old["source"]["path"]
    files.write_json(manifest, old)
    assert run_in(paths, "learn", LAW).status == 0
    files.write_json(manifest, old | {"source": {**old["source"], "file": "other.csv"}})
    assert "made of other.csv" in run_in(paths, "learn", LAW).failure


def test_a_domain_that_is_there_is_trained_as_it_is(paths, trained):
    run_in(paths, "import", LAW, "--name", "law")
    assert run_in(paths, "learn", "law").status == 0
    assert run_in(paths, "learn", paths.datasets / "law").status == 0
    assert run_in(paths, "learn", "law", "--categories", "민법").status == 2
    assert [name for name, _ in trained] == ["law", "law"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist"),
        ("", "no"),
        ("a,b,c\n1,2,3\n", "--map"),
        ("question,answer,category\nWho?,I.,A\n", "filters leave no row"),
    ],
)
def test_a_file_that_cannot_be_used_is_status_2_and_nothing_is_trained(paths, trained, tmp_path, content, part):
    file = tmp_path / "faq.csv"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    ran = run_in(paths, "learn", file, "--categories", "Z")
    assert ran.status == 2 and part in ran.failure and trained == []


def test_columns_that_are_not_clear_can_be_named(paths, trained, tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("a,b,c\nWho?,I am.,3\nWhat?,A thing.,4\nWhere?,Here it is.,5\n", encoding="utf-8")
    assert run_in(paths, "learn", file, "--map", "question=a", "answer=b").status == 0
    assert trained == [("faq", {"preset": "balanced"})]
