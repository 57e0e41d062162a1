import json
import os

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import DataError
from assistant.core.events import Failed, Report
from assistant.engine.base import Base
from finetuning.commands import REGISTRY
from finetuning.evaluation import harness


def said(root, *words):
    return list(REGISTRY.run(["evaluate", *words], Context(root)))


def failed(events):
    return next(event for event in events if isinstance(event, Failed))


@pytest.fixture
def arc(tmp_path):
    """Four questions in the form of ARC; the key facts of the scripted models are among the choices."""
    rows = [
        {
            "id": f"q{number}",
            "question": f"key {number}",
            "choices": {"label": ["A", "B"], "text": ["Not known.", f"It is fact{number}."]},
            "answerKey": "B",
        }
        for number in range(4)
    ]
    files.write_jsonl(tmp_path / "arc.jsonl", rows)
    return tmp_path / "arc.jsonl"


@pytest.mark.parametrize(
    ("word", "what"),
    [("arc", "is not NAME=FILE"), ("arcs=a.jsonl", "is not NAME=FILE"), ("arc=nowhere.jsonl", "there is no file nowhere.jsonl")],
)
def test_a_wrong_benchmark_is_a_sentence(root, engine, word, what):
    assert what in failed(said(root, "base", "--harness", word)).what


def test_without_the_package_the_command_that_installs_it_is_named(root, engine, arc, monkeypatch):
    monkeypatch.setattr(harness.engines, "installed", lambda package: False)
    found = failed(said(root, "base", "--harness", f"arc={arc}"))
    assert "lm-eval" in found.what and 'pip install "lm-eval[ifeval]==' in found.fix
    monkeypatch.setattr(harness.engines, "installed", lambda package: package == "lm-eval")
    assert "langdetect" in failed(said(root, "base", "--harness", f"ifeval={arc}")).what


def test_benchmarks_of_another_base_without_a_hash_do_not_stay(root, engine, arc, monkeypatch):
    def benchmark(bench, subject, name, path, limit):
        yield from ()
        return {"tasks": {}}

    monkeypatch.setattr(harness, "_benchmark", benchmark)
    monkeypatch.setattr(harness.engines, "installed", lambda package: True)
    monkeypatch.setattr(harness.importlib.metadata, "version", lambda package: "0")
    for source, name, kept in (("/one", "arc", {"arc"}), ("/two", "ifeval", {"ifeval"}), ("/two", "arc", {"arc", "ifeval"})):
        monkeypatch.setattr(harness.engines, "base_of", lambda *_, source=source: Base("tiny", source))
        said(root, "base", "--harness", f"{name}={arc}")
        document = json.loads((root.logs / "evaluations/base_evaluation_harness.json").read_text(encoding="utf-8"))
        assert set(document["harness"]) == kept


def test_a_share_of_the_probability_calls_no_answer_right_or_wrong():
    def sample(number, share):
        return {"doc": {"id": number, "question": "Why?"}, "doc_id": number, "filtered_resps": [0.0], "resps": [0.0, 0.0], "acc": share}

    one = harness.BENCHMARKS["truthfulqa"]
    shares = harness._figures(one, [sample(1, 0.03), sample(2, 1.0)])
    assert [item["right"] for item in shares["items"]] == [None, None] and shares["figures"]["acc"]["mean"] == 0.515
    assert [item["right"] for item in harness._figures(one, [sample(1, 0.0), sample(2, 1.0)])["items"]] == [False, True]


def test_the_original_form_of_arc_is_read_too(tmp_path):
    question = {"stem": "Why?", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}
    files.write_jsonl(tmp_path / "a.jsonl", [{"id": "1", "question": question, "answerKey": "A"}])
    rows = harness.readable(tmp_path / "a.jsonl", harness.BENCHMARKS["arc"])
    assert rows == [{"id": "1", "question": "Why?", "choices": {"label": ["A", "B"], "text": ["a", "b"]}, "answerKey": "A"}]


def test_a_row_without_a_field_is_named(tmp_path):
    files.write_jsonl(tmp_path / "a.jsonl", [{"key": 1, "prompt": "Hi", "instruction_id_list": []}])
    with pytest.raises(DataError, match="row 1: no field kwargs"):
        harness.readable(tmp_path / "a.jsonl", harness.BENCHMARKS["ifeval"])


def test_multiple_choice_is_judged_by_the_harness_with_our_likelihoods(root, engine, arc):
    pytest.importorskip("lm_eval")
    # The scripted model gives its own answer as likely; the harness asks for " " and the choice after "Answer:".
    engine.answer = lambda prompt, adapter: f" It is fact{engine.format.decode(prompt)[-9]}."
    events = said(root, "base", "--harness", f"arc={arc}")
    reports = [event for event in events if isinstance(event, Report)]
    assert reports, [event for event in events if isinstance(event, Failed)]
    task = json.loads((root.logs / "evaluations/base_evaluation_harness.json").read_text(encoding="utf-8"))["harness"]["arc"]["tasks"]
    assert task["pz2_arc_easy"]["figures"]["acc"]["mean"] == 1.0 and task["pz2_arc_easy"]["chance"] == 0.5


def test_instructions_are_judged_by_the_harness_without_network_and_benchmarks_stay_side_by_side(root, engine, arc, tmp_path):
    pytest.importorskip("lm_eval")
    pytest.importorskip("langdetect")
    rows = [
        {"key": 1, "prompt": "Answer in lowercase.", "instruction_id_list": ["change_case:english_lowercase"], "kwargs": [{}]},
        {"key": 2, "prompt": "Say it twice.", "instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["twice"]}]},
    ]
    files.write_jsonl(tmp_path / "ifeval.jsonl", rows)
    engine.answer = lambda prompt, adapter: "all in lowercase letters"
    said(root, "unified/0001", "--harness", f"arc={arc}")
    said(root, "unified/0001", "--harness", f"ifeval={tmp_path / 'ifeval.jsonl'}")
    kept = json.loads((root.models / "unified_model/versions/0001/evaluation_harness.json").read_text(encoding="utf-8"))
    assert set(kept["harness"]) == {"arc", "ifeval"}
    figures = kept["harness"]["ifeval"]["tasks"]["pz2_ifeval"]["figures"]
    assert figures["prompt_level_strict_acc"]["mean"] == 0.5 and figures["inst_level_strict_acc"]["rows"] == 2
    assert "HF_DATASETS_OFFLINE" not in os.environ and "LOCAL_RANK" not in os.environ
