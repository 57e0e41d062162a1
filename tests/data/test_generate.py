import hashlib
import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from data_room import Ran, rows_of, run_in
from hypothesis import given
from hypothesis import strategies as st

from assistant.core.facts import is_right, normalise
from assistant.core.paths import PROJECT, Paths
from assistant.core.prompts import SYSTEM, from_input_text
from assistant.core.values import CATEGORIES
from finetuning.data.build import NINE_FILES, build, divide
from finetuning.data.corpus import load
from finetuning.data.vary import vary

CORPUS = load(PROJECT / "finetuning" / "corpus")
JUDGING = ("validation", "test")


def questions(row: dict) -> str:
    return row["text"] if "text" in row else "\n".join(message.content for message in from_input_text(row["input_text"])[1:])


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_nine_files_and_the_manifest_are_written(generated: Paths):
    names = {path.name for path in generated.processed.iterdir()}
    assert set(NINE_FILES) | {"manifest.json"} <= names
    manifest = json.loads((generated.processed / "manifest.json").read_text(encoding="utf-8"))
    assert {name for name in names if name.endswith(".jsonl")} == set(manifest["files"])
    for name, described in manifest["files"].items():
        content = (generated.processed / name).read_bytes()
        assert described["rows"] == content.count(b"\n") > 0
        assert described["sha256"] == hashlib.sha256(content).hexdigest()
        assert described["extra"] == (name not in NINE_FILES)
    assert manifest["seed"] == 42


def test_rows_have_exactly_the_promised_form(generated: Paths):
    for path in generated.processed.glob("classification_*.jsonl"):
        assert all(row["text"] and row["label"] in (0, 1, 2) for row in rows_of(path))
    for path in [*generated.processed.glob("unified_*.jsonl"), *generated.processed.glob("dialogue_*.jsonl")]:
        for row in rows_of(path):
            messages = from_input_text(row["input_text"])
            assert row["input_text"].startswith(f"System: {messages[0].content}\n\nUser: ")
            assert row["input_text"].endswith("\nAssistant:")
            assert [message.role for message in messages[:2]] == ["system", "user"]
            assert row["target_text"].strip()
            assert row["category"] in ("qna", "technical", "general")


def test_each_model_is_taught_with_its_own_system_prompt(generated: Paths):
    for name, file in (("unified", "unified_train"), ("qna", "dialogue_qna_train"), ("technical", "dialogue_technical_train")):
        systems = {from_input_text(row["input_text"])[0].content for row in rows_of(generated.processed / f"{file}.jsonl")}
        assert systems == {SYSTEM[name]}


def test_the_unified_model_learns_the_brief_answer_and_a_specialist_the_complete_one(generated: Paths):
    brief = {row["id"]: row for row in rows_of(generated.processed / "unified_train.jsonl")}
    whole = [row for row in rows_of(generated.processed / "dialogue_technical_train.jsonl") if row["key_facts"]]
    assert all(len(row["target_text"]) > len(brief[row["id"]]["target_text"]) for row in whole)
    assert all(is_right(row["target_text"], [*row["key_facts"], *row["expert_facts"]]) for row in whole)


def test_labels_are_balanced_in_every_classification_file(generated: Paths):
    for split in ("train", "validation", "test"):
        labels = [row["label"] for row in rows_of(generated.processed / f"classification_{split}.jsonl")]
        assert labels.count(0) == labels.count(1) == labels.count(2) > 50


def test_bare_questions_teach_the_classifier_alone(generated: Paths):
    taught = [row for row in rows_of(generated.processed / "classification_train.jsonl") if row["id"].startswith("asked-")]
    assert len(taught) > 600 and {row["label"] for row in taught} == {0, 1, 2}
    assert {row["source"] for row in taught} == {f"questions/{category}.txt" for category in CATEGORIES}
    for path in set(generated.processed.glob("*.jsonl")) - {generated.processed / "classification_train.jsonl"}:
        assert not any(row["id"].startswith("asked-") for row in rows_of(path))


def test_follow_up_questions_carry_the_turns_before_them(generated: Paths):
    rows = rows_of(generated.processed / "unified_train.jsonl")
    spoken = [row for row in rows if len(from_input_text(row["input_text"])) > 2]
    assert len(spoken) > 100
    assert all([message.role for message in from_input_text(row["input_text"])][1::2].count("user") for row in spoken)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_entry_and_no_phrasing_leaks_between_splits(seed: int):
    files = build(CORPUS, seed)
    trained = [row for name, rows in files.items() if name.endswith("_train.jsonl") for row in rows]
    trained_ids = {row["id"] for row in trained}
    trained_texts = {normalise(questions(row)) for row in trained}
    for split in JUDGING:
        judged = [row for name, rows in files.items() if name.endswith(f"_{split}.jsonl") for row in rows]
        assert not trained_ids & {row["id"] for row in judged}
        assert not trained_texts & {normalise(questions(row)) for row in judged}
    both = [{row["id"] for name, rows in files.items() if name.endswith(f"_{split}.jsonl") for row in rows} for split in JUDGING]
    assert not both[0] & both[1]
    unseen = [row for name, rows in files.items() if name.endswith("_test_phrasing.jsonl") for row in rows]
    assert unseen
    assert {row["id"] for row in unseen} <= trained_ids
    assert not trained_texts & {normalise(questions(row)) for row in unseen}


def test_more_phrasings_are_only_trained_and_move_no_split():
    plain = replace(CORPUS, entries=tuple(replace(entry, more_phrasings=()) for entry in CORPUS.entries))
    parts = divide(plain, 42)
    judged = parts.entries["test"][0]
    trained = next(entry for entry in parts.entries["train"] if entry.id in parts.held_out)
    held_out = trained.phrasings[parts.held_out[trained.id]]
    added = {trained.id: ("Quokka wombat, entirely unheard of", f"{held_out} please", held_out), judged.id: ("Never to be seen anywhere",)}
    more = replace(plain, entries=tuple(replace(entry, more_phrasings=added.get(entry.id, ())) for entry in plain.entries))
    before, after = build(plain, 42), build(more, 42)
    for name in before:
        if not name.endswith("_train.jsonl"):
            assert after[name] == before[name], "what judges stays as it was"
    new = {questions(row) for row in after["unified_train.jsonl"]} - {questions(row) for row in before["unified_train.jsonl"]}
    assert new == {"Quokka wombat, entirely unheard of"}, "what nearly asks what judges is left out"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_validator_finds_no_fault_and_no_leak_in_generated_data(paths: Paths, seed: int):
    assert run_in(paths, "generate", "--seed", seed).status == 0
    checked = run_in(paths, "validate", "--strict")
    assert checked.data["faults"] == []
    assert [warning for warning in checked.data["warnings"] if warning["code"] in ("leak", "near_leak", "duplicate", "two_answers")] == []
    assert checked.status == 0


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(generated: Paths, paths: Paths, run):
    assert run("generate", "--out", paths.root / "again").status == 0
    assert run("generate", "--out", paths.root / "other", "--seed", 7).status == 0
    assert files_of(paths.root / "again") == files_of(generated.processed)
    assert files_of(paths.root / "other") != files_of(generated.processed)


def test_a_size_is_met_exactly_with_equal_categories(paths: Paths, run):
    assert run("generate", "--size", 900).status == 0
    rows = rows_of(paths.processed / "unified_train.jsonl")
    assert len(rows) == 900
    counts = [sum(row["category"] == category for row in rows) for category in ("qna", "technical", "general")]
    assert min(counts) > 270


def test_ten_thousand_rows_take_less_than_ten_seconds(paths: Paths, run):
    started = time.monotonic()
    assert run("generate", "--size", 10000).status == 0
    assert time.monotonic() - started < 10
    rows = rows_of(paths.processed / "unified_train.jsonl")
    assert len(rows) == 10000
    assert len({(row["input_text"], row["target_text"]) for row in rows}) == 10000


def test_more_rows_than_the_corpus_gives_are_told_and_never_repeated():
    small = type(CORPUS)(tuple(entry for entry in CORPUS.entries if entry.topic == "greeting"), (), (), "")
    rows = build(small, 1, ("general",), 5000)["unified_train.jsonl"]
    assert len(rows) < 5000
    assert len({row["input_text"] for row in rows}) == len(rows)


def test_one_category_alone_still_gives_nine_files(paths: Paths, run):
    ran = run("generate", "--categories", "technical")
    assert ran.status == 0
    assert {row["category"] for row in rows_of(paths.processed / "unified_train.jsonl")} == {"technical"}
    assert (paths.processed / "dialogue_qna_train.jsonl").read_bytes() == b""
    assert {fault["code"] for fault in run("validate").data["warnings"]} >= {"empty_file", "rare_label"}


def test_a_folder_with_other_files_is_never_replaced(paths: Paths, run):
    folder = paths.root / "photos"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"x")
    ran = run("generate", "--out", folder)
    assert ran.status == 2
    assert "holds files and no dataset" in ran.failure
    assert [path.name for path in folder.iterdir()] == ["cat.png"]


def test_a_file_of_the_users_own_in_the_dataset_survives(paths: Paths, run):
    run("generate", "--size", 60)
    (paths.processed / "notes.txt").write_text("mine", encoding="utf-8")
    run("generate", "--size", 60, "--seed", 2)
    assert (paths.processed / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_full_disk_leaves_the_dataset_as_it_was(paths: Paths, run, monkeypatch: pytest.MonkeyPatch):
    run("generate", "--size", 60)
    before = files_of(paths.processed)
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = run("generate", "--size", 80)
    assert ran.status == 2
    assert "The disk is full" in ran.failure
    assert files_of(paths.processed) == before
    assert [path.name for path in paths.datasets.iterdir()] == ["processed_english"]


def test_a_crash_between_the_two_renames_is_put_right_by_the_next_command(paths: Paths, run):
    run("generate", "--size", 60)
    before = files_of(paths.processed)
    paths.processed.rename(paths.datasets / ".processed_english.old-123")
    assert run("validate").status == 0
    assert files_of(paths.processed) == before


def test_a_linked_dataset_folder_stays_a_link(paths: Paths, run, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    paths.processed.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert run("generate", "--size", 60).status == 0
    assert paths.processed.is_symlink()
    assert (tmp_path / "elsewhere" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("words", "says"), [(("--size", "3"), "too small"), (("--size", "x"), "invalid int value"), (("--seed",), "expected one")]
)
def test_wrong_words_are_wrong_usage(run, words: tuple[str, ...], says: str):
    ran: Ran = run("generate", *words)
    assert ran.status == 2
    assert says in ran.failure


@given(st.integers(), st.sampled_from(["technical", "general"]))
def test_a_varied_question_keeps_its_code_and_numbers(seed: int, category: str):
    text = "How do I run `git commit -m` in 3 steps and what is it good for?"
    varied = vary(text, category, random.Random(seed))
    assert "`git commit -m`" in varied
    assert " 3 " in varied
    assert varied.strip()


def test_variations_are_of_many_kinds():
    made = {vary("What is the capital of France?", "qna", random.Random(seed)) for seed in range(60)}
    assert len(made) > 20
