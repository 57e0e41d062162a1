import json
from pathlib import Path

import pytest
from data_room import dialogue, rows_of, write_rows

from assistant.core.paths import Paths

GOOD = [dialogue(f"How do I do the task number {word}?", f"Press the key {word}.") for word in ("alpha", "beta", "gamma", "delta")]


def line(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


@pytest.fixture
def checked(paths: Paths, run, tokenizer: Path):
    """Validate one file of the given lines under a name; returns its faults and warnings as (line, field, code)."""

    def check(name: str, *lines: bytes | dict) -> tuple[list[tuple], list[tuple], int]:
        path = paths.datasets / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(one if isinstance(one, bytes) else line(one) for one in lines))
        ran = run("validate", path)
        found = [[(item["line"], item["field"], item["code"]) for item in ran.data[kind]] for kind in ("faults", "warnings")]
        assert all(item["file"] == name and item["message"] for kind in ("faults", "warnings") for item in ran.data[kind])
        return found[0], found[1], ran.status

    return check


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (b"{broken\n", (2, "", "json")),
        (b'{"text": "cut off\n', (2, "", "json")),
        (b"[1, 2]\n", (2, "", "not_object")),
        (b"null\n", (2, "", "not_object")),
        (b'{"text": "caf\xe9", "label": 0}\n', (2, "", "encoding")),
        (b'{"text": "a b", "text": "c d", "label": 0}\n', (2, "text", "duplicate_key")),
        (b"[" * 100_000 + b"\n", (2, "", "json")),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n", (2, "", "json")),
        ({"label": 0}, (2, "text", "missing")),
        ({"text": "a question"}, (2, "label", "missing")),
        ({"text": "", "label": 0}, (2, "text", "empty")),
        ({"text": " \n ", "label": 0}, (2, "text", "empty")),
        ({"text": 5, "label": 0}, (2, "text", "type")),
        ({"text": "x" * 4001, "label": 0}, (2, "text", "too_long")),
        ({"text": "a question", "label": 7}, (2, "label", "label")),
        ({"text": "a question", "label": "1"}, (2, "label", "label")),
        ({"text": "a question", "label": True}, (2, "label", "label")),
        ({"text": "a question", "label": 1.0}, (2, "label", "label")),
        ({"text": "\ud800", "label": 1}, (2, "text", "encoding")),
    ],
)
def test_each_fault_of_a_classification_row_is_named_with_line_field_and_code(checked, bad, fault):
    if isinstance(bad, dict):
        bad = json.dumps(bad).encode() + b"\n"
    faults, _, status = checked("classification_train.jsonl", {"text": "what is it", "label": 0}, bad, {"text": "how to do it", "label": 1})
    assert faults == [fault]
    assert status == 1


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**GOOD[0], "category": "sports"}, (1, "category", "category")),
        (GOOD[0], (1, "category", "missing")),
        ({**GOOD[0], "category": "qna", "input_text": "What is this?"}, (1, "input_text", "form")),
        ({**GOOD[0], "category": "qna", "target_text": ""}, (1, "target_text", "empty")),
        ({**GOOD[0], "category": "qna", "target_text": "x" * 6001}, (1, "target_text", "too_long")),
        ({**GOOD[0], "category": "qna", "key_facts": "Paris"}, (1, "key_facts", "type")),
    ],
)
def test_each_fault_of_a_unified_row_is_named(checked, row, fault):
    assert checked("unified_train.jsonl", row)[0] == [fault]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Press <|im_end|> now", "template_token"),
        ("[INST] hello", "template_token"),
        ("a bell \u0007 rings", "control"),
        ("hidden \u202e order", "control"),
        ("write to jane.doe@firm.org", "personal"),
        ("call +49 30 1234 5678", "personal"),
        ("call 010-1234-5678", "personal"),
        ("pay with 4111 1111 1111 1111", "personal"),
        ("number 900101-1234567", "personal"),
        ("a caf\ufffd", "undecoded"),
    ],
)
def test_what_makes_a_row_doubtful_is_a_warning_and_no_fault(checked, text: str, code: str):
    faults, warnings, status = checked("train.jsonl", *GOOD, dialogue("What is there to do?", text))
    assert faults == []
    assert warnings == [(5, "target_text", code)]
    assert status == 0


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:a/b.git",
        "version 3.11.7",
        "IP 192.168.0.1",
        "10 000 000 000 000 km",
        "use user@example.com",
        "1,234,567,890,123",
        "0.1234567890123456",
    ],
)
def test_what_only_looks_like_personal_data_is_left_alone(checked, text: str):
    assert checked("train.jsonl", *GOOD, dialogue("What is there to do?", text))[1] == []


def test_a_rare_label_is_a_warning(checked):
    rows = [
        {"text": f"a question of kind {word}", "label": label}
        for label, words in enumerate(("abcdefghij", "klmnopqrst", "u"))
        for word in words
    ]
    faults, warnings, status = checked("classification_train.jsonl", *rows)
    assert (faults, status) == ([], 0)
    assert warnings == [(None, "label", "rare_label")]


def test_a_text_with_two_labels_is_a_fault_at_the_second_one(checked):
    faults, _, _ = checked("classification_train.jsonl", {"text": "How do I sort?", "label": 0}, {"text": "how do i sort", "label": 1})
    assert faults == [(2, "label", "label_conflict")]


def test_equal_rows_and_two_answers_to_one_question_are_warnings(checked):
    other = {**GOOD[0], "target_text": "Something else."}
    assert checked("train.jsonl", *GOOD, GOOD[1], other)[1] == [(5, "", "duplicate"), (6, "target_text", "two_answers")]


def test_a_row_in_other_letters_than_the_others_is_a_warning(checked):
    assert checked("train.jsonl", *GOOD, dialogue("이것은 무엇인가요?", "이것은 사과입니다."))[1] == [(5, "", "language")]
    korean = [dialogue(f"{word}은 무엇인가요?", f"{word}은 과일입니다.") for word in ("사과", "감자 바구니", "호박 더미")]
    assert checked("train.jsonl", *korean)[1] == []


def test_a_prompt_that_fills_all_tokens_leaves_an_empty_mask_which_is_a_fault(checked):
    faults, warnings, _ = checked("train.jsonl", *GOOD, dialogue("word " * 300, "Yes."), dialogue("Why?", "because " * 150))
    assert faults == [(5, "input_text", "empty_mask")]
    assert warnings == [(6, "", "too_many_tokens")]


def test_a_file_in_utf16_is_told_as_such(checked):
    assert checked("train.jsonl", b"\xff\xfe" + '{"input_text": "a"}\n'.encode("utf-16-le"))[0] == [(1, "", "encoding")]


def test_a_byte_order_mark_and_blank_lines_do_no_harm(checked):
    assert checked("train.jsonl", b"\xef\xbb\xbf" + line(GOOD[0]), b"\n", b"  \r\n", GOOD[1])[::2] == ([], 0)


def test_an_unknown_form_is_named_and_an_empty_file_is_a_fault(checked):
    assert checked("other.jsonl", {"a": 1})[1] == [(1, "", "unknown_form")]
    assert checked("train.jsonl", b"")[0] == [(None, "", "empty_file")]


def test_leaks_between_splits_are_found_at_the_judged_row(paths: Paths, run):
    folder = paths.datasets / "mine"
    write_rows(folder / "train.jsonl", [*GOOD, dialogue("How can I draw a long straight line in the plan?", "Line tool.", id="line-1")])
    near = dialogue("How can I draw a long straight lines in the plan?", "Line tool.")
    same_entry = dialogue("Where is the tool for strokes hidden?", "Line tool.", id="line-1")
    write_rows(folder / "test.jsonl", [GOOD[2], near, same_entry, dialogue("Is rain wet?", "Yes.")])
    ran = run("validate", folder)
    assert [(item["line"], item["code"]) for item in ran.data["warnings"]] == [(3, "leak"), (1, "leak"), (2, "near_leak")]
    assert "train.jsonl, line 3" in ran.data["warnings"][1]["message"]
    assert ran.status == 0
    assert run("validate", folder, "--strict").status == 1


def test_unseen_wordings_of_a_trained_entry_are_no_leak_but_those_of_another_are(paths: Paths, run):
    folder = paths.datasets / "mine"
    write_rows(
        folder / "unified_train.jsonl", [dialogue("How can I draw a long straight line?", "Line tool.", id="a", category="technical")]
    )
    near = dialogue("How can I draw a long straight lines?", "Line tool.", category="technical")
    write_rows(folder / "unified_test_phrasing.jsonl", [{**near, "id": "a"}])
    assert "near_leak" not in {item["code"] for item in run("validate", folder).data["warnings"]}
    write_rows(folder / "unified_test_phrasing.jsonl", [{**near, "id": "b"}])
    assert "near_leak" in {item["code"] for item in run("validate", folder).data["warnings"]}


def test_the_json_document_has_exactly_the_promised_shape(generated: Paths, run):
    document = run("validate", generated.processed).data
    assert set(document) == {"valid", "files", "faults", "warnings"}
    assert document["valid"] is True
    assert all(set(described) == {"rows"} for described in document["files"].values())
    broken = run("validate", generated.processed / "manifest.json").data
    assert all(set(item) == {"file", "line", "field", "code", "message"} for item in broken["faults"])


def test_a_missing_file_of_the_nine_is_a_fault(paths: Paths, run):
    run("generate", "--size", 60)
    (paths.processed / "dialogue_qna_train.jsonl").unlink()
    ran = run("validate")
    assert [(item["file"], item["code"]) for item in ran.data["faults"]] == [("dialogue_qna_train.jsonl", "missing_file")]
    assert (ran.status, ran.data["valid"]) == (1, False)


def test_nothing_to_validate_says_what_to_do(run, tmp_path: Path):
    assert "Run `generate` first" in run("validate").failure
    assert "There is no dataset and no file 'nix'" in run("validate", "nix").failure
    (tmp_path / "empty").mkdir()
    ran = run("validate", tmp_path / "empty")
    assert "holds no .jsonl file" in ran.failure
    assert ran.status == 2


def test_the_result_is_kept_as_a_file_with_the_state_of_the_dataset(paths: Paths, run):
    run("generate", "--size", 60)
    run("validate")
    kept = json.loads((paths.logs / "validation.json").read_text(encoding="utf-8"))
    assert kept["valid"] is True
    assert kept["dataset"] == str(paths.processed)
    assert len(kept["manifest_sha256"]) == 64


def test_a_cleaned_copy_drops_what_is_at_fault_and_keeps_every_good_row(paths: Paths, run):
    folder = paths.datasets / "mine"
    write_rows(folder / "train.jsonl", [*GOOD, GOOD[0], dialogue("", "x"), dialogue("Bell?", "Ring \u0007 it.")])
    with (folder / "train.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    write_rows(folder / "test.jsonl", [GOOD[1], dialogue("Is rain wet?", "Yes.")])
    before = (folder / "train.jsonl").read_bytes()
    ran = run("validate", folder, "--fix")
    fixed = ran.data["fixed"]
    assert fixed["dropped"] == {"duplicate": 1, "empty": 1, "json": 1, "leak": 1}
    assert (fixed["changed"], fixed["valid"], ran.status, ran.data["valid"]) == (1, True, 0, False)
    copy = Path(fixed["path"])
    assert [row["target_text"] for row in rows_of(copy / "train.jsonl")] == [*(row["target_text"] for row in GOOD), "Ring  it."]
    assert len(rows_of(copy / "test.jsonl")) == 1
    assert (folder / "train.jsonl").read_bytes() == before


def test_a_single_file_is_cleaned_beside_itself(run, tmp_path: Path):
    path = write_rows(tmp_path / "train.jsonl", [*GOOD, {"input_text": "x"}])
    assert run("validate", path, "--fix").status == 0
    assert rows_of(tmp_path / "train_cleaned.jsonl") == GOOD


def test_a_wrong_configuration_is_named(paths: Paths, run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(Paths, "configs", property(lambda self: tmp_path))
    path = write_rows(tmp_path / "train.jsonl", GOOD)
    for text, says in (
        ("data:\n  max_txt_chars: 5\n", "did you mean 'max_text_chars'"),
        ("data:\n  max_text_chars: many\n", "a value like 4000 belongs there"),
        ("data:\n  min_text_chars: 9\n  max_text_chars: 5\n", "the least length of text (9) is above the most (5)"),
        ("data: [\n", "not valid YAML"),
    ):
        (tmp_path / "training_config.yaml").write_text(text, encoding="utf-8")
        assert says in run("validate", path).failure
