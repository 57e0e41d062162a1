"""One plan on one process and on two (CPU, gloo): the rows are divided, the steps are the same, one adapter is written."""

import json

import numpy
import pytest
from safetensors.numpy import load_file

from assistant.core import files
from assistant.core.commands import Context
from assistant.core.events import Failed, Progress, Step
from assistant.core.paths import Paths, prepare
from assistant.core.store import Store
from finetuning.commands import REGISTRY
from finetuning.training import runs

from .learning import ROWS, write_rows
from .test_bases import llama

STEPS = 4
FIELDS = "replay=0.0 proof_rows=2 proof_general=1 warmup_share=0.0 whitened=false"
COMMAND = f"train small --max_steps {STEPS} --batch_size 3 --learning_rate 0.0005 --set {FIELDS}"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Paths:
    paths = Paths(tmp_path_factory.mktemp("processes"))
    prepare(paths)
    folder = paths.root / "tiny"
    folder.mkdir()
    llama(folder)
    settings = {"base": str(folder), "chat": {"context_tokens": 512, "max_tokens": 16}}
    files.write_text(paths.models / "settings.yaml", json.dumps(settings))
    # An odd number, so that a batch cannot be divided evenly, and a last one that leaves a process without a row.
    write_rows(paths, ROWS * 2 + ROWS[:2])
    return paths


def run(paths, words=""):
    events = list(REGISTRY.run(f"{COMMAND} {words}".split(), Context(paths)))
    newest = runs.newest(paths, None).run
    log = (runs.folder(paths, newest.run) / "trainer.log").read_text(encoding="utf-8")
    assert not [event for event in events if isinstance(event, Failed)], (events[-3:], log[-3000:])
    losses = {event.done: event.figures["loss"] for event in events if isinstance(event, Progress) and "loss" in event.figures}
    return events, newest, losses, load_file(Store(paths).version_folder("small", newest.version) / "adapter_model.safetensors")


def test_two_processes_divide_the_rows_and_learn_the_same(root):
    _, _, alone, weights = run(root)
    events, newest, together, divided = run(root, "--processes 2")
    assert any("on 2 processes" in event.text for event in events if isinstance(event, Step))
    assert newest.processes == 2
    assert set(alone) == set(together) == set(range(1, STEPS + 1))
    for step, loss in alone.items():
        assert together[step] == pytest.approx(loss, abs=0.02)
    for name, tensor in weights.items():
        assert numpy.abs(tensor - divided[name]).max() < 0.02, name
    assert Store(root).versions("small") == ["0001", "0002"]
