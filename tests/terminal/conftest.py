"""Windows in a pseudo-terminal."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assistant.core.paths import Paths

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]

Open = Callable[..., "object"]


@pytest.fixture
def window(paths: Paths) -> Iterator[Open]:
    """Opens the chat window over a scripted engine: seconds to load, seconds a token, seconds of prefill."""
    from tests.terminal.terminal import Terminal

    opened: list[Terminal] = []

    def open_window(
        *words: str, load: float = 0, token: float = 0, prefill: float = 0, rows: int = 24, columns: int = 80, **env: str
    ) -> Terminal:
        script = Path(__file__).with_name("window.py")
        opened.append(
            Terminal([str(script), str(paths.root), str(load), str(token), str(prefill), *words], rows=rows, columns=columns, **env)
        )
        return opened[-1]

    yield open_window
    for terminal in opened:
        terminal.kill()
