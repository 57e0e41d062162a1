import dataclasses
import shutil

import pytest

from assistant.core.errors import ConfigError, UsageError
from assistant.core.paths import Paths
from finetuning.training.recipe import PRESETS, Recipe, recipe


@pytest.fixture
def own_config(paths, monkeypatch):
    shipped = paths.configs / "training_config.yaml"
    folder = paths.root / "configs"
    folder.mkdir()
    shutil.copy(shipped, folder)
    monkeypatch.setattr(Paths, "configs", property(lambda self: folder))
    return folder / "training_config.yaml"


@pytest.mark.parametrize(
    ("preset", "epochs", "learning_rate", "batch_size"),
    [("fast", 2, 2e-4, 4), ("balanced", 4, 1e-4, 2), ("quality", 6, 5e-5, 1), ("memory_efficient", 3, 1e-4, 1)],
)
def test_a_large_base_gets_the_figures_of_the_field(paths, preset, epochs, learning_rate, batch_size):
    found = recipe(paths, preset, "large")
    assert (found.epochs, found.learning_rate, found.batch_size) == (epochs, learning_rate, batch_size)


def test_every_preset_of_a_small_base_is_whole_and_differs_from_balanced(paths):
    found = {preset: recipe(paths, preset, "small") for preset in PRESETS}
    assert len(set(found.values())) == len(PRESETS)
    assert found["balanced"].learning_rate == 1e-3


def test_what_the_user_gives_goes_over_the_preset(paths):
    found = recipe(paths, "fast", "small", {"max_steps": 7, "learning_rate": 0.01, "epochs": None})
    assert (found.max_steps, found.learning_rate) == (7, 0.01)
    assert found.epochs == recipe(paths, "fast", "small").epochs


def test_the_config_says_what_every_field_trades(paths):
    text = (paths.configs / "training_config.yaml").read_text(encoding="utf-8")
    for field in dataclasses.fields(Recipe):
        if field.name == "max_steps":
            continue
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{field.name}: ") and "#" in line)
        assert len(line.partition("#")[2].strip()) > 20


def test_a_wrong_key_of_the_file_is_named_with_the_nearest_right_one(own_config, paths):
    own_config.write_text("training:\n  all:\n    learning_rte: 0.1\n  smal: {}\n  large:\n    fast:\n      epoch: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        recipe(paths, "fast", "small")
    assert "'training.all.learning_rte'; did you mean 'learning_rate'?" in error.value.what
    assert "'training.smal'; did you mean 'small'?" in error.value.what
    assert "'training.large.fast.epoch'; did you mean 'epochs'?" in error.value.what


def test_a_value_that_cannot_be_is_named_with_its_place(own_config, paths):
    own_config.write_text("training:\n  small:\n    quality:\n      batch_size: -1\n      schedule: round\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        recipe(paths, "fast", "large")
    assert "'training.small.quality.batch_size' is -1" in error.value.what
    assert "'training.small.quality.schedule' is 'round'; use one of cosine, linear, constant." in error.value.what


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("all: {method: dpo}", "all.method"),
        ("small: {fast: {method: dpo}}", "small.fast.method"),
        ("methods: {lora: {method: dpo}}", "methods.lora.method"),
    ],
)
def test_dpo_is_chosen_by_no_file(own_config, paths, text, place):
    own_config.write_text(f"training:\n  {text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"'training.{place}' is 'dpo'; it is what `prefer` does; use one of lora"):
        recipe(paths, "fast", "small")
    with pytest.raises(ConfigError):
        recipe(paths, "fast", "small", {"method": "dpo"})


def test_a_section_without_keys_is_a_sentence(own_config, paths):
    own_config.write_text("training: 7\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'training' holds no keys"):
        recipe(paths, "fast", "small")


def test_all_wrong_flags_are_named_at_once(paths):
    with pytest.raises(UsageError) as error:
        recipe(paths, "fast", "small", {"batch_size": -1, "learning_rate": 5.0})
    assert "'batch_size' is -1" in error.value.what
    assert "'learning_rate' is 5.0" in error.value.what


def test_an_unknown_preset_names_the_known_ones(paths):
    with pytest.raises(UsageError, match="no preset 'turbo'"):
        recipe(paths, "turbo", "small")


def test_long_rows_come_fewer_at_a_time_than_short_ones():
    short, long = (Recipe(batch_size=0, epochs=0.0).sized(5000, 1000, 5000 * tokens) for tokens in (80, 220))
    assert (short.batch_size, long.batch_size) == (4, 2)
    assert Recipe(batch_size=5).sized(5000, 1000, 5000 * 80).batch_size == 5


def test_each_answer_is_seen_as_often_as_asked_whatever_its_number_of_wordings():
    one, five = (Recipe(batch_size=0, epochs=0.0, exposures=5.0).sized(5000, 5000 // wordings, 400_000) for wordings in (1, 5))
    assert (one.epochs, five.epochs) == (5.0, 1.0)
    assert Recipe(epochs=2.0).sized(5000, 1000, 400_000).epochs == 2.0


def test_a_small_dataset_is_repeated_until_it_has_had_enough_steps():
    found = Recipe(batch_size=0, epochs=0.0).sized(40, 40, 4_000)
    assert found.batch_size * 160 / 40 == found.epochs
    assert Recipe(batch_size=0, epochs=0.0).sized(6, 6, 600).epochs == 20.0
