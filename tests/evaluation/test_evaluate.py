import json

import pytest

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Failed, Finished, Progress, Report
from assistant.core.store import Store
from assistant.engine.base import Base
from assistant.router import scope
from finetuning.commands import REGISTRY
from finetuning.evaluation import asked, run
from finetuning.evaluation.subjects import find


def said(root, *words):
    return list(REGISTRY.run(words, Context(root)))


def report(events):
    found = [event for event in events if isinstance(event, Report)]
    assert found, [event for event in events if isinstance(event, Failed)]
    return found[0]


def test_a_version_is_judged_and_the_result_lies_beside_it(root, engine):
    data = report(said(root, "evaluate", "unified/0001", "--limit", "0")).data
    assert data["held_out"]["figures"]["key_fact_recall"]["mean"] == 1
    assert data["held_out"]["figures"]["loss"]["mean"] == pytest.approx(0.1)
    assert set(data["held_out"]["by_category"]) == {"qna", "technical"} and set(data["held_out"]["by_difficulty"]) == {"basic", "advanced"}
    assert data["suites"]["general_ability"]["accuracy"]["mean"] == pytest.approx(0.5, abs=0.01)
    kept = json.loads((root.models / "unified_model/versions/0001/evaluation.json").read_text(encoding="utf-8"))
    assert len(kept["held_out"]["items"]) == 40 and kept["held_out"]["items"][0]["answer"].startswith("It is fact")
    assert kept["weights"] and kept["engine"] == "llama" and kept["held_out"]["decoding"]["greedy"]
    assert "items" not in json.dumps(data)


def test_the_base_is_judged_with_its_result_among_the_logs(root, engine):
    data = report(said(root, "evaluate", "base", "--suite", "none")).data
    assert data["held_out"]["figures"]["right"] == 0
    assert data["file"].endswith("logs/evaluations/base_evaluation.json")


def test_suites_of_earlier_stay_beside_those_of_now_and_the_proof_stays(root, engine):
    where = root.models / "unified_model/versions/0001/evaluation.json"
    said(root, "evaluate", "unified/0001", "--limit", "4", "--suite", "knowledge")
    kept = json.loads(where.read_text(encoding="utf-8"))
    where.write_text(json.dumps({**kept, "gate": {"refusal": ""}}), encoding="utf-8")
    said(root, "evaluate", "unified/0001", "--limit", "4", "--suite", "agent")
    kept = json.loads(where.read_text(encoding="utf-8"))
    assert set(kept["suites"]) == {"knowledge", "agent"} and kept["gate"] == {"refusal": ""}
    (root.models / "unified_model/versions/0001/adapter_model.safetensors").write_bytes(b"other weights")
    said(root, "evaluate", "unified/0001", "--limit", "4", "--suite", "agent")
    assert set(json.loads(where.read_text(encoding="utf-8"))["suites"]) == {"agent"}


def test_suites_of_another_base_without_a_hash_do_not_stay(root, engine, monkeypatch):
    where = root.logs / "evaluations/base_evaluation.json"
    for source, suite, kept in (
        ("/one", "knowledge", {"knowledge"}),
        ("/two", "agent", {"agent"}),
        ("/two", "knowledge", {"knowledge", "agent"}),
    ):
        monkeypatch.setattr(run.engines, "base_of", lambda *_, source=source: Base("tiny", source))
        report(said(root, "evaluate", "base", "--limit", "4", "--suite", suite))
        assert set(json.loads(where.read_text(encoding="utf-8"))["suites"]) == kept


def test_how_far_it_is_and_how_long_it_takes_is_shown(root, engine):
    steps = [event for event in said(root, "evaluate", "base", "--suite", "none") if isinstance(event, Progress)]
    assert steps[-1].done == steps[-1].total == 40 and any(step.seconds_left is not None for step in steps)


def test_answers_given_once_are_used_again_unless_fresh_ones_are_wanted(root, engine):
    first = report(said(root, "evaluate", "base", "--suite", "none")).data
    asked_once = len(engine.asked)
    second = report(said(root, "evaluate", "base", "--suite", "none")).data
    assert len(engine.asked) - asked_once < 15
    assert second["held_out"] == first["held_out"]
    report(said(root, "evaluate", "base", "--suite", "none", "--fresh"))
    assert len(engine.asked) > asked_once + 80


def test_another_version_never_gets_the_kept_answers_of_the_first(root, engine):
    good = report(said(root, "evaluate", "unified/0001", "--suite", "none")).data
    bad = report(said(root, "evaluate", "unified/0002", "--suite", "none")).data
    assert good["held_out"]["figures"]["right"] == 1 and bad["held_out"]["figures"]["right"] == 0


def test_a_users_own_suite_is_judged(root, engine):
    mine = root.root / "mine.yaml"
    mine.write_text("questions:\n- {question: key 7, key_facts: [fact7]}\n- {question: key 8, key_facts: [fact9]}\n", encoding="utf-8")
    data = report(said(root, "evaluate", "unified/0001", "--suite", str(mine))).data
    assert data["suites"]["mine"]["right"] == 1 and data["suites"]["mine"]["questions"] == 2


def test_multiple_choice_is_decided_by_likelihood(root, engine):
    mine = root.root / "mine.yaml"
    mine.write_text("questions:\n- {question: key 7, choices: [It is fact3., It is fact7.], answer: It is fact7.}\n", encoding="utf-8")
    data = report(said(root, "evaluate", "unified/0001", "--suite", str(mine))).data
    assert data["suites"]["mine"]["right"] == 1 and data["suites"]["mine"]["chance"] == 0.5


def test_a_conversation_of_a_suite_goes_on_with_the_models_own_answers(root, engine):
    engine.knows["unified/0001"] = lambda question: f"You said {question}"
    mine = root.root / "mine.yaml"
    mine.write_text(
        "questions:\n- turns:\n  - {question: hello}\n  - {question: again, checks: [{kind: facts, facts: [again]}, {kind: changed}]}\n",
        encoding="utf-8",
    )
    data = report(said(root, "evaluate", "unified/0001", "--suite", str(mine)))
    assert data.data["suites"]["mine"]["right"] == 1
    kept = json.loads((root.models / "unified_model/versions/0001/evaluation.json").read_text(encoding="utf-8"))
    assert kept["suites"]["mine"]["items"][0]["answers"] == ["You said hello", "You said again"]


def test_the_classifier_is_judged_with_a_confusion_matrix(root, engine, monkeypatch):
    from assistant.core.values import Judgement

    class Reader:
        base_sha256 = ""

        def judge(self, state):
            return Judgement("qna", {"qna": 0.8, "technical": 0.1, "general": 0.1}, 0.3)

    monkeypatch.setattr(run, "probe_of", lambda _: Reader())
    found = report(said(root, "evaluate", "base", "--type", "classification"))
    figures = found.data["classification"]
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["confusion"]["technical"]["qna"] == 4 and figures["classes"]["qna"]["recall"] == 1
    assert any(getattr(block, "title", "") == "Confusion" for block in found.blocks)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["evaluate", "nobody"], "no model and no folder 'nobody'"),
        (["evaluate", "unified"], "has no live version"),
        (["evaluate", "unified/0009"], "no version 0009"),
        (["evaluate", "base", "--limit", "-1"], "A limit of -1"),
        (["evaluate", "base", "--suite", "genral"], "no suite and no file 'genral'"),
        (["evaluate", "base", "--split", "validation"], "unified_validation.jsonl does not exist"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(root, engine, words, what):
    events = said(root, *words)
    assert what in next(event.what for event in events if isinstance(event, Failed))
    assert events[-1] == Finished(2)


def test_a_model_alone_means_its_live_version(root, engine):
    Store(root).make_live("unified", "0002")
    assert find(root, "unified").version == "0002"
    assert find(root, str(root.models / "unified_model")).version == "0002"
    assert find(root, str(root.models / "unified_model/versions/0003")).label == "unified 0003"


def test_a_folder_without_a_model_is_a_sentence(root, versions, tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        find(root, str(tmp_path / "root"))
    with pytest.raises(ModelError, match="no live version"):
        find(root, str(root.models / "unified_model"))
    files.write_json(tmp_path / "reward" / "card.json", {"model": "reward", "version": "0001"})
    with pytest.raises(ModelError, match="holds a reward model"):
        find(root, str(tmp_path / "reward"))
    with pytest.raises(UsageError):
        find(root, "nothing")


def test_a_peft_folder_from_elsewhere_is_judged_on_transformers(root, versions, tmp_path):
    from finetuning.evaluation.bench import engine_for

    folder = tmp_path / "peft"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    subject = find(root, str(folder))
    assert subject.adapter.folder == folder
    assert engine_for(None, None, [subject], "hf") == "hf"


def test_a_limited_choice_of_rows_is_fixed_and_equal_over_categories(root):
    path = asked.file_of(root, "unified", "test_phrasing")
    chosen = asked.load(path, "unified", 10)
    assert chosen == asked.load(path, "unified", 10)
    assert sum(one.category == "qna" for one in chosen) == 5


def test_a_domain_is_judged_on_its_own_files_and_without_any_it_is_a_sentence(root):
    assert asked.file_of(root, "law", "test") == root.datasets / "law" / "test.jsonl"
    with pytest.raises(DataError, match="no held-out rows for law"):
        asked.best_file(root, "law")


def test_the_script_takes_a_path_and_a_type_as_its_own_words():
    from finetuning.scripts.model_evaluation import words

    assert words(["--model_path", "models/x", "--model_type", "classification"]) == ["models/x", "--type", "classification"]
    assert words(["--model_path=models/x", "--limit", "5"]) == ["models/x", "--limit", "5"]


@pytest.mark.parametrize("path", [["--model_path", "models/x"], ["--model-path=models/x"]])
def test_a_flag_of_many_values_does_not_take_the_path_of_the_script_for_one(path):
    from finetuning.scripts.model_evaluation import words

    assert words(["--suite", "all", *path]) == ["models/x", "--suite", "all"]
    assert words(["--harness=arc=a.jsonl", *path]) == ["models/x", "--harness", "arc=a.jsonl"]
    assert words(["--suite", "all", "--model_path"])[-1] == "--model_path"


def test_a_trained_classifier_is_judged_by_its_name_and_by_its_folder(root, engine):
    from assistant.core.store import Store
    from assistant.core.values import CATEGORIES, ModelCard
    from assistant.router import classifier

    store = Store(root)
    version = store.reserve("classifier", {})
    flat = [0.0] * 577
    weights = {name: [*flat[1:], 9.0 if name == "qna" else 0.0] for name in CATEGORIES}
    document = {"base": "scripted", "base_sha256": "", "hidden": [], "categories": weights, "complexity": flat}
    (store.version_folder("classifier", version) / classifier.FILE).write_text(json.dumps(document), encoding="utf-8")
    store.finish(ModelCard("classifier", version, "", "probe", "scripted", "", "d", "", "now", 0, 0, 1.0, 0.0, 1, ("hf",)))
    store.make_live("classifier", version)
    for words in (["classifier"], ["classifier/0001"], [str(root.models / "classifier")], ["base", "--type", "classification"]):
        found = report(said(root, "evaluate", *words)).data
        assert found["subject"] == "classifier 0001" and found["classification"]["accuracy"] == pytest.approx(1 / 3)
    assert (store.version_folder("classifier", version) / "evaluation_classification.json").is_file()


def test_what_lies_outside_of_a_versions_training_is_judged_as_the_chat_answers_it(root, engine):
    before = report(said(root, "evaluate", "base", "--limit", "0")).data
    version = root.models / "unified_model/versions/0003"
    assert report(said(root, "evaluate", "unified/0003", "--limit", "0")).data["suites"]["general_ability"]["right"] == 0
    engine.embed = lambda prompt: [1.0 if "key " in engine.format.decode(prompt) else 0.0]
    own = {"base": "b", "base_sha256": engine.base.sha256, "hidden": [[1.0, 0.0]], "output": [10.0, -5.0], "threshold": 0.5}
    (version / scope.FILE).write_text(json.dumps(own), encoding="utf-8")
    found = report(said(root, "evaluate", "unified/0003", "--limit", "0", "--suite", "general_ability", "knowledge", "agent")).data
    assert found["held_out"]["figures"]["key_fact_recall"]["mean"] == 1
    assert found["suites"]["general_ability"]["right"] == before["suites"]["general_ability"]["right"] > 0
    assert found["suites"]["knowledge"]["questions"] >= 120 and found["suites"]["agent"]["questions"] >= 40
