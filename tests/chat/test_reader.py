import pytest
from scripted import ScriptedEngine, install

from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import files
from assistant.core.commands import Context
from assistant.core.errors import ModelError
from assistant.core.events import Checked, Failed, Notice, Report, Switched
from assistant.core.settings import Settings
from assistant.core.store import Current, Store
from assistant.core.values import CATEGORIES, ModelCard
from assistant.router import classifier
from finetuning.commands import REGISTRY


def run(paths, session, *words):
    return list(REGISTRY.run(words, Context(paths, chat=session)))


@pytest.fixture
def session(paths, monkeypatch):
    """A conversation whose engine gives one state for every question, over a base without a built-in classifier."""
    install(ScriptedEngine(), monkeypatch)
    live = Live(paths, Settings())
    yield Session(paths, live)
    live.release()


@pytest.fixture
def trained(paths):
    def make(favourite, base="scripted"):
        """A version that takes every question for one category."""
        store = Store(paths)
        version = store.reserve("classifier", {})
        weights = {name: [0.0, 0.0, 9.0 if name == favourite else 0.0] for name in CATEGORIES}
        document = {"base": base, "base_sha256": "", "hidden": [], "categories": weights, "complexity": [0.0, 0.0, 0.0]}
        files.write_json(store.version_folder("classifier", version) / classifier.FILE, document)
        store.finish(ModelCard("classifier", version, "", "probe", base, "", "d", "", "now", 0, 0, 1.0, 0.0, 1, ("hf",)))
        return version

    return make


def test_a_classifier_that_goes_live_elsewhere_reads_the_next_question(session, paths, trained):
    assert session.decide("hello").judgement is None
    list(session.say("hello"))
    for favourite in ("technical", "qna"):
        version = trained(favourite)
        Store(paths).make_live("classifier", version)
        assert session.decide("hello").judgement.category == favourite
        assert any(isinstance(event, Switched) and event.version == version for event in session.say("hello"))


def test_switch_and_rollback_try_the_classifier_with_a_question(session, paths, trained):
    first, second = trained("technical"), trained("general")
    for version in (first, second):
        events = run(paths, session, "switch", "classifier", version)
        assert any(isinstance(event, Checked) and event.name == "reads" for event in events)
    run(paths, session, "rollback", "classifier")
    assert Store(paths).current("classifier") == Current(first, second)
    assert session.decide("hello").judgement.category == "technical"


def test_the_classifier_cannot_be_pinned(session, paths):
    failed = next(event for event in run(paths, session, "switch", "classifier") if isinstance(event, Failed))
    assert "cannot be pinned" in failed.what


def test_a_classifier_of_another_base_does_not_go_live(session, paths, trained):
    version = trained("qna", base="another")
    assert any(isinstance(event, Failed) for event in run(paths, session, "switch", "classifier", version))
    assert Store(paths).current("classifier").version is None


def test_a_damaged_live_classifier_is_said_once_and_the_chat_goes_on(session, paths, trained):
    version = trained("qna")
    Store(paths).make_live("classifier", version)
    (Store(paths).version_folder("classifier", version) / classifier.FILE).write_text("{", encoding="utf-8")
    said = [[event for event in session.say("hello") if isinstance(event, Notice) and "classifier" in event.text] for _ in range(2)]
    assert len(said[0]) == 1 and not said[1]


def test_status_names_the_classifier_that_reads(session, paths, trained):
    Store(paths).make_live("classifier", trained("qna"))
    data = next(event.data for event in run(paths, session, "status") if isinstance(event, Report))
    assert data["classifier"] == {"live": "0001", "versions": ["0001"]}


def test_an_unknown_version_is_a_sentence(paths):
    with pytest.raises(ModelError, match="no version 0009"):
        classifier.of_version(Store(paths), "0009", "scripted", "")
