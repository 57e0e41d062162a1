"""Fixtures of the data tests: commands run as a user runs them, one generated dataset."""

from collections.abc import Callable
from pathlib import Path

import pytest
from data_room import Ran, run_in
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from assistant.core.paths import Paths, prepare


@pytest.fixture
def run(paths: Paths) -> Callable[..., Ran]:
    """Run one command line under the fresh root."""
    return lambda *words, **more: run_in(paths, *words, **more)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A root whose English datasets are generated; tests only read it."""
    made = Paths(tmp_path_factory.mktemp("generated"))
    prepare(made)
    assert run_in(made, "generate").status == 0
    return made


@pytest.fixture
def tokenizer(paths: Paths) -> Path:
    """A small tokenizer in the place of the base's: every byte is a token, besides the two signs of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    paths.base.mkdir(parents=True)
    made.save(str(paths.base / "tokenizer.json"))
    return paths.base / "tokenizer.json"
