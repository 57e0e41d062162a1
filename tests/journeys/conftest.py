"""main.py as a shell calls it: words in, standard output, standard error and an exit status out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assistant.core.paths import Paths
from assistant.engine import embedded

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    """What a call left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


Call = Callable[..., Result]


@pytest.fixture
def call(paths: Paths) -> Call:
    """Calls main.py under a fresh root, from another folder."""

    def run(*words: str, typed: str = "", root: bool = True, **env: str) -> Result:
        clean = {name: value for name, value in os.environ.items() if name != "PZ2_ROOT"}
        at = {"PZ2_ROOT": str(paths.root)} if root else {}
        done = subprocess.run(
            [sys.executable, str(PROJECT / "main.py"), *words],
            input=typed,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            cwd=paths.root,
            env={**clean, "PYTHONUTF8": "1", **at, **env},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def based(paths: Paths) -> Paths:
    """A root with the embedded base in place."""
    for _ in embedded.ensure(paths):
        pass
    return paths
