"""A terminal in memory: a program runs in a real pseudo-terminal, pyte draws what it writes."""

import os
import re
import sys
import time
from pathlib import Path

import pexpect
import pyte

PROJECT = Path(__file__).resolve().parents[2]
UP, DOWN, TAB, ENTER, ALT_ENTER, CTRL_C, CTRL_D, CTRL_J = "\x1b[A", "\x1b[B", "\t", "\r", "\x1b\r", "\x03", "\x04", "\n"


class _Screen(pyte.HistoryScreen):
    """A screen that answers where its cursor is, as terminals do."""

    child: "pexpect.spawn[bytes] | None" = None

    def write_process_input(self, data: str) -> None:
        if self.child is not None and self.child.isalive():
            self.child.send(data)


class Terminal:
    """A program and the screen it draws on. ``text`` is everything that can be read, scrolled-away lines included."""

    def __init__(self, words: list[str], *, rows: int = 24, columns: int = 80, **env: str) -> None:
        self._screen = _Screen(columns, rows, history=2000, ratio=0.001)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "PZ2_ROOT")}
        self.child = pexpect.spawn(
            sys.executable,
            words,
            dimensions=(rows, columns),
            env={**clean, "TERM": "xterm-256color", "PYTHONUTF8": "1", **env},
            cwd=str(PROJECT),
        )
        self._screen.child = self.child

    def type(self, keys: str) -> None:
        """Press keys."""
        self.child.send(keys)

    @property
    def text(self) -> str:
        """What has scrolled away and what is on the screen, without trailing space."""
        above = ["".join(line[column].data for column in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()

    def read(self, seconds: float) -> None:
        """Draw what comes within so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                data = self.child.read_nonblocking(65536, timeout=min(left, 0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            self.raw += data
            self._stream.feed(data)

    def until(self, wanted: str, seconds: float = 20) -> str:
        """Wait until a text can be read; returns everything."""
        return self.until_matches(re.escape(wanted), seconds)

    def until_matches(self, pattern: str, seconds: float = 20) -> str:
        """Wait until a pattern is found; returns everything."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come within {seconds} s:\n{self.text}")
            self.read(0.05)
        return self.text

    def leave(self, seconds: float = 20) -> int:
        """Wait until the program has ended; returns its exit status."""
        end = time.monotonic() + seconds
        while self.child.isalive():
            if time.monotonic() > end:
                raise AssertionError(f"the program has not ended:\n{self.text}")
            self.read(0.05)
        self.read(0.05)
        self.child.close()
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)

    def kill(self) -> None:
        """End the program at once, as a crash does."""
        self.child.close(force=True)
