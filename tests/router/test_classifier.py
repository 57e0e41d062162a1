import json

import pytest

from assistant.core import files
from assistant.core.errors import ModelError
from assistant.core.store import Store
from assistant.core.values import CATEGORIES, ModelCard
from assistant.engine import embedded
from assistant.router import classifier
from assistant.router.classifier import Probe

LINE = Probe("tiny", "", (), {"qna": (1.0, 0.0, 0.0), "technical": (0.0, 1.0, 0.0), "general": (0.0, 0.0, 0.5)}, (2.0, 0.0, -1.0))


def document(**changes):
    known = {
        "base": "tiny",
        "base_sha256": "",
        "hidden": [],
        "categories": {name: [1, 0, 0] for name in CATEGORIES},
        "complexity": [0, 0, 0],
    }
    return {**known, **changes}


def card(version):
    return ModelCard("classifier", version, "", "probe", "tiny", "", "d", "", "now", 0, 0, 1.0, 0.0, 1, ("hf",))


@pytest.fixture
def trained(paths):
    def make(**changes):
        store = Store(paths)
        version = store.reserve("classifier", {})
        files.write_json(store.version_folder("classifier", version) / classifier.FILE, document(**changes))
        store.finish(card(version))
        store.make_live("classifier", version)
        return store

    return make


def test_probabilities_add_up_and_the_likeliest_category_is_named():
    judged = LINE.judge([4.0, 0.0])
    assert judged.category == "qna" and sum(judged.probabilities.values()) == pytest.approx(1)
    assert judged.complexity > 0.99


def test_flat_probabilities_are_unsure():
    assert LINE.judge([0.5, 0.5]).category == "unsure"


def test_a_hidden_layer_is_cut_at_zero():
    probe = Probe(
        "tiny",
        "",
        ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)),
        dict.fromkeys(CATEGORIES, (0.0, 0.0, 0.0)) | {"general": (0.0, 9.0, 0.0)},
        (0, 0, 0),
    )
    assert probe.judge([-1.0, 0.0]).category == "general"
    assert probe.judge([1.0, 0.0]).category == "unsure"


def test_a_state_of_another_base_is_a_sentence():
    with pytest.raises(ModelError, match="states of 2 numbers; this base has 3"):
        LINE.judge([1.0, 2.0, 3.0])


def test_the_shipped_classifier_fits_the_embedded_base_alone():
    probe = classifier.built_in(embedded.NAME, embedded.SHA256)
    assert probe is not None and probe.base == embedded.NAME
    assert classifier.built_in("another", "0" * 64) is None and classifier.built_in("another", "") is None


def test_without_a_trained_classifier_the_built_in_one_reads(paths):
    probe, version = classifier.live(Store(paths), embedded.NAME, embedded.SHA256)
    assert probe == classifier.load() and version is None


def test_the_live_version_reads(trained):
    probe, version = classifier.live(trained(complexity=[1, 2, 3]), "tiny", "")
    assert version == "0001" and probe.complexity == (1.0, 2.0, 3.0)


def test_a_version_of_another_base_is_refused_with_the_way_out(trained):
    with pytest.raises(ModelError, match="fitted on tiny, not on big"):
        classifier.live(trained(), "big", "")


@pytest.mark.parametrize(
    "change", [{"complexity": [1]}, {"hidden": [[1]]}, {"categories": {"qna": [1]}}, {"hidden": "no"}, {"complexity": None}]
)
def test_a_damaged_file_is_a_sentence(trained, change):
    with pytest.raises(ModelError, match=r"probe\.json is damaged"):
        classifier.live(trained(**change), "tiny", "")


def test_a_file_that_is_no_json_is_a_sentence(tmp_path):
    (tmp_path / "probe.json").write_text(json.dumps(document())[:-5], encoding="utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        classifier.load(tmp_path / "probe.json")
