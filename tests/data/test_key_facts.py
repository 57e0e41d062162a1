import csv
import json

import pytest
from data_room import rows_of, run_in

from assistant.core.facts import is_right
from assistant.core.paths import PROJECT
from finetuning.data.key_facts import MOST, finder

LAW = PROJECT / "examples" / "korean_law.csv"


@pytest.mark.parametrize(
    ("question", "answer", "facts"),
    [
        ("사람은 몇 살에 성년이 되나요?", "민법 제4조에 따라 사람은 19세로 성년이 됩니다.", ["제4조", "19세"]),
        ("법정이율은 얼마인가요?", "민법 제379조에 따라 연 5%입니다.", ["제379조", "5%"]),
        ("근로시간은?", "1주 40시간, 1일 8시간을 넘을 수 없습니다.", ["1주", "40시간", "8시간"]),
        ("어떻게 하나요?", "법원에 임차권등기명령을 신청합니다.", ["임차권등기명령"]),
        ("How do I save?", "Press Ctrl+S and choose a folder.", ["Ctrl+S"]),
        ("Refunds?", "You have 30 days, and the fee is 49.99 euros.", ["30 days", "49.99 euros"]),
        ("How do I get it on paper?", "1. Click `File`.\n2. Choose **Print**.\n10. Done.", ["File", "Print"]),
    ],
)
def test_numbers_articles_quoted_names_and_rare_compounds_are_facts(question, answer, facts):
    assert finder([answer]).facts(question, answer) == facts


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "Paris is the capital of France."),
        ("Is 30 days enough?", "Yes, 30 days are enough."),
        ("민법 제4조는 무엇인가요?", "제4조는 성년에 관한 조문입니다."),
        ("How are you?", "I'm glad you ask. What did you do today?"),
    ],
)
def test_what_is_not_sure_and_what_the_question_says_are_none(question, answer):
    assert finder([answer]).facts(question, answer) == []


def test_a_compound_of_many_answers_tells_nothing():
    answers = ["법원에 임차권등기명령을 신청합니다.", "임차권등기명령이 먼저입니다."]
    assert finder(answers).facts("어떻게?", answers[0]) == []


def test_facts_of_the_example_are_few_and_stand_in_their_answers():
    with LAW.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    find = finder([row["answer"] for row in rows])
    for row in rows:
        facts = find.facts(row["question"], row["answer"])
        assert 1 <= len(facts) <= MOST and is_right(row["answer"], facts) and not is_right(row["question"], facts)


def test_an_import_without_key_facts_derives_them_and_says_so(paths):
    ran = run_in(paths, "import", LAW, "--name", "law")
    assert ran.status == 0 and "60 of 60 answers hold sure ones" in ran.notices
    rows = [row for name in ("train", "validation", "test") for row in rows_of(paths.datasets / "law" / f"{name}.jsonl")]
    assert len(rows) == 60 and all(is_right(row["target_text"], row["key_facts"]) for row in rows)
    assert {row["difficulty"] for row in rows} == {"basic", "intermediate", "advanced"}
    assert run_in(paths, "validate", "law").data["valid"] and run_in(paths, "validate", "law").data["warnings"] == []


def test_an_import_with_nothing_sure_says_that_the_loss_decides(paths, tmp_path):
    file = tmp_path / "talk.csv"
    file.write_text("question,answer\nHow are you?,I am well and glad.\nWho are you?,A friend of yours.\n", encoding="utf-8")
    ran = run_in(paths, "import", file, "--name", "talk")
    assert "the loss on held-out rows decides" in ran.notices
    assert not (paths.datasets / "talk" / "test_cases.jsonl").exists()


def test_given_key_facts_are_taken_as_they_are(paths, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("question,answer,key_facts\nKey?,Press F8 within 30 days.,F8\nOther?,Press F9 within 30 days.,\n", encoding="utf-8")
    run_in(paths, "import", file, "--name", "mine")
    rows = [row for name in ("train", "validation", "test") for row in rows_of(paths.datasets / "mine" / f"{name}.jsonl")]
    assert sorted(row.get("key_facts", []) for row in rows) == [[], ["F8"]]


def test_test_cases_are_written_and_those_of_the_owner_stay(paths):
    run_in(paths, "import", LAW, "--name", "law")
    file = paths.datasets / "law" / "test_cases.jsonl"
    cases = rows_of(file)
    assert len(cases) == 25 and {case["group"] for case in cases} == {"민법", "형법", "노동법", "임대차", "절차"}
    trained = {row["input_text"] for row in rows_of(paths.datasets / "law" / "train.jsonl")}
    assert all(any(case["question"] in text for text in trained) for case in cases)
    run_in(paths, "import", LAW, "--name", "law", "--yes", "--seed", "7")
    assert rows_of(file) != cases
    mine = json.dumps({"id": "mine", "question": "몇 살?", "key_facts": ["19세"]}, ensure_ascii=False) + "\n"
    file.write_text(mine, encoding="utf-8")
    assert "stays as it is" in run_in(paths, "import", LAW, "--name", "law", "--yes").notices
    assert file.read_text(encoding="utf-8") == mine
