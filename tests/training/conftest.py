"""Small datasets for the fast tests of training."""

import json

import pytest
from scripted import ScriptedFormat

from assistant.core import files


@pytest.fixture
def chat() -> ScriptedFormat:
    return ScriptedFormat()


@pytest.fixture
def write_rows():
    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def write_weights():
    """Weights of 17 numbers, each ``value``."""

    def write(path, value=0.0):
        import numpy
        from safetensors.numpy import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"a": numpy.full((3, 4), value, "float32"), "b": numpy.full(5, value, "float32")}, str(path))

    return write


@pytest.fixture
def cached(tmp_path, monkeypatch, write_weights):
    """Puts a base into a Hugging Face cache of the test's own, online; returns its folder there."""
    from huggingface_hub import constants

    from finetuning.training import hub

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "is_offline", lambda: False)

    def put(source):
        folder = tmp_path / "hub" / f"models--{source.replace('/', '--')}"
        snapshot = folder / "snapshots" / "abc"
        write_weights(snapshot / "model.safetensors")
        files.write_json(snapshot / "config.json", {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100})
        files.write_text(folder / "refs" / "main", "abc")
        return snapshot

    return put


def row(question, answer, system="Be brief."):
    return {"input_text": f"System: {system}\n\nUser: {question}\nAssistant:", "target_text": answer}
