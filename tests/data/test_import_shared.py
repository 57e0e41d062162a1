import csv
from collections import Counter
from pathlib import Path

import pytest
from data_room import SHARED, rows_of

from assistant.core.paths import Paths
from assistant.core.prompts import from_input_text

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not on this machine")

KOREAN = {
    "ChatbotData_1500_cp949.csv": ("cp949", 1500),
    "ChatbotData_1500_utf8.csv": ("utf-8", 1500),
    "ChatbotData_300_utf16.csv": ("utf-16", 300),
    "ChatbotData_300_utf8bom.csv": ("utf-8-sig", 300),
    "welfare_qa_1000_cp949.csv": ("cp949", 1000),
    "welfare_qa_1000_utf8.csv": ("utf-8", 1000),
}


def taken(folder: Path) -> Counter[tuple[str, str]]:
    rows = [row for name in ("train", "validation", "test") for row in rows_of(folder / f"{name}.jsonl")]
    return Counter((from_input_text(row["input_text"])[-1].content, row["target_text"]) for row in rows)


@pytest.mark.parametrize("name", KOREAN)
def test_a_korean_csv_goes_in_with_every_row_accounted_for(paths: Paths, run, name: str):
    encoding, count = KOREAN[name]
    ran = run("import", SHARED / "korean_csv" / name, "--name", "korean")
    assert ran.status == 0, ran.failure
    assert ran.data["source"]["encoding"] == encoding
    rows = ran.data["rows"]
    assert rows["source"] == count == rows["taken"] + rows["rejected"] + rows["duplicates"]
    with (SHARED / "korean_csv" / name).open(encoding=encoding, newline="") as file:
        source = {(row[0].strip(), row[1].strip()) for row in list(csv.reader(file))[1:]}
    got = taken(paths.datasets / "korean")
    assert set(got) == source
    assert set(got.values()) == {1}
    assert run("validate", "korean").data["faults"] == []


def test_the_same_rows_in_three_encodings_give_the_same_domain(paths: Paths, run):
    found = []
    for name in ("ChatbotData_1500_cp949.csv", "ChatbotData_1500_utf8.csv"):
        run("import", SHARED / "korean_csv" / name, "--name", "korean", "--yes")
        found.append((paths.datasets / "korean" / "train.jsonl").read_bytes())
    assert found[0] == found[1]


def test_trivia_files_go_in_and_the_undecodable_rows_are_named(paths: Paths, run):
    undecodable = 0
    for path in sorted((SHARED / "knowledge" / "opentriviaqa").glob("[a-z]*.txt")):
        bad = sum(not _is_utf8(line) for line in path.read_bytes().split(b"\n"))
        ran = run("import", path, "--name", "trivia", "--yes")
        assert ran.status == 0, ran.failure
        rows = ran.data["rows"]
        assert rows["source"] == path.read_bytes().count(b"#Q") == rows["taken"] + rows["rejected"] + rows["duplicates"]
        named = [row for row in rows_of(paths.datasets / "trivia" / "rejects.jsonl") if "not utf-8" in row["reason"]]
        assert len(named) == rows["rejected"] <= bad
        assert all(row["line"] > 0 and row["row"].startswith("#Q") for row in named)
        undecodable += len(named)
    assert undecodable == 14


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("file", "source", "rejected"),
    [
        ("instructions/instruction-data.json", 1100, 0),
        ("instructions/instruction-data-with-preference.json", 1100, 0),
        ("instructions/seed_tasks.jsonl", 175, 0),
        ("instructions/en_100_tree.jsonl", 100, 2),
        ("router/askubuntu_half.json", 81, 1),
        ("knowledge/nq_open_first600.jsonl", 600, 0),
        ("knowledge/ARC-Easy-dev.jsonl", 570, 0),
        ("knowledge/questions_database/Refined_Mathematics_Questions.csv", 8, 0),
    ],
)
def test_instruction_preference_and_question_files_go_in(paths: Paths, run, file: str, source: int, rejected: int):
    ran = run("import", SHARED / file, "--name", "given")
    assert ran.status == 0, ran.failure
    assert (ran.data["rows"]["source"], ran.data["rows"]["rejected"]) == (source, rejected)
    assert run("validate", "given").data["faults"] == []


def test_preference_pairs_keep_the_rejected_answer(paths: Paths, run):
    run("import", SHARED / "instructions" / "instruction-data-with-preference.json", "--name", "given")
    rows = rows_of(paths.datasets / "given" / "train.jsonl")
    assert sum(row["rejected"] != row["target_text"] for row in rows) > 0.95 * len(rows)


def test_html_answers_become_plain_text(paths: Paths, run):
    run("import", SHARED / "router" / "askubuntu_half.json", "--name", "given")
    answers = [row["target_text"] for row in rows_of(paths.datasets / "given" / "train.jsonl")]
    assert not any("<p>" in answer or "</a>" in answer for answer in answers)
    assert any("```" in answer for answer in answers)


def test_prompts_without_answers_are_no_training_data_and_say_so(run):
    ran = run("import", SHARED / "instruction_following" / "ifeval_100.jsonl", "--name", "given", "--yes")
    assert ran.status == 2
    assert "--map" in ran.failure
