import json

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.events import Checked, Notice, Progress
from assistant.core.store import Store
from assistant.core.values import Judgement
from finetuning.evaluation import run
from finetuning.evaluation.proof import prove

from .conftest import FACTS


def proved(root, engine, version, model="unified", **sizes):
    adapter = Store(root).adapter(model, version)
    stream = prove(root, configuration.load(root), engine.base, model, version, adapter, **sizes)
    events = []
    while True:
        try:
            events.append(next(stream))
        except StopIteration as end:
            return end.value, events


def test_a_better_version_passes_and_its_proof_lies_beside_it(root, engine):
    proof, events = proved(root, engine, "0001")
    assert proof.refusal == "" and "better in key-fact recall" in proof.verdict[0]
    assert next(event for event in events if isinstance(event, Checked)).ok
    kept = json.loads((root.models / "unified_model/versions/0001/evaluation.json").read_text(encoding="utf-8"))
    assert kept["gate"]["refusal"] == "" and kept["gate"]["noise"] == 0 and "the base" in kept["gate"]["rivals"]


def test_a_version_that_answers_as_the_base_is_refused_for_having_no_effect(root, engine):
    proof, _ = proved(root, engine, "0002")
    assert proof.refusal.startswith("The adapter has no effect on the llama engine")


def test_a_version_that_has_forgotten_is_refused(root, engine):
    proof, events = proved(root, engine, "0003")
    assert proof.refusal.startswith("It has forgotten: general ability")
    assert not next(event for event in events if isinstance(event, Checked) and event.name == "gate").ok


def test_a_version_as_good_as_the_live_one_is_held(root, engine):
    Store(root).make_live("unified", "0001")
    engine.knows["unified/0002"] = lambda question: engine.knows["unified/0001"](question)
    proof, _ = proved(root, engine, "0002")
    assert proof.refusal.startswith("It is not surely better than unified 0001")
    assert [line.split(":")[0] for line in proof.verdict[:2]] == ["Against unified 0001", "Against the base"]


def test_an_evaluation_that_comes_apart_from_itself_says_how_far(root, engine):
    times = {}

    def wavering(question):
        times[question] = times.get(question, 0) + 1
        return engine.knows["unified/0003"](question) if times[question] == 1 else "Paris Tokyo"

    engine.knows["unified/0001"] = wavering
    proof, _ = proved(root, engine, "0001")
    assert proof.document["gate"]["noise"] > 0


def test_without_held_out_rows_nothing_shows_that_it_is_better(root, engine):
    for path in root.processed.glob("unified_*"):
        path.unlink()
    knowing = engine.knows["unified/0001"]
    engine.knows["unified/0001"] = lambda question: f"Well, {knowing(question)}"
    proof, _ = proved(root, engine, "0001")
    assert "nothing shows that it is better" in proof.refusal


def test_a_proof_that_was_broken_off_goes_on_where_it_was(root, engine):
    adapter = Store(root).adapter("unified", "0001")
    asking = ("unified", "0001", adapter)
    stream = prove(root, configuration.load(root), engine.base, *asking)
    while not (isinstance(event := next(stream), Progress) and event.done >= 8):
        pass
    stream.close()
    before = list(engine.asked)
    engine.asked.clear()
    proof, _ = proved(root, engine, "0001")
    assert proof.refusal == "" and before
    first = [question for key, question in before if key == "unified/0001" and question in FACTS][:8]
    # Asked again are only what the likelihoods and the speed need, no whole answers.
    batch = [question for key, question in engine.answered if key == "unified/0001"]
    assert not set(first) & set(batch[len(first) :])


def test_the_base_is_asked_once_a_root_and_more_questions_ask_only_the_new_ones(root, engine):
    proved(root, engine, "0001", rows=20, questions=30)
    engine.answered.clear()
    proved(root, engine, "0003", rows=36, questions=60)
    asked = [question for key, question in engine.answered if key is None]
    assert len(asked) == 16 + 30 and len(set(asked)) == len(asked)


def test_few_general_questions_are_taken_from_all_groups_and_the_verdict_says_how_few(root, engine):
    proof, _ = proved(root, engine, "0001", questions=22)
    items = proof.document["suites"]["general_ability"]["items"]
    assert len(items) == 22 and len({item["group"] for item in items}) == 11
    assert any("Only 22 general questions" in line for line in proof.verdict)


def test_a_live_version_on_another_base_or_a_damaged_one_is_left_out_and_that_is_said(root, engine):
    store = Store(root)
    store.make_live("unified", "0003")
    card = store.version_folder("unified", "0003") / "card.json"
    files.write_json(card, {**files.read_json(card), "base": "another"})
    proof, events = proved(root, engine, "0001", rows=8, questions=8)
    assert any("stands on another base (another)" in event.text for event in events if isinstance(event, Notice))
    assert proof.live is None and all("0003" not in line for line in proof.verdict)
    (root.models / "unified_model/current.json").write_text("{", encoding="utf-8")
    assert any("cannot be compared" in event.text for event in proved(root, engine, "0001")[1] if isinstance(event, Notice))


def test_a_version_with_a_worse_classifier_of_its_own_is_refused(root, engine, monkeypatch):
    class Reads:
        def __init__(self, category):
            self.category = category

        def judge(self, state):
            return Judgement(self.category, {"qna": 0.2, "technical": 0.2, "general": 0.6}, 0.1)

    wrong, right = Reads("nothing"), Reads("qna")
    monkeypatch.setattr(run, "probe_of", lambda subject: wrong if subject.version == "0001" else right)
    files.write_jsonl(root.processed / "classification_test.jsonl", [{"text": f"question {n}", "label": 0} for n in range(12)])
    proof, _ = proved(root, engine, "0001")
    assert proof.refusal.startswith("It is worse than the base: category accuracy 1.000 → 0.000")
