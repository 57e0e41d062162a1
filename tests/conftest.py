"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

from assistant.core import spinning
from assistant.core.paths import Paths, prepare

# Threads that spin for long would take the processor of a trainer beside them; read when torch is first imported.
os.environ.update(spinning.shortly(os.environ))
# Of files that run at once each has its share of the processors; a trainer, which yields to all others, would wait for them.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A fresh, empty root."""
    fresh = Paths(tmp_path / "root")
    prepare(fresh)
    return fresh
