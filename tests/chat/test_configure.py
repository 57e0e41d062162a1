import pytest
import yaml

from assistant.chat.configure import find, keys
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Failed, Notice, Report
from finetuning.commands import REGISTRY


class Answers:
    """A person who chooses and types what the test says."""

    def __init__(self, choice, text):
        self._choice, self._text = choice, text

    def choice(self, question, options, default=None):
        assert self._choice in options
        return self._choice

    def text(self, question, default=""):
        return self._text

    def confirm(self, question, default=False):
        return default


def run(paths, *words, questions=None, chat=None):
    return list(REGISTRY.run(["settings", *words], Context(paths, questions=questions, chat=chat)))


def failed(events):
    return next(event for event in events if isinstance(event, Failed))


def test_every_setting_is_shown_with_what_it_means(paths):
    report = next(event for event in run(paths) if isinstance(event, Report))
    assert {"base", "engine", "chat.temperature", "router.confidence", "router.memory_budget_mb"} <= set(report.data)
    assert all(item["meaning"] for item in report.data.values())


def test_a_setting_is_changed_for_this_root_alone_and_put_back(paths):
    run(paths, "router.confidence", "0.8")
    assert configuration.load(paths).router.confidence == 0.8 and configuration.load(paths, own=False).router.confidence == 0.7
    run(paths, "router.confidence", "default")
    assert configuration.load(paths).router.confidence == 0.7
    assert not yaml.safe_load((paths.models / "settings.yaml").read_text(encoding="utf-8"))


def test_other_settings_of_the_root_stay(paths):
    (paths.models / "settings.yaml").write_text("chat:\n  temperature: 0.4\n", encoding="utf-8")
    run(paths, "router.escalation", "offer")
    now = configuration.load(paths)
    assert (now.chat.temperature, now.router.escalation) == (0.4, "offer")


@pytest.mark.parametrize("typed, value", [("80%", 0.8), ("1", 1.0), ("0.55", 0.55)])
def test_a_share_may_be_typed_as_a_person_writes_it(paths, typed, value):
    run(paths, "confidence", typed)
    assert configuration.load(paths).router.confidence == value


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("router.confidense", "0.5"), "did you mean 'router.confidence'?"),
        (("router.confidence", "high"), "cannot be router.confidence"),
        (("router.confidence", "1.5"), "between 0 and 1"),
        (("router.escalation", "never"), "use one of auto, offer"),
        (("chat.max_tokens", "many"), "cannot be chat.max_tokens"),
        (("router.memory_budget_mb", "-1"), "at least 0"),
        (("router.learn", "maybe"), "cannot be router.learn"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_changes_nothing(paths, words, sentence):
    error = failed(run(paths, *words))
    assert sentence.lower() in f"{error.what} {error.fix}".lower()
    assert not (paths.models / "settings.yaml").exists()


def test_in_a_terminal_the_setting_and_its_value_are_asked_for(paths):
    run(paths, questions=Answers("router.escalation", "offer"))
    assert configuration.load(paths).router.escalation == "offer"
    before = (paths.models / "settings.yaml").read_text(encoding="utf-8")
    run(paths, questions=Answers("leave everything as it is", ""))
    assert (paths.models / "settings.yaml").read_text(encoding="utf-8") == before


def test_a_running_chat_follows_the_routers_settings_at_its_next_turn(session, paths):
    run(paths, "router.confidence", "0.9")
    list(session.say("hello"))
    assert session.live.settings.router.confidence == 0.9


def test_what_was_learned_is_forgotten_on_request(session, paths):
    list(session.say("hello"))
    assert paths.usage.exists()
    events = run(paths, "--forget")
    assert not paths.usage.exists() and isinstance(events[0], Notice)


def test_a_name_that_two_groups_share_must_be_written_out(paths):
    names = [item.name for item in keys(paths)]
    assert len(set(names)) == len(names)
    with pytest.raises(UsageError):
        find(paths, "nothing like it")
