import json

import pytest

from assistant.core.commands import Context
from assistant.core.events import Checked, Failed, Finished, Lines, Report
from assistant.core.store import Store
from finetuning.commands import REGISTRY


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


def test_a_base_whose_file_is_another_is_seen(root, engine):
    engine.base.gguf.write_bytes(b"GGUF other weights")
    events = said(root, "compare", "base", "unified/0001", "--suite", "none")
    assert not next(event for event in events if isinstance(event, Checked)).ok


def test_without_names_the_base_and_all_live_models_are_compared(root, engine):
    Store(root).make_live("unified", "0001")
    data = report(said(root, "compare", "--suite", "none")).data
    assert [system["subject"] for system in data["systems"]] == ["the base", "unified 0001"]


@pytest.mark.parametrize(("last", "status"), [("unified/0001", 0), ("unified/0002", 1), ("unified/0003", 1)])
def test_the_gate_of_a_comparison_is_its_exit_status(root, engine, last, status):
    events = said(root, "compare", "base", last, "--limit", "0", "--gate")
    assert events[-1] == Finished(status)
    assert [event.ok for event in events if isinstance(event, Checked) and event.name == "gate"] == [status == 0]


def test_one_system_is_no_comparison(root, engine):
    for words in (["compare"], ["compare", "base"], ["compare", "base", "base"]):
        events = said(root, *words)
        failed = next(event for event in events if isinstance(event, Failed))
        assert failed.what == "A comparison needs two systems." and "compare base unified/0001" in failed.fix
