"""Fixtures every test may use."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.core.paths import Paths, prepare


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A fresh, empty root."""
    fresh = Paths(tmp_path / "root")
    prepare(fresh)
    return fresh
