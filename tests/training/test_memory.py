import json
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.core.errors import UsageError
from assistant.engine.base import Base
from finetuning.training import memory, preflight, trackers
from finetuning.training.memory import EMBEDDED, Batch, Machine, Shape
from finetuning.training.recipe import METHODS, Recipe
from finetuning.training.rows import Encoded, Row, about_tokens, estimated

from .conftest import row

GB = 1_000_000_000
LONG = [Batch(8, 512, 2048), Batch(8, 64, 256)]


def need(at_once=1024, batches=LONG, **changes):
    return memory.peak_bytes(EMBEDDED, replace(Recipe(), **changes), batches, at_once)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_an_estimate_that_grows_with_rows_and_length(method):
    small, long, many = (need(0, [batch], method=method) for batch in (Batch(2, 64, 64), Batch(2, 256, 64), Batch(8, 64, 64)))
    assert memory.LIBRARIES_BYTES < small < min(long, many)


def test_parts_need_less_and_never_divide_a_row():
    assert need(1024) < need(0)
    assert need(256) == need(512)
    assert memory.part(Batch(8, 512, 2048), 1024) == Batch(2, 512, 512)
    assert memory.part(Batch(8, 512, 2048), 100) == Batch(1, 512, 256)
    assert memory.part(Batch(5, 100, 50), 300) == Batch(3, 100, 30)


def test_frozen_layers_keep_nothing_unless_activations_are_computed_twice():
    half, quarter, none = (need(0, [Batch(4, 128, 256)], frozen_share=share) for share in (0.5, 0.25, 0.0))
    assert half < quarter < none
    assert need(frozen_share=0.5, gradient_checkpointing=True) == need(gradient_checkpointing=True)
    assert need(frozen_share=0.5, method="full") == need(method="full")


def test_states_below_the_first_adapter_are_counted_up_to_their_limit():
    def counted(tokens, **changes):
        return memory.below_bytes(EMBEDDED, replace(Recipe(frozen_share=0.5, epochs=2.0), **changes), tokens)

    assert counted(1000) >= 1000 * EMBEDDED.hidden * 2
    assert memory.BELOW_BYTES <= counted(10**9) == counted(10**8)
    nothing = ({"frozen_share": 0.0}, {"packing": True}, {"gradient_checkpointing": True}, {"epochs": 1.0})
    assert not any(counted(1000, **without) for without in nothing)


def test_the_plan_retreats_to_smaller_parts_and_then_to_computing_twice():
    whole = need(0)
    smaller, needed = memory.fitted(EMBEDDED, Recipe(), LONG, whole - 1, 0)
    assert needed < whole and 512 <= smaller.tokens_at_once < 8 * 512 and not smaller.gradient_checkpointing
    twice, _ = memory.fitted(EMBEDDED, Recipe(), LONG, need(512) - 1, 0)
    assert twice.gradient_checkpointing
    assert memory.fitted(EMBEDDED, Recipe(), LONG, GB // 2, 0) is None


def test_the_memory_line_says_what_the_plan_does_about_too_little(monkeypatch):
    encoded = Encoded(tuple(Row(tuple(range(512)), 256) for _ in range(16)))
    order = preflight._batches(Recipe(), encoded, 42)
    monkeypatch.setattr(memory, "free_gpu_bytes", lambda: None)
    monkeypatch.setattr(memory, "free_bytes", lambda: 8 * GB)
    recipe, line = preflight._memory(EMBEDDED, Recipe(), encoded, order)
    assert line.ok and recipe == Recipe() and "8,000 MB free" in line.detail
    monkeypatch.setattr(memory, "free_bytes", lambda: need(512) - 1)
    recipe, line = preflight._memory(EMBEDDED, Recipe(), encoded, order)
    assert line.ok and recipe.gradient_checkpointing and "activations computed twice" in line.detail and "same result" in line.detail
    monkeypatch.setattr(memory, "free_bytes", lambda: GB // 2)
    recipe, line = preflight._memory(EMBEDDED, Recipe(method="full"), encoded, order)
    assert not line.ok and "--method lora" in line.detail


@pytest.mark.parametrize(("method", "bytes_each"), [("qlora", 0.6), ("lora_8bit", 1.1)])
def test_a_quantised_base_takes_what_its_format_says_on_a_gpu_and_more_on_a_cpu(method, bytes_each):
    recipe, big = Recipe(method=method), Shape(7_000_000_000, 32, 4096, 11_008, 32, 32_000)
    plain = memory.fixed_bytes(big, Recipe(), gpu=True) - 2.0 * big.parameters
    weights = memory.fixed_bytes(big, recipe, gpu=True) - plain
    assert bytes_each * big.parameters < weights < 1.15 * bytes_each * big.parameters
    assert memory.fixed_bytes(big, recipe) - plain > 2 * big.parameters
    assert memory.fixed_bytes(big, Recipe(), gpu=True) == memory.fixed_bytes(big, Recipe())


def test_processes_on_one_cpu_each_have_libraries_and_weights_and_a_share_of_the_batch():
    def needed(machine, **changes):
        return memory.peak_bytes(EMBEDDED, replace(Recipe(), **changes), [Batch(8, 64, 256)], 0, machine=machine)

    one, four = needed(Machine()), needed(Machine(processes=4))
    each = memory.peak_bytes(EMBEDDED, Recipe(), [Batch(2, 64, 64)], 0)
    assert four == 4 * each and one < four < 4 * one
    assert needed(Machine(gpu=True, processes=4)) == each


def test_what_several_processes_divide_is_not_computed_in_parts():
    two = Machine(processes=2)
    whole = memory.peak_bytes(EMBEDDED, Recipe(), LONG, 512, machine=two)
    assert whole == memory.peak_bytes(EMBEDDED, Recipe(), LONG, 0, machine=two)
    smaller, _ = memory.fitted(EMBEDDED, Recipe(), LONG, whole - 1, 512, machine=two)
    assert smaller.gradient_checkpointing and not smaller.tokens_at_once


def test_the_memory_line_names_the_processes(monkeypatch):
    encoded = Encoded(tuple(Row(tuple(range(512)), 256) for _ in range(16)))
    order = preflight._batches(Recipe(), encoded, 42)
    monkeypatch.setattr(memory, "free_gpu_bytes", lambda: None)
    monkeypatch.setattr(memory, "free_bytes", lambda: 80 * GB)

    def said(processes):
        return preflight._memory(EMBEDDED, Recipe(), encoded, order, processes)[1].detail

    assert "MB needed by 4 processes, 80,000 MB free" in said(4)
    assert "MB needed by each process" in said(0), "how many is in a file of accelerate"
    assert "MB needed, " in said(1)
    monkeypatch.setattr(memory, "free_bytes", lambda: GB)
    assert "fewer --processes or --method lora" in preflight._memory(EMBEDDED, Recipe(method="full"), encoded, order, 4)[1].detail


def test_the_shape_of_a_base_is_read_from_its_configuration(tmp_path, paths, cached):
    document = {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "num_attention_heads": 32, "vocab_size": 128_256}
    (tmp_path / "config.json").write_text(json.dumps(document), encoding="utf-8")
    found = memory.shape(Base("big", str(tmp_path)), paths, 1_236_000_000)
    assert (found.layers, found.hidden, found.inner, found.heads, found.vocabulary) == (16, 2048, 8192, 32, 128_256)
    folder = cached("microsoft/phi-2")
    (folder / "config.json").write_text(json.dumps(document), encoding="utf-8")
    assert memory.shape(Base("phi-2", "microsoft/phi-2"), paths, 1_236_000_000) == found
    unknown = memory.shape(Base("far", str(tmp_path / "none")), paths, 1_236_000_000)
    assert 0.5 < unknown.layers * unknown.width / (found.layers * found.width) < 2


def test_rows_of_a_base_without_a_fast_tokenizer_are_estimated(tmp_path, write_rows):
    path = write_rows(tmp_path / "train.jsonl", [row("Hi", "Hello there."), row("안녕하세요", "반갑습니다"), "{"])
    found = estimated(path, "unified", 32)
    assert len(found.rows) == 2 and all(0 < one.trained < len(one.ids) <= 32 for one in found.rows)


def test_characters_that_a_vocabulary_may_lack_count_as_their_bytes():
    assert about_tokens("Hello there.") == 4
    assert about_tokens("안녕하세요") == 15
    assert about_tokens("Enter 키") == 2 + 3


def test_a_template_line_says_whose_template_it_is(tmp_path, paths):
    base = Base("own", str(tmp_path))
    assert "PZ2's" in preflight._template(base, paths).detail
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}', encoding="utf-8")
    assert preflight._template(base, paths).detail == "the base's own"
    assert "ChatML" in preflight._template(replace(base, tokenizer_json=Path("x")), paths).detail


def test_trackers_that_are_not_installed_are_a_sentence_with_the_command(monkeypatch):
    monkeypatch.setattr(trackers.engines, "installed", lambda package: package == "wandb")
    assert trackers.check(["wandb", "tensorboard", "wandb"]) == ("wandb",)
    with pytest.raises(UsageError, match="mlflow-skinny, which is not installed") as error:
        trackers.check(["wandb", "mlflow"])
    assert "pip install mlflow-skinny" in error.value.fix
    with pytest.raises(UsageError, match="Nothing called 'comet'"):
        trackers.check(["comet"])
