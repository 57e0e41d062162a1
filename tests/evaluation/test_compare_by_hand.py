import json

import pytest
from scripted import ScriptedEngine, install

from assistant.chat.pins import pin
from assistant.core.commands import Context
from assistant.core.events import Failed, Lines, Report, Table
from assistant.core.preferences import picks_file
from finetuning.commands import REGISTRY
from finetuning.evaluation import blind, consistency, ways


class Person:
    """Picks the answer that holds a word, whatever its letter; ``the same`` when none does."""

    def __init__(self, word, most=99):
        self.word, self.most, self.seen, self.page = word, most, [], None

    def choice(self, question, options, default=None):
        self.seen.append(self.page)
        if len(self.seen) > self.most:
            return "stop"
        answers = {block.title.removeprefix("Answer "): block.lines[0] for block in self.page.blocks if block.title}
        return next((name for name, text in answers.items() if self.word in text), "the same")


def said(root, *words, questions=None):
    """The events of a comparison; a person sees each page before being asked."""
    events = []
    for event in REGISTRY.run(["compare", *words], Context(root, questions)):
        events.append(event)
        if questions is not None and isinstance(event, Report):
            questions.page = event
    return events


def failed(events):
    return next(event for event in events if isinstance(event, Failed))


def last_report(events):
    found = [event for event in events if isinstance(event, Report)]
    assert found, [event for event in events if isinstance(event, Failed)]
    return found[-1]


def test_blind_picks_become_preference_pairs_without_the_names_being_shown(root, engine):
    person = Person("fact")
    found = last_report(said(root, "base", "unified/0001", "--suite", "none", "--blind", "--show", "6", questions=person))
    assert len(person.seen) == 6
    assert not any(name in repr(page) for page in person.seen for name in ("the base", "unified"))
    rows = [json.loads(line) for line in picks_file(root).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6
    for row in rows:
        assert set(row) == {"prompt", "chosen", "rejected", "source", "when"}
        assert row["chosen"].startswith("It is fact") and row["rejected"] == "Not known." and row["source"] == "compare --blind"
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    told = next(block.lines for block in found.blocks if isinstance(block, Lines) and block.title == "Blind")
    assert told[0] == "unified 0001 was picked 6 of 6 times" and "6 preference pairs" in told[-1]
    kept = json.loads((root.logs / "evaluations/comparison.json").read_text(encoding="utf-8"))["blind"]
    assert kept["won"] == {"the base": 0, "unified 0001": 6} and kept["by_chance"] == pytest.approx(2 / 64)


def test_the_order_of_blind_answers_is_drawn(root, engine):
    person = Person("fact")
    said(root, "base", "unified/0001", "--suite", "none", "--blind", "--show", "20", questions=person)
    letters = [next(block.title for block in page.blocks if "fact" in block.lines[0] and block.title) for page in person.seen]
    assert {"Answer A", "Answer B"} == set(letters)


def test_stopping_early_keeps_the_picks_made_and_the_same_is_no_pair(root, engine):
    said(root, "base", "unified/0001", "--suite", "none", "--blind", questions=Person("fact", most=2))
    assert len(picks_file(root).read_text(encoding="utf-8").splitlines()) == 2
    picks_file(root).unlink()
    found = last_report(said(root, "base", "unified/0001", "--suite", "none", "--blind", questions=Person("no such word")))
    assert found.data["blind"]["same"] == 10 and not picks_file(root).exists()


def test_equal_answers_are_not_shown(root, engine):
    person = Person("fact")
    found = last_report(said(root, "base", "unified/0002", "--suite", "none", "--blind", questions=person))
    assert person.seen == [] and found.data["blind"]["pairs"] == 0


def test_a_method_that_llama_cannot_run_makes_all_answer_on_transformers(root, engine):
    (root.models / "unified_model/versions/0002/adapter.gguf").unlink()
    found = last_report(said(root, "base", "unified/0001", "unified/0002", "--suite", "none"))
    assert {system["engine"] for system in found.data["systems"]} == {"hf"} and "on hf" in found.title
    refused = failed(said(root, "base", "unified/0002", "--suite", "none", "--engine", "llama"))
    assert "llama.cpp cannot run unified 0002" in refused.what


def test_blind_needs_a_person(root, engine):
    assert "nobody is there to ask" in failed(said(root, "base", "unified/0001", "--blind")).what


def test_an_uneven_count_between_equals_is_rare():
    assert blind.by_chance({"a": 9, "b": 1}) == pytest.approx(22 / 1024)
    assert blind.by_chance({"a": 5, "b": 5}) == 1.0


def test_the_same_question_asked_several_times_says_how_far_the_answers_agree(root, engine):
    found = last_report(said(root, "base", "unified/0001", "--suite", "none", "--repeat", "3"))
    systems = {system["subject"]: system["consistency"] for system in found.data["systems"]}
    assert systems["unified 0001"]["same_words"]["mean"] == 1 and systems["unified 0001"]["same_facts"]["mean"] == 1
    assert systems["unified 0001"]["times"] == 3 and systems["unified 0001"]["questions"] == 20
    assert any(isinstance(block, Table) and block.title.startswith("Consistency: 20 questions 3 times") for block in found.blocks)


def test_answers_that_come_apart_agree_less():
    found = consistency.document([["red blue", "red blue"], ["red blue", "green gold"]], [["red"], ["red"]])
    assert found["same_words"]["mean"] == 0.5 and found["same_facts"]["mean"] == 0.5


def test_once_is_not_several_times(root, engine):
    assert "--repeat 2" in failed(said(root, "base", "unified/0001", "--repeat", "1")).fix


@pytest.fixture
def scripted(root, versions, monkeypatch):
    """A chat over a scripted engine; the classifier reads even questions as qna and odd ones as technical."""
    engine = ScriptedEngine(lambda question: f"It is fact{question.split()[-1]}." if question.split()[-1] in "02468" else "Not known.")
    install(engine, monkeypatch)
    return engine


def test_ways_of_answering_are_asked_the_same_questions(root, scripted):
    found = last_report(said(root, "--systems", "hybrid", "separate", "unified", "--limit", "8"))
    assert [way["way"] for way in found.data["ways"]] == ["hybrid", "separate", "unified"]
    for way in found.data["ways"]:
        figures = way["figures"]
        assert figures["questions"] == 8 and 0 <= figures["key_fact_recall"] <= 1 and figures["seconds"] >= figures["first_token_seconds"]
    document = json.loads((root.logs / "evaluations" / ways.FILE).read_text(encoding="utf-8"))
    asked = [[item["question"] for item in way["items"]] for way in document["ways"]]
    assert asked[0] == asked[1] == asked[2] and len(asked[0]) == 8
    assert len(found.data["verdicts"]) == 2 and "measured against hybrid: same at facts" in found.data["verdicts"][0]


def test_a_pinned_model_leaves_only_one_way(root, scripted):
    pin(root, "unified")
    assert "is pinned" in failed(said(root, "--systems", "hybrid", "unified")).what


def test_one_way_is_no_comparison_and_ways_are_no_models(root, scripted):
    assert "two ways" in failed(said(root, "--systems", "hybrid")).what
    assert "not models" in failed(said(root, "base", "--systems", "hybrid", "unified")).what


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--gate", "--fresh", "--blind"], "--gate, --fresh, --blind"),
        (["--repeat", "3"], "--repeat"),
        (["--suite", "all", "--on", "unified", "--split", "test", "--engine", "hf"], "--on, --split, --suite, --engine"),
    ],
)
def test_flags_that_ways_of_answering_do_not_take_are_named(root, scripted, words, named):
    assert failed(said(root, "--systems", "hybrid", "unified", *words)).what == f"`--systems` does not go with {named}."


def test_a_way_is_judged_by_facts_time_and_memory():
    def way(name, recalls, seconds, memory):
        items = [{"recall": value, "seconds": seconds} for value in recalls]
        return {"way": name, "figures": {"seconds": seconds, "memory_mb": memory}, "items": items}

    old, new = way("unified", [0.0] * 20, 1.0, 200), way("hybrid", [1.0] * 20, 1.5, 205)
    told = ways.verdict(old, new)
    assert told == "hybrid, measured against unified: better at facts (+100.0%, +100.0% to +100.0%), slower by 50%, as much memory."
    assert "as fast, as far as can be told" in ways.verdict(old, way("hybrid", [1.0] * 20, 1.02, 205))
