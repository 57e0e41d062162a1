import json

import pytest

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths
from assistant.core.preferences import add_pick
from assistant.core.values import Message
from finetuning.training import preferences


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


def picks(paths, count):
    for number in range(count):
        add_pick(paths, [Message("user", f"What is {number}?")], f"It is {number}.", f"No idea about {number}.", "good:")


def lines(paths, file):
    return files.read_jsonl(paths.datasets / file.path)


def test_pairs_are_divided_by_their_questions(paths):
    picks(paths, 10)
    for number in range(10):
        add_pick(paths, [Message("user", f"What is {number}?")], f"{number}, of course.", "Who knows?", "good:")
    found = preferences.gather(paths, "unified", [], 42)
    trained, judged = (lines(paths, file) for file in (found.train, found.validation))
    assert (len(trained), len(judged)) == (16, 4)
    asked = [{row["prompt"][-1]["content"] for row in part} for part in (trained, judged)]
    assert not asked[0] & asked[1]
    assert found.counts == {"picks": 20}


def test_a_question_without_a_system_prompt_gets_that_of_the_model(paths):
    picks(paths, 4)
    found = preferences.gather(paths, "technical", [], 42)
    assert all(row["prompt"][0]["role"] == "system" for row in lines(paths, found.train))


def test_the_same_pairs_are_the_same_files_and_other_pairs_are_others(paths):
    picks(paths, 5)
    first, again = (preferences.gather(paths, "unified", [], 42) for _ in range(2))
    assert first == again
    picks(paths, 6)
    assert preferences.gather(paths, "unified", [], 42).train.path != first.train.path
    assert files.sha256(paths.datasets / first.train.path) == first.train.sha256, "a run that is resumed finds its pairs"


def test_without_picks_pairs_are_made_of_the_rows(paths):
    rows = [
        {
            "id": str(number),
            "input_text": f"System: Be brief.\n\nUser: Who made number {number}?\nAssistant:",
            "target_text": f"Number {number} was made by somebody in the year {1900 + number}, as all the others were.",
            "key_facts": [str(1900 + number)],
            "category": "qna",
        }
        for number in range(12)
    ]
    paths.processed.mkdir(parents=True)
    files.write_jsonl(paths.processed / "unified_train.jsonl", rows)
    found = preferences.gather(paths, "unified", [], 42)
    assert set(found.counts) == {"curated"}
    assert {"wrong fact", "cut off"} <= {row["source"] for row in lines(paths, found.train)}


def test_a_usual_source_without_a_pair_is_left_out(paths):
    synthetic = paths.datasets / "synthetic" / "preference" / "dpo_data.json"
    synthetic.parent.mkdir(parents=True)
    synthetic.write_text("[]")
    with pytest.raises(DataError, match=r"unified_train\.jsonl does not exist") as error:
        preferences.gather(paths, "unified", [], 42)
    assert "`generate`" in error.value.fix
    picks(paths, 5)
    assert preferences.gather(paths, "unified", [], 42).counts == {"picks": 5}
    with pytest.raises(DataError, match="holds no pairs"):
        preferences.gather(paths, "unified", ["synthetic"], 42)


def test_a_relative_file_of_pairs_is_looked_for_in_the_current_folder_and_then_in_the_root(paths, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for folder, count in ((tmp_path, 4), (here, 3)):
        rows = [{"prompt": f"{number}?", "chosen": "Yes.", "rejected": "No."} for number in range(count)]
        (folder / "mine.json").write_text(json.dumps(rows))
        assert preferences.gather(paths, "unified", ["mine.json"], 42).counts == {"mine.json": count}


def test_a_file_of_others_is_read_in_their_words(paths, tmp_path):
    path = tmp_path / "others.json"
    rows = [{"instruction": "Add.", "input": f"1 + {number}", "output": f"{1 + number}", "rejected": "No."} for number in range(3)]
    path.write_text(json.dumps(rows))
    found = preferences.load(path)
    assert found[2].prompt == (Message("user", "Add.\n1 + 2"),)
    assert (found[2].chosen, found[2].rejected) == ("3", "No.")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi?", "chosen": "A."}, "'rejected' is missing"),
        ({"prompt": "Hi?", "rejected": "A."}, "'chosen' is missing"),
        ({"prompt": [{"role": "user"}], "chosen": "A.", "rejected": "B."}, "'prompt' is neither"),
        ({"chosen": "A.", "rejected": "B."}, "'prompt' is neither"),
    ],
)
def test_a_broken_pair_is_named_with_its_place(paths, tmp_path, row, said):
    path = tmp_path / "pairs.jsonl"
    good = {"prompt": "Hello?", "chosen": "Hello.", "rejected": "Go away."}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl, pair 2") as error:
        preferences.gather(paths, "unified", [str(path)], 42)
    assert said in error.value.what


def test_pairs_of_two_equal_answers_are_left_out_and_counted(paths, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{number}?", "chosen": "Yes.", "rejected": "Yes. " if number < 2 else "No."} for number in range(5)]
    files.write_jsonl(path, rows)
    found = preferences.gather(paths, "unified", [str(path)], 42)
    assert (found.counts, found.equal) == ({str(path): 3}, 2)
    files.write_jsonl(path, rows[:2])
    with pytest.raises(DataError, match="two different answers"):
        preferences.gather(paths, "unified", [str(path)], 42)


def test_too_few_and_missing_pairs_say_what_to_do(paths, tmp_path):
    picks(paths, 1)
    with pytest.raises(DataError, match="two different answers to at least two questions"):
        preferences.gather(paths, "unified", [], 42)
    with pytest.raises(DataError, match="does not exist"):
        preferences.gather(paths, "unified", [str(tmp_path / "none.jsonl")], 42)


def test_encoded_pairs_share_their_prompt_and_long_answers_are_cut(paths, chat):
    picks(paths, 4)
    found = preferences.gather(paths, "unified", [], 42)
    path = paths.datasets / found.train.path
    whole = preferences.encode(path, chat, "unified", 1024)
    row = whole.rows[0]
    assert row.tokens == len(row.ids) + row.prompt + len(row.rejected)
    assert not whole.cut
    limit = row.prompt + 2
    cut = preferences.encode(path, chat, "unified", limit)
    assert cut.cut
    assert all(len(row.ids) <= limit and row.prompt + len(row.rejected) <= limit for row in cut.rows)
