"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

from assistant.core.paths import Paths, prepare

# Threads that spin while they wait would take the processor of a trainer beside them; read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A fresh, empty root."""
    fresh = Paths(tmp_path / "root")
    prepare(fresh)
    return fresh
