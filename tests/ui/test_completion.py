import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from assistant.ui.completion import ChatLine
from finetuning.commands import REGISTRY


@pytest.fixture
def complete(paths):
    completer = ChatLine(REGISTRY, paths)

    def options(line):
        return [found.text for found in completer.get_completions(Document(line), CompleteEvent(completion_requested=True))]

    return options


def test_the_first_word_becomes_a_command_with_colon_or_slash(complete):
    assert complete("st") == ["status: "]
    assert complete("/st") == ["/status"]


def test_a_message_is_left_alone(complete):
    assert complete("status of my") == []
    assert complete("") == []


def test_after_ft_come_the_fine_tuning_commands(complete):
    assert "validate" in complete("ft: ")
    assert complete("ft: vali") == ["validate"]
    assert complete("/ft vali") == ["validate"]


def test_flags_and_their_choices_follow_a_command(complete):
    assert "--preset" in complete("ft: train unified --")
    assert "--preset" not in complete("ft: train unified --preset fast --")
    assert complete("ft: train unified --preset q") == ["quality"]


def test_positional_choices_models_and_versions_are_known(complete, paths):
    assert "resume" in complete("ft: jobs ")
    assert "technical" in complete("ft: train ")
    folder = paths.models / "qna_specialist" / "versions" / "0001"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}", encoding="utf-8")
    assert "0001" in complete("ft: switch qna ")


def test_runs_are_known_newest_first(complete, paths):
    for name in ("20260101-000000-unified", "20260102-000000-qna"):
        (paths.runs / name).mkdir(parents=True)
    assert complete("ft: jobs follow 2026")[0] == "20260102-000000-qna"


def test_model_and_save_complete_names_and_files(complete, tmp_path):
    assert complete("model: te") == ["technical"]
    (tmp_path / "notes.md").write_text("", encoding="utf-8")
    assert complete(f"save: {tmp_path}/no") == ["tes.md"]


@pytest.mark.parametrize("line", ["ft: nonsense ", "nonsense: x", "ft: train unified --seed ", "ft: status "])
def test_where_nothing_is_known_nothing_is_offered_or_only_flags(complete, line):
    assert [option for option in complete(line) if not option.startswith("--")] == []


def test_tab_completes_the_names_of_settings(complete):
    assert complete("ft: settings router.con") == ["router.confidence"]
