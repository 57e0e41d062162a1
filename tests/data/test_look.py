import json
from pathlib import Path

import pytest
from data_room import ScriptedQuestions, dialogue, rows_of, write_rows

from assistant.core.events import Chart, Report, Spans
from assistant.core.paths import Paths

ROWS = [
    dialogue("How do I draw a line?", "Press L.", id="a", category="technical", difficulty="basic"),
    dialogue("How do I draw a wall?", "Press **W**, then click.", id="b", category="technical", difficulty="advanced"),
    dialogue("Who are you?", "I am PZ2.", id="c", category="general", difficulty="basic"),
]


@pytest.fixture
def mine(paths: Paths) -> Path:
    folder = paths.datasets / "mine"
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "test.jsonl", [dialogue("Where is the roof tool?", "Under Build.", id="d")])
    return folder


def blocks(ran, kind: type) -> list:
    return [block for event in ran.events if isinstance(event, Report) for block in event.blocks if isinstance(block, kind)]


def test_statistics_count_rows_lengths_categories_and_difficulties(run, mine: Path, tokenizer: Path):
    ran = run("data", "stats", "mine")
    figures = ran.data["files"]["train.jsonl"]
    assert (figures["rows"], figures["entries"], figures["broken"]) == (3, 3, 0)
    assert figures["category"] == {"technical": 2, "general": 1}
    assert figures["difficulty"] == {"basic": 2, "advanced": 1}
    assert figures["question"]["words"]["most"] == 6
    assert figures["answer"]["tokens"]["most"] == len("Press **W**, then click.")
    assert any(chart.title == "train.jsonl by category" for chart in blocks(ran, Chart))


def test_statistics_work_without_a_tokenizer_and_count_broken_lines(run, mine: Path):
    with (mine / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    figures = run("data", "stats", "mine", "--file", "train").data["files"]["train.jsonl"]
    assert figures["broken"] == 1
    assert "tokens" not in figures["answer"]


def test_a_preview_shows_rows_from_anywhere(run, mine: Path):
    ran = run("data", "preview", "mine", "--file", "train", "--row", 2, "--rows", 1)
    assert [item["row"]["id"] for item in ran.data["rows"]] == ["b"]
    assert "has no row 9" in run("data", "preview", "mine", "--row", 9).failure
    assert "counted from 1" in run("data", "preview", "mine", "--row", 0).failure


def test_a_person_browses_forth_and_back(run, mine: Path):
    asked = ScriptedQuestions("next", "before", "done")
    ran = run("data", "preview", "mine", "--file", "train", "--rows", 2, questions=asked)
    seen = [[item["row"]["id"] for item in event.data["rows"]] for event in ran.events if isinstance(event, Report)]
    assert seen == [["a", "b"], ["c"], ["a", "b"]]


def test_a_search_finds_words_whatever_their_case_and_signs(run, mine: Path):
    ran = run("data", "search", "PRESS", "w", "--name", "mine")
    assert ran.data["found"] == 1
    assert ran.data["rows"][0]["row"]["id"] == "b"
    assert run("data", "search", "nothing", "here", "--name", "mine").data["found"] == 0
    assert "What is to be found?" in run("data", "search", "--name", "mine").failure


def test_the_loss_mask_marks_the_answer_and_its_end_and_nothing_else(run, mine: Path, tokenizer: Path):
    ran = run("data", "mask", "mine", "--file", "train", "--row", 2)
    (spans,) = blocks(ran, Spans)
    assert spans.pieces == (
        ("<|im_start|>system\nBe exact.<|im_end|>\n<|im_start|>user\nHow do I draw a wall?<|im_end|>\n<|im_start|>assistant\n", False),
        ("Press **W**, then click.<|im_end|>", True),
    )
    assert ran.data["trained_tokens"] == len("Press **W**, then click.") + 1


def test_a_mask_needs_a_row_with_an_answer_and_a_tokenizer(run, mine: Path, paths: Paths):
    assert "tokenizer" in run("data", "mask", "mine").failure
    assert "has no file 'x'" in run("data", "stats", "mine", "--file", "x").failure


def test_a_comparison_tells_what_was_added_removed_and_changed(run, mine: Path, paths: Paths):
    changed = {**ROWS[0], "target_text": "Press L and click twice."}
    write_rows(paths.datasets / "newer" / "train.jsonl", [changed, ROWS[2], dialogue("Where is the roof tool?", "Under Build.")])
    ran = run("data", "compare", "mine", "newer")
    figures = ran.data["files"]["train.jsonl"]
    assert {key: figures[key] for key in ("before", "after", "same", "changed", "added", "removed")} == {
        "before": 3, "after": 3, "same": 1, "changed": 1, "added": 1, "removed": 1,
    }  # fmt: skip
    assert ran.data["moved_into_training"] == 1
    assert run("data", "compare", "mine", "mine").data["files"]["train.jsonl"]["same"] == 3
    assert "Which two datasets" in run("data", "compare").failure


def test_an_export_gives_conversations_or_prompt_and_completion_or_text(run, mine: Path, paths: Paths, tokenizer: Path, tmp_path: Path):
    assert run("data", "export", "mine", "--format", "conversations", "--out", tmp_path / "c").status == 0
    first = rows_of(tmp_path / "c" / "train.jsonl")[0]
    assert first["messages"] == [
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": "How do I draw a line?"},
        {"role": "assistant", "content": "Press L."},
    ]
    run("data", "export", "mine", "--format", "prompt_completion", "--out", tmp_path / "p")
    pair = rows_of(tmp_path / "p" / "train.jsonl")[0]
    assert (len(pair["prompt"]), pair["completion"]) == (2, [{"role": "assistant", "content": "Press L."}])
    run("data", "export", "mine", "--format", "text", "--out", tmp_path / "t")
    assert rows_of(tmp_path / "t" / "train.jsonl")[0]["text"].endswith("<|im_start|>assistant\nPress L.<|im_end|>")


@pytest.mark.parametrize("form", ["conversations", "prompt_completion"])
def test_what_is_exported_can_be_imported_again(run, mine: Path, paths: Paths, tmp_path: Path, form: str):
    run("data", "export", "mine", "--file", "train", "--format", form, "--out", tmp_path / "out")
    assert run("import", tmp_path / "out" / "train.jsonl", "--name", "again").status == 0
    rows = [row for split in ("train", "validation", "test") for row in rows_of(paths.datasets / "again" / f"{split}.jsonl")]
    content = {(row["input_text"], row["target_text"], row["id"]) for row in rows}
    assert content == {(row["input_text"], row["target_text"], row["id"]) for row in ROWS}


def test_exports_go_beside_the_datasets_and_classification_files_have_no_answers(run, generated: Paths, paths: Paths):
    ran = run("data", "export", "--name", generated.processed)
    folder = paths.datasets / "exports" / "processed_english_conversations"
    assert ran.data["folder"] == str(folder)
    assert not list(folder.glob("classification*"))
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["exported_from"] == "processed_english"


def test_the_nine_files_open_with_the_hugging_face_library(generated: Paths, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    for path in sorted(generated.processed.glob("*.jsonl")):
        opened = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
        assert opened.num_rows == path.read_bytes().count(b"\n")


def test_a_person_at_the_menu_is_asked_what_to_see_and_a_pipe_gets_the_figures(run, mine: Path):
    ran = run("data", "--name", "mine", questions=ScriptedQuestions("search", "wall"))
    assert ran.data["found"] == 1
    assert set(run("data", "--name", "mine").data["files"]) == {"train.jsonl", "test.jsonl"}
    assert "There are mine." in run("data", "stats", "nix").failure
