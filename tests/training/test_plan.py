import dataclasses
import json

import pytest

from assistant.core import files
from assistant.core.errors import DataError, TrainingError, UsageError
from assistant.engine.base import Base
from finetuning.training import hub
from finetuning.training import plan as plans
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import Recipe

from .conftest import row


@pytest.fixture
def plan(paths, write_rows) -> TrainingPlan:
    write_rows(paths.processed / "unified_train.jsonl", [row("Hi", "Hello")])
    write_rows(paths.processed / "unified_validation.jsonl", [row("Hey", "Hello")])
    data = plans.dataset(paths, "unified")
    return plans.sealed(TrainingPlan("unified", "Tiny", "embedded", "abc", 135, *data, "fast", Recipe(), 42))


def test_a_plan_reads_back_as_it_was_written(plan, paths):
    files.write_json(paths.root / "plan.json", plans.to_json(plan))
    assert plans.load(paths.root / "plan.json") == plan


def test_the_hash_stands_for_every_field(plan):
    changed = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, lora_r=8))
    assert plans.sealed(changed).hash != plan.hash
    assert plans.sealed(plan).hash == plan.hash


def test_a_plan_that_was_changed_by_hand_is_refused(plan, paths):
    path = paths.root / "plan.json"
    path.write_text(json.dumps({**plans.to_json(plan), "seed": 43}), encoding="utf-8")
    with pytest.raises(TrainingError, match="was changed after the run began"):
        plans.load(path)


def test_a_file_that_is_no_plan_is_refused(paths):
    path = paths.root / "plan.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(TrainingError, match="is not a training plan"):
        plans.load(path)


def test_a_dataset_that_changed_since_is_refused(plan, paths, write_rows):
    plans.check_data(plan, paths)
    write_rows(paths.processed / "unified_validation.jsonl", [row("Hey", "Bye")])
    with pytest.raises(DataError, match="is not the file this run was planned with"):
        plans.check_data(plan, paths)


def test_each_model_has_its_own_files(paths):
    assert plans.sources(paths, "unified")[1].name == "unified_train.jsonl"
    assert plans.sources(paths, "qna")[2].name == "dialogue_qna_validation.jsonl"
    assert plans.sources(paths, "law")[1] == paths.datasets / "law" / "train.jsonl"


def test_missing_training_rows_say_how_to_make_them(paths):
    with pytest.raises(DataError) as error:
        plans.dataset(paths, "technical")
    assert "dialogue_technical_train.jsonl does not exist" in error.value.what
    assert "`generate`" in error.value.fix


def test_a_domain_needs_a_dataset_and_a_free_name(paths, write_rows):
    with pytest.raises(UsageError, match="no dataset"):
        plans.check_model(paths, "law")
    with pytest.raises(UsageError, match="reserved"):
        plans.check_model(paths, "base")
    write_rows(paths.datasets / "law" / "train.jsonl", [row("Hi", "Hello")])
    assert plans.check_model(paths, "law") == "law"
    with pytest.raises(UsageError) as error:
        plans.check_model(paths, "lwa")
    assert "Domains with a dataset: law." in error.value.fix


def test_daily_chat_is_handled_by_the_unified_model(paths):
    with pytest.raises(UsageError, match="handled by the unified model"):
        plans.check_model(paths, "daily_chat")


@pytest.mark.parametrize(
    ("source", "parameters", "scale"),
    [("HuggingFaceTB/SmolLM2-135M-Instruct", 135_000_000, "small"), ("Qwen/Qwen3-1.7B", 1_700_000_000, "large"), ("some/base", 0, "large")],
)
def test_the_size_of_a_base_decides_its_presets(source, parameters, scale):
    assert plans.parameters(Base(source, source)) == parameters
    assert plans.scale(parameters) == scale


def test_the_size_of_a_folder_is_counted_in_its_weights(tmp_path, write_weights):
    write_weights(tmp_path / "model.safetensors")
    assert plans.parameters(Base("own", str(tmp_path))) == 17


def test_the_size_of_a_cached_base_is_counted_there_whatever_its_name_says(cached):
    cached("microsoft/phi-2")
    cached("tiny/tiny-135M")
    assert plans.parameters(Base("phi-2", "microsoft/phi-2")) == 17
    assert plans.parameters(Base("tiny", "tiny/tiny-135M")) == 17


def test_weights_are_those_that_transformers_reads(tmp_path, write_weights):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files.write_json(tmp_path / hub.INDEX, {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}})
    write_weights(tmp_path / names[0])
    assert hub.weights(tmp_path) == [], "the second one is missing"
    write_weights(tmp_path / names[1])
    write_weights(tmp_path / "consolidated.safetensors")
    assert hub.weights(tmp_path) == [tmp_path / name for name in names]
    files.write_json(tmp_path / hub.INDEX, [])
    assert hub.weights(tmp_path) == []
    write_weights(tmp_path / "model.safetensors")
    assert hub.weights(tmp_path) == [tmp_path / "model.safetensors"]
