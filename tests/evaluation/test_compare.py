import json

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.events import Checked, Failed, Finished, Lines, Report
from assistant.core.store import Store
from finetuning.commands import REGISTRY
from finetuning.evaluation import asked, compare
from finetuning.evaluation.subjects import find


def said(root, *words):
    return list(REGISTRY.run(words, Context(root)))


def report(events):
    found = [event for event in events if isinstance(event, Report)]
    assert found, [event for event in events if isinstance(event, Failed)]
    return found[0]


def verdicts(found):
    return next(block.lines for block in found.blocks if isinstance(block, Lines) and block.title == "Verdict")


def test_systems_are_judged_in_one_base_load_with_a_plain_verdict(root, engine):
    found = report(said(root, "compare", "base", "unified/0001", "unified/0003", "--limit", "0"))
    clever, forgetful = verdicts(found)
    assert clever.startswith("unified 0001, measured against the base: better at held-out text and facts, same at general ability")
    assert "worse at general ability" in forgetful and "better at held-out text and facts" in forgetful
    assert engine.loads == [["unified/0001", "unified/0003"]] * 2


def test_differences_are_paired_with_intervals(root, engine):
    data = report(said(root, "compare", "base", "unified/0001", "--limit", "0")).data
    facts = next(one for one in data["comparisons"][0]["differences"] if one["measure"] == "key_facts")
    assert (facts["old"], facts["new"], facts["gain"]["mean"], facts["gain"]["rows"]) == (0, 1, 1, 40)


def test_half_of_what_is_asked_was_learned_where_only_some_was(root, engine):
    every = asked.load(root.processed / "unified_test_phrasing.jsonl", "unified")
    learned = {one.entry for one in every[:6]}
    list(compare.compare(Context(root), ["base", "unified/0001"], limit=8, learned=learned, show=0))
    items = files.read_json(root.logs / "evaluations" / "comparison.json")["systems"][1]["held_out"]["items"]
    assert len(items) == 8 and sum(item["id"].partition("#")[0] in learned for item in items) == 4


def test_answers_stand_side_by_side(root, engine):
    data = report(said(root, "compare", "base", "unified/0001", "--show", "2", "--suite", "none")).data
    assert len(data["answers"]) == 2
    answers = data["answers"][0]["answers"]
    assert answers["the base"] == "Not known." and answers["unified 0001"].startswith("It is fact")
    assert len(json.loads((root.logs / "evaluations/comparison.json").read_text(encoding="utf-8"))["systems"]) == 2


def test_the_base_is_proved_to_be_the_base(root, engine):
    events = said(root, "compare", "base", "unified/0001", "--suite", "none")
    check = next(event for event in events if isinstance(event, Checked))
    assert check.ok and "SHA-256 verified" in check.detail and "0 on llama" in check.detail
    proof = report(events).data["base"]
    assert proof["sha256"] == engine.base.sha256 and proof["sha256_is_right"]


def test_a_base_that_changes_with_adapters_loaded_stops_the_comparison(root, engine):
    engine.base_drifts = True
    events = said(root, "compare", "base", "unified/0001", "--suite", "none")
    assert "answers otherwise with adapters loaded" in next(event.what for event in events if isinstance(event, Failed))


def test_a_base_whose_file_is_another_stops_the_comparison_before_anything_is_asked(root, engine):
    engine.base.gguf.write_bytes(b"GGUF other weights")
    events = said(root, "compare", "base", "unified/0001", "--suite", "none")
    failed = next(event for event in events if isinstance(event, Failed))
    assert "base.gguf is not the base: its SHA-256 is " in failed.what and "Delete it" in failed.fix
    assert events[-1] == Finished(2) and not engine.asked and not any(isinstance(event, Report) for event in events)


def test_without_names_the_base_and_all_live_models_are_compared(root, engine):
    Store(root).make_live("unified", "0001")
    data = report(said(root, "compare", "--suite", "none")).data
    assert [system["subject"] for system in data["systems"]] == ["the base", "unified 0001"]


@pytest.mark.parametrize(("last", "status"), [("unified/0001", 0), ("unified/0002", 1), ("unified/0003", 1)])
def test_the_gate_of_a_comparison_is_its_exit_status(root, engine, last, status):
    events = said(root, "compare", "base", last, "--limit", "0", "--gate")
    assert events[-1] == Finished(status)
    assert [event.ok for event in events if isinstance(event, Checked) and event.name == "gate"] == [status == 0]


def test_the_screen_and_json_show_no_single_questions(root, engine):
    data = report(said(root, "compare", "base", "unified/0001", "--show", "0")).data
    assert '"items"' not in json.dumps(data) and data["systems"][1]["held_out"]["figures"]["right"] == 1


def test_adapters_in_folders_of_one_name_are_told_apart_by_where_they_lie(root, engine):
    folders = [root.root / name / "final_model" for name in ("one", "two")]
    for folder, knows in zip(folders, ("unified/0001", "unified/0002"), strict=True):
        folder.mkdir(parents=True)
        for name in ("adapter_model.safetensors", "adapter.gguf"):
            (folder / name).write_bytes(knows.encode())
        engine.knows[find(root, str(folder)).key] = engine.knows[knows]
    data = report(said(root, "compare", "base", *map(str, folders), "--suite", "none")).data
    assert [one["subject"] for one in data["systems"]] == ["the base", *(f"final_model ({folder})" for folder in folders)]
    assert [one["held_out"]["figures"]["right"] for one in data["systems"]] == [0, 1, 0]
    assert set(data["answers"][0]["answers"]) == {one["subject"] for one in data["systems"]}


def test_a_copy_of_a_version_with_other_weights_is_another_system(root, engine):
    copy = root.root / "copy"
    files.write_json(copy / "card.json", {"model": "unified", "version": "0001"})
    (copy / "adapter.gguf").write_bytes(b"other")
    (copy / "adapter_model.safetensors").write_bytes(b"other")
    engine.knows[find(root, str(copy)).key] = engine.knows["unified/0002"]
    data = report(said(root, "compare", "unified/0001", str(copy), "--suite", "none")).data
    assert [one["subject"] for one in data["systems"]] == ["unified 0001", f"unified 0001 ({copy})"]
    assert [one["held_out"]["figures"]["right"] for one in data["systems"]] == [1, 0]
    version = str(root.models / "unified_model/versions/0001")
    assert any(isinstance(event, Failed) for event in said(root, "compare", "unified/0001", version))


def test_the_classifier_answers_nothing_and_is_not_compared(root, engine):
    events = said(root, "compare", "unified/0001", "classifier")
    failed = next(event for event in events if isinstance(event, Failed))
    assert "answers none" in failed.what and "`evaluate classifier`" in failed.fix and not engine.asked


def test_a_domain_is_asked_under_its_own_system_prompt_on_the_rows_of_another_model(root, engine):
    card = root.models / "unified_model/versions/0001/card.json"
    law = root.models / "law_specialist/versions/0001"
    files.write_json(law / "card.json", {**files.read_json(card), "model": "law", "system": "You quote the law."})
    for name in ("adapter_model.safetensors", "adapter.gguf"):
        (law / name).write_bytes(b"law")
    engine.knows["law/0001"], prompts = engine.knows["unified/0001"], []
    answer = engine.answer
    engine.answer = lambda prompt, key: prompts.append((key, engine.format.decode(prompt))) or answer(prompt, key)
    report(said(root, "compare", "base", "law/0001", "--on", "unified", "--suite", "none", "--repeat", "2"))
    systems = {text.partition("\n")[0] for key, text in prompts if key == "law/0001" and text.startswith("system: ")}
    assert systems == {"system: You quote the law."}


@pytest.mark.parametrize(
    ("words", "what"), [(["--limit", "-1"], "A limit of -1 rows is none."), (["--show", "-2"], "-2 questions cannot be shown.")]
)
def test_fewer_than_none_is_wrong_usage(root, engine, words, what):
    for first in (["base", "unified/0001"], ["--systems", "hybrid", "unified"]):
        events = said(root, "compare", *first, *words)
        assert next(event.what for event in events if isinstance(event, Failed)) == what and not engine.asked


def test_one_system_is_no_comparison(root, engine):
    for words in (["compare"], ["compare", "base"], ["compare", "base", "base"]):
        events = said(root, *words)
        failed = next(event for event in events if isinstance(event, Failed))
        assert failed.what == "A comparison needs two systems." and "compare base unified/0001" in failed.fix
