import logging

import pytest

from assistant.core.commands import Command, Context, MenuItem, Param, Registry, parse, split, usage
from assistant.core.errors import DataError, UsageError
from assistant.core.events import Failed, Finished, Notice

TRAIN = Command(
    "train",
    "train a model",
    "tests.core.test_commands:handler",
    (
        Param("model", "which model", positional=True, required=True),
        Param("preset", "how thoroughly", choices=("fast", "balanced"), default="balanced"),
        Param("max_steps", "steps", "int"),
        Param("learning_rate", "size of a step", "float"),
        Param("set", "any field", many=True, keys="tests.core.test_commands:fields"),
        Param("seed", "fixes every choice", "seed"),
        Param("promote", "make it live", "flag"),
    ),
    (MenuItem(6, "Train qna", ("qna",)),),
)
REGISTRY = Registry(
    (TRAIN, Command("status", "what is live", "tests.core.test_commands:breaks"), Command("boom", "fails", "tests.core.test_commands:boom"))
)


def fields():
    return ["lora_alpha", "learning_rate", "whitened"]


def handler(context, **values):
    yield Notice(repr(values))


def breaks(context):
    raise DataError("rows.jsonl, line 7: 'label' is 9.", "Use 0, 1 or 2.")
    yield


def boom(context):
    yield Notice("begun")
    raise ZeroDivisionError("oh")


def run(paths, *words):
    return list(REGISTRY.run(words, Context(paths)))


def test_words_become_values_with_their_defaults():
    values = parse(TRAIN, ["qna", "--max_steps", "20", "--promote"])
    given = {"model": "qna", "preset": "balanced", "max_steps": 20, "promote": True}
    assert values == dict.fromkeys(("learning_rate", "set", "seed")) | given


def test_a_flag_may_be_written_with_dashes():
    assert parse(TRAIN, ["qna", "--max-steps", "20"])["max_steps"] == 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs model"),
        (["qna", "--max_steps", "x"], "invalid int"),
        (["qna", "--stepz", "3"], "--stepz"),
        (["qna", "--preset", "huge"], "invalid choice"),
        (["qna", "extra"], "extra"),
    ],
)
def test_wrong_words_are_a_sentence_with_the_usage(words, said):
    with pytest.raises(UsageError) as error:
        parse(TRAIN, words)
    assert said.lower() in error.value.what.lower() and "train MODEL" in error.value.fix


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("qna --maxsteps 3", "Did you mean --max_steps?"),
        ("qna --lr 1e-4", "Did you mean --learning_rate?"),
        ("qna -lr=1e-4", "Did you mean --learning_rate?"),
        ("qna --lora_alpha 32", "Write `--set lora_alpha=32`."),
        ("--lora-alfa=32 qna", "Write `--set lora_alpha=32`."),
        ("qna --whitened --promote", "Write `--set whitened=VALUE`."),
        ("qna --lora_alpha 32 --presets fast", "Write `--set lora_alpha=32`. Did you mean --preset?"),
    ],
)
def test_a_flag_that_is_not_there_names_the_one_that_was_meant(words, fix):
    with pytest.raises(UsageError, match="unrecognized") as error:
        parse(TRAIN, words.split(" "))
    assert error.value.fix == fix


@pytest.mark.parametrize("seed", ["-1", "4294967296", "x", "1.5"])
def test_a_seed_that_random_numbers_do_not_take_is_a_sentence(seed):
    with pytest.raises(UsageError, match=f"The seed cannot be {seed}.") as error:
        parse(TRAIN, ["qna", "--seed", seed])
    assert "from 0 to 4294967295" in error.value.fix


def test_the_smallest_and_the_largest_seed_are_taken():
    assert [parse(TRAIN, ["qna", "--seed", seed])["seed"] for seed in ("0", "4294967295")] == [0, 2**32 - 1]


def test_an_unknown_command_names_the_nearest():
    with pytest.raises(UsageError) as error:
        REGISTRY.find("trian")
    assert "Did you mean `train`" in error.value.fix


def test_a_menu_number_stands_for_its_words_and_a_wrong_one_is_a_sentence():
    assert REGISTRY.numbered(6) == ["train", "qna"]
    with pytest.raises(UsageError, match="5 is not in the menu"):
        REGISTRY.numbered(5)


def test_the_usage_shows_required_and_optional_words():
    more = "[--learning_rate X] [--set SET …] [--seed N] [--promote]"
    assert usage(TRAIN) == f"train MODEL [--preset fast|balanced] [--max_steps N] {more}"


def test_every_run_ends_with_finished(paths):
    assert run(paths, "train", "qna")[-1] == Finished(0)


def test_a_known_error_becomes_its_sentence(paths):
    assert run(paths, "status") == [Failed("rows.jsonl, line 7: 'label' is 9.", "Use 0, 1 or 2."), Finished(2)]


def test_an_unexpected_error_is_a_sentence_on_the_screen_and_a_traceback_in_the_log(paths, caplog):
    logging.getLogger("pz2").propagate = True
    with caplog.at_level(logging.INFO, "pz2"):
        events = run(paths, "boom")
    assert isinstance(events[1], Failed) and "ZeroDivisionError" in events[1].what and "pz2.log" in events[1].fix
    assert events[-1] == Finished(2) and "Traceback" in caplog.text


def test_an_open_quote_is_a_sentence():
    with pytest.raises(UsageError, match="cannot be read"):
        split('import "my file.csv')


def test_windows_paths_survive_splitting():
    assert split(r"import C:\data\faq.csv --name faq")[1] == r"C:\data\faq.csv"
