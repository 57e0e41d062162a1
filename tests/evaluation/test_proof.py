import json

from assistant.core import settings as configuration
from assistant.core.events import Checked
from assistant.core.store import Store
from finetuning.evaluation.proof import prove


def proved(root, engine, version, model="unified"):
    adapter = Store(root).adapter(model, version)
    stream = prove(root, configuration.load(root), engine.base, model, version, adapter)
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
    assert not next(event for event in events if isinstance(event, Checked)).ok


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
