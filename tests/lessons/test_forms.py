import csv

import pytest
from scripted import ScriptedEngine, install

from assistant.core.events import Report
from assistant.core.facts import is_right
from finetuning.lessons import forms


@pytest.fixture
def report(paths, monkeypatch, tmp_path):
    """The comparison of a scripted base that knows one capital."""
    engine = ScriptedEngine(lambda question: "Paris." if "France" in question else "round " * 60)
    install(engine, monkeypatch)
    return next(event for event in forms.run([paths], "unified", tmp_path) if isinstance(event, Report))


def test_the_same_weights_are_asked_in_both_ways_and_that_is_said(report):
    assert report.data["compared"] == [["scripted", "plain"], ["scripted", "chat"]]
    assert "not measured here" in report.data["notes"][0] and "--model" in report.data["notes"][1]


def test_the_answers_stand_side_by_side_in_a_sheet(report, tmp_path):
    with (tmp_path / "model_comparison_results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(forms.QUESTIONS) and tuple(rows[0]) == forms.COLUMNS
    assert any(is_right(row["answer"], ["Paris"]) for row in rows if row["form"] == "chat")
    assert all(row["goes_in_circles"] == str("round" in row["answer"]) for row in rows if row["form"] == "chat")
