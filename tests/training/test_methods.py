import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assistant.core.errors import ConfigError, UsageError
from finetuning.commands import METHODS as OFFERED
from finetuning.commands import REGISTRY
from finetuning.training import hardware, launch, packing, processes, runs
from finetuning.training.recipe import METHODS, Recipe, assignments, recipe

from .test_recipe import own_config  # noqa: F401


def test_the_command_offers_every_method():
    assert OFFERED == METHODS
    assert next(param for param in REGISTRY.find("train").params if param.name == "method").choices == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_recipe_on_small_and_large_bases(paths, method):
    for scale in ("small", "large"):
        assert recipe(paths, "balanced", scale, {"method": method}).method == method


def test_a_method_brings_its_learning_rate_and_a_flag_goes_over_it(paths):
    rates = {method: recipe(paths, "balanced", "small", {"method": method}).learning_rate for method in METHODS}
    assert rates["full"] < rates["lora"] < rates["ia3"] < rates["prompt_tuning"]
    assert recipe(paths, "balanced", "small", {"method": "full", "learning_rate": 0.5e-3}).learning_rate == 0.5e-3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "prompt_tuning", "packing": True}, "'packing' cannot go with prompt_tuning: only the first of the joined rows"),
        ({"method": "ia3", "lora_dropout": 0.1}, "'lora_dropout' has no meaning for ia3"),
        ({"method": "lorra"}, "'method' is 'lorra'; use one of lora, dora, qlora, lora_8bit, ia3, prompt_tuning, full."),
        ({"prompt_tokens": 0}, "'prompt_tokens' is 0; from 1 to 512."),
        ({"neftune_alpha": -1.0}, "'neftune_alpha' is -1.0; from 0 to 100"),
        ({"lora_alfa": 3}, "there is no key 'lora_alfa'; did you mean 'lora_alpha'?"),
    ],
)
def test_what_cannot_be_or_go_together_is_a_sentence(paths, changes, sentence):
    with pytest.raises(UsageError) as error:
        recipe(paths, "balanced", "small", changes)
    assert sentence in error.value.what


def test_a_wrong_method_in_the_file_is_named_with_the_nearest_right_one(own_config, paths):  # noqa: F811
    own_config.write_text("training:\n  methods:\n    ful: {}\n    ia3:\n      epochs: -1\n    full: 7\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        recipe(paths, "balanced", "small")
    assert "'training.methods.ful'; did you mean 'full'?" in error.value.what
    assert "'training.methods.ia3.epochs' is" in error.value.what
    assert "'training.methods.full' holds a group of keys, not 7." in error.value.what


def test_fields_are_set_from_words():
    found = assignments(["lora_alpha=32", "packing=true", "learning_rate=1e-4", "schedule=linear"])
    assert found == {"lora_alpha": 32, "packing": True, "learning_rate": 1e-4, "schedule": "linear"}
    with pytest.raises(UsageError, match="'packing' is not KEY=VALUE"):
        assignments(["packing"])
    with pytest.raises(UsageError, match="cannot be read as a value of 'a'"):
        assignments(["a=[1"])


def test_what_the_hardware_lacks_is_said_before_the_training(monkeypatch):
    monkeypatch.setattr(hardware.engines, "has_gpu", lambda: False)
    lines = {line.name: line.detail for line in hardware.lines(Recipe(liger=True, flash_attention=True, method="qlora"))}
    assert lines["Liger"] == "Liger needs a CUDA GPU; trained without it."
    assert lines["FlashAttention 2"] == "FlashAttention 2 needs a CUDA GPU; trained without it."
    assert "slower than lora" in lines["method"]
    assert hardware.lines(Recipe()) == []
    monkeypatch.setattr(hardware.engines, "has_gpu", lambda: True)
    monkeypatch.setattr(hardware.engines, "installed", lambda package: False)
    assert hardware.liger_missing() == "Liger needs the package liger-kernel; trained without it."
    assert hardware.flash_attention_missing() == "FlashAttention 2 needs the package flash-attn; trained without it."
    (line,) = hardware.lines(Recipe(method="lora_8bit"))
    assert not line.ok and "bitsandbytes" in line.detail


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@given(LENGTHS, st.integers(60, 200), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
def test_packing_trains_every_row_once_a_pass_in_sequences_of_the_allowed_length(lengths, limit, size, epochs, seed):
    order = packing.batches(lengths, limit, size, epochs, seed)
    rows = [row for batch in order for row in batch]
    # The passes differ a little in how many batches they fill; a run is cut at the mean of them.
    assert set(rows[: len(lengths)]) == set(range(len(lengths)))
    for batch in order:
        sequences = packing.joined([lengths[row] for row in batch], limit)
        assert len(sequences) <= size
        assert all(sum(lengths[batch[place]] for place in sequence) <= limit for sequence in sequences)
    assert order == packing.batches(lengths, limit, size, epochs, seed)


@given(LENGTHS, st.integers(1, 30))
def test_a_packed_run_of_fixed_steps_has_so_many(lengths, steps):
    assert len(packing.batches(lengths, 64, 2, 1.0, 0, steps)) == steps


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_processes_divide_a_batch_without_a_rest(rows, count):
    shares = []
    for rank in range(count):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WORLD_SIZE", str(count))
            patch.setenv("RANK", str(rank))
            shares.append(processes.share(rows))
    assert sorted(row for share in shares for row in share) == sorted(rows)


def test_one_process_decides_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.is_first() and processes.agree(True) and not processes.agree(False)


def run(**values):
    return runs.Run("small-0001", "small", "0001", "", 0.0, **values)


def test_several_processes_are_started_by_accelerate_on_a_free_port(paths):
    alone = launch._command(paths, run())
    assert "accelerate.commands.launch" not in alone
    several = " ".join(launch._command(paths, run(processes=2)))
    assert "accelerate.commands.launch --main_process_port 0 --multi_gpu" in several
    assert several.endswith(f"--num_processes 2 --module finetuning.training.child --root {paths.root} small-0001")
    assert launch._environment(run(processes=2))["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


def test_a_configuration_of_accelerate_is_handed_on(paths):
    path = paths.root / "fsdp.yaml"
    path.write_text(yaml.safe_dump({"distributed_type": "FSDP", "num_processes": 2}), encoding="utf-8")
    assert launch.together(paths, None, str(path)) == (0, str(path))
    command = " ".join(launch._command(paths, run(processes=0, accelerate_config=str(path))))
    assert f"--config_file {path} --module" in command and "--num_processes" not in command


def test_what_a_configuration_of_accelerate_asks_for_in_vain_is_said(paths, monkeypatch):
    path = paths.root / "several.yaml"
    monkeypatch.setattr(launch.engines, "has_gpu", lambda: False)
    path.write_text("distributed_type: FSDP\n", encoding="utf-8")
    assert "FSDP needs GPUs" in launch.left_out(str(path))
    assert launch.left_out("") is None
    path.write_text("distributed_type: MULTI_CPU\n", encoding="utf-8")
    assert launch.left_out(str(path)) is None
    path.write_text("distributed_type: [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"several\.yaml, line"):
        launch.together(paths, None, str(path))
    monkeypatch.setattr(launch.engines, "installed", lambda package: False)
    path.write_text("distributed_type: DEEPSPEED\n", encoding="utf-8")
    with pytest.raises(UsageError, match="DeepSpeed, which is not installed"):
        launch.together(paths, None, str(path))


def test_a_wrong_number_of_processes_or_a_missing_file_is_a_sentence(paths):
    assert launch.together(paths, None, None) == (1, "")
    with pytest.raises(UsageError, match="'processes' is 0"):
        launch.together(paths, 0, None)
    with pytest.raises(UsageError, match="does not exist"):
        launch.together(paths, None, "nowhere.yaml")
