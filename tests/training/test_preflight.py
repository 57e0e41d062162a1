import pytest

from assistant.core import files
from assistant.core.settings import Settings
from finetuning.training import hub, order, packing, preflight
from finetuning.training.preflight import Look
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Encoded, Row

from .conftest import row


@pytest.fixture
def base_line(paths, cached):
    """The line about a base, beside a cache that holds one."""
    cached("microsoft/phi-2")
    return lambda source: preflight._base(Settings(base=source), paths)


def test_a_base_in_the_cache_shows_its_counted_size(base_line):
    base, line = base_line("microsoft/phi-2")
    assert base is not None and line.ok and line.detail == "microsoft/phi-2, 0 million parameters"


def test_a_base_that_has_to_be_fetched_says_so(base_line):
    base, line = base_line("far/away-135M")
    assert base is not None and line.ok
    assert "135 million parameters; not in the local Hugging Face cache, so it is fetched from huggingface.co" in line.detail
    assert "how much that is cannot be known" in line.detail


@pytest.mark.parametrize("source", ["distilgpt2", "microsoft/Phi-3-mini-4k-instruct"])
def test_a_base_of_unknown_size_fails_and_says_how_to_fetch_it(base_line, source):
    base, line = base_line(source)
    assert base is None and not line.ok
    assert "the name does not say how many parameters there are" in line.detail and f"`hf download {source}`" in line.detail


def test_offline_only_what_is_in_the_cache_will_do(base_line, monkeypatch):
    monkeypatch.setattr(hub, "is_offline", lambda: True)
    assert base_line("microsoft/phi-2")[1].ok
    base, line = base_line("far/away-135M")
    assert base is None and not line.ok and "HF_HUB_OFFLINE is set" in line.detail


def test_a_download_that_was_broken_off_does_not_count(base_line, cached):
    (cached("far/half-135M") / "model.safetensors").unlink()
    assert "is fetched from huggingface.co" in base_line("far/half-135M")[1].detail


@pytest.mark.parametrize("source", ["Qwen 2.5 7B", "owner/..7B", "7B-"])
def test_an_id_of_a_wrong_form_fails(base_line, source):
    base, line = base_line(source)
    assert base is None and not line.ok and f"{source} is neither a folder nor a Hugging Face id (OWNER/NAME)" in line.detail


def test_a_folder_that_lacks_weights_fails(base_line, tmp_path, write_weights):
    write_weights(tmp_path / "own" / "model-00001-of-00002.safetensors")
    files.write_json(tmp_path / "own" / hub.INDEX, {"weight_map": {"a": "model-00002-of-00002.safetensors"}})
    base, line = base_line(str(tmp_path / "own"))
    assert base is None and not line.ok and f"lacks files that {hub.INDEX} names" in line.detail


def test_a_folder_of_broken_weights_fails(base_line, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.safetensors").write_bytes(b"no weights at all")
    base, line = base_line(str(tmp_path / "own"))
    assert base is None and not line.ok and "is not a safetensors file" in line.detail


def test_batches_are_those_of_the_runs_seed():
    encoded = Encoded(tuple(Row(tuple(range(4 + length)), 2) for length in range(40)))
    lengths, recipe = [one.tokens for one in encoded.rows], Recipe(batch_size=4)
    for seed in (7, 42):
        wanted = order.batches(lengths, 4, recipe.epochs, seed)
        assert [[size for size, _ in batch] for batch in preflight._batches(recipe, encoded, seed)] == [
            [lengths[place] for place in batch] for batch in wanted
        ]
    assert preflight._batches(recipe, encoded, 7) != preflight._batches(recipe, encoded, 42)
    packed = Recipe(batch_size=1, packing=True, max_length=64)
    for seed in (7, 42):
        assert len(preflight._batches(packed, encoded, seed)) == len(packing.batches(lengths, 64, 1, packed.epochs, seed, 0))


def test_the_lines_count_the_processes_and_say_that_a_proof_comes(paths, cached, write_rows, monkeypatch):
    cached("microsoft/phi-2")
    files.write_text(paths.models / "settings.yaml", "base: microsoft/phi-2\n")
    write_rows(paths.processed / "unified_train.jsonl", [row(f"Question {number}?", "Hello.") for number in range(20)])
    monkeypatch.setattr(preflight.memory, "free_gpu_bytes", lambda: None)
    lines = {line.name.partition(" ")[2]: line for line in preflight.look(paths, "unified", "fast", 7, {}, Look(), processes=3)}
    assert "MB needed by 3 processes" in lines["memory"].detail
    assert lines["time"].detail.endswith("measured in the first steps. The proof comes after that")
