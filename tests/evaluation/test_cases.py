import json

import pytest
from data_room import dialogue, run_in, write_rows
from scripted import ScriptedEngine, install

from assistant.core.facts import is_right


@pytest.fixture
def taught(paths):
    """A root with the unseen wordings of three categories, and a domain of two categories."""
    rows = [
        {**dialogue(f"Question {number} of {name}?", f"Fact{number}."), "category": name, "id": f"{name}{number}", "key_facts": facts}
        for name in ("qna", "technical", "general")
        for number in range(8)
        for facts in [[] if name == "general" else [f"fact{number}"]]
    ]
    write_rows(paths.processed / "unified_test_phrasing.jsonl", rows)
    source = paths.root / "shop.csv"
    lines = [f"Where is part {n}?,It lies in box B{n}00.,{'parts' if n % 2 else 'tools'}" for n in range(20)]
    source.write_text("question,answer,category\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert run_in(paths, "import", source, "--name", "shop").status == 0
    return paths


def knows(question):
    number = question.rstrip("?").split()[-1] if "part" in question else question.split()[1]
    return f"It lies in box B{number}00." if "part" in question else f"That is fact{number}."


def test_a_model_that_knows_everything_passes_every_category(taught, monkeypatch):
    install(ScriptedEngine(knows), monkeypatch)
    ran = run_in(taught, "test")
    assert ran.status == 0 and ran.data["passed"]
    lines = {(line["category"], line["kind"]): line for line in ran.data["categories"]}
    assert set(lines) == {
        ("qna", "taught"),
        ("technical", "taught"),
        ("general", "taught"),
        ("shop: parts", "own"),
        ("shop: tools", "own"),
        ("shop", "unseen"),
    }
    assert lines["qna", "taught"]["right"] == lines["qna", "taught"]["judged"] == 5
    assert lines["general", "taught"]["judged"] == 0 and lines["general", "taught"]["answered_by"] == ["base"]


def test_a_model_that_knows_nothing_fails_with_the_questions_and_status_1(taught, monkeypatch):
    install(ScriptedEngine(lambda question: "I cannot say."), monkeypatch)
    ran = run_in(taught, "test", "--categories", "qna", "general", "shop", "--limit", "3")
    assert ran.status == 1 and not ran.data["passed"]
    passed = {(line["category"], line["kind"]): line["passed"] for line in ran.data["categories"]}
    # What no training saw need not be known, and small talk has nothing to know.
    assert passed == {
        ("qna", "taught"): False,
        ("general", "taught"): True,
        ("shop: parts", "own"): False,
        ("shop: tools", "own"): False,
        ("shop", "unseen"): True,
    }
    assert all(not is_right(case["answer"], ["fact1"]) for case in ran.data["cases"])


def test_answers_without_end_are_not_sound(taught, monkeypatch):
    install(ScriptedEngine(lambda question: "and " * 400), monkeypatch)
    ran = run_in(taught, "test", "--categories", "general")
    assert ran.status == 1 and ran.data["categories"][0]["sound"] == 0


def test_a_domain_answers_its_own_cases_and_those_its_owner_wrote(taught, monkeypatch):
    mine = {"id": "mine", "question": "Say box?", "checks": [{"kind": "facts", "facts": ["box"]}]}
    (taught.datasets / "shop" / "test_cases.jsonl").write_text(json.dumps(mine) + "\n", encoding="utf-8")
    install(ScriptedEngine({"Say box?": "A box."}), monkeypatch)
    ran = run_in(taught, "test", "--categories", "shop")
    assert ran.status == 0
    assert [case["question"] for case in ran.data["cases"] if case["kind"] == "own"] == ["Say box?"]


def test_an_unknown_category_and_no_cases_at_all_are_status_2(taught, paths, tmp_path):
    ran = run_in(taught, "test", "--categories", "law")
    assert ran.status == 2 and "Categories with test cases: qna, technical, general, shop" in ran.failure
    assert run_in(taught, "test", "--limit", "0").status == 2


def test_an_empty_root_says_what_makes_test_cases(paths):
    ran = run_in(paths, "test")
    assert ran.status == 2 and "`generate`" in ran.failure and "`import`" in ran.failure
