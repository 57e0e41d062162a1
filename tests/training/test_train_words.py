import pytest

from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Failed, Finished
from finetuning.commands import REGISTRY
from finetuning.training import commands


def test_every_seed_of_the_command_table_is_checked_alike():
    seeds = {command.name: param.kind for command in REGISTRY.commands for param in command.params if param.name == "seed"}
    assert {"train", "prefer", "learn", "methods", "generate", "import", "synthesize"} == set(seeds)
    assert set(seeds.values()) == {"seed"}


@pytest.mark.parametrize("begin", [commands.train, commands.prefer])
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused_before_anything_is_done(paths, begin, seed):
    with pytest.raises(UsageError, match=f"The seed cannot be {seed}"):
        list(begin(Context(paths), "unified", seed=seed))


@pytest.mark.parametrize("words", [{"set": ["method=dpo"]}, {"method": "dpo"}])
def test_train_points_to_prefer_for_dpo(paths, words):
    with pytest.raises(UsageError, match="dpo learns from pairs") as error:
        list(commands.train(Context(paths), "unified", **words))
    assert error.value.fix == "Use `prefer unified`."


def test_a_field_of_the_recipe_that_is_no_flag_is_told_with_set(paths):
    for name in ("train", "learn", "prefer", "methods"):
        failed, finished = REGISTRY.run([name, "unified", "--lora_alpha", "32"], Context(paths))
        assert isinstance(failed, Failed) and failed.fix == "Write `--set lora_alpha=32`." and finished == Finished(2)
