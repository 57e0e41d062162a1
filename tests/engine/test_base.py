import numpy
import pytest
from safetensors.numpy import save_file

from assistant.core import files
from assistant.core.settings import Settings
from assistant.engine.base import base_of


@pytest.fixture
def folder_base(tmp_path, paths):
    """A base in a folder of that parent, whose weights begin with zeros and end with ``last``."""

    def make(parent, last=0.0, config="{}"):
        folder = tmp_path / parent / "llama"
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / "config.json", config)
        weights = numpy.zeros(1_000_000, "float32")
        weights[-1000:] = last
        save_file({"a": weights}, str(folder / "model.safetensors"))
        return base_of(Settings(base=str(folder)), paths)

    return make


def test_folders_of_one_name_are_the_same_base_only_with_the_same_weights_and_configuration(folder_base):
    base = folder_base("one")
    assert base.name == "llama" and len(base.sha256) == 64
    assert folder_base("copied").sha256 == base.sha256
    assert folder_base("other", last=1.0).sha256 != base.sha256
    assert folder_base("wider", config='{"hidden_size": 2}').sha256 != base.sha256
    assert folder_base("one", last=2.0).sha256 != base.sha256, "replaced"


def test_broken_weights_have_a_checksum_too(tmp_path, paths):
    for content in (b"", b"\xff" * 20):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert base_of(Settings(base=str(tmp_path)), paths).sha256


def test_a_base_that_is_only_named_has_no_checksum(paths):
    assert base_of(Settings(base="owner/name"), paths).sha256 == ""
