"""What the keyboard does while PZ2 works: typed-ahead keys wait for the next prompt, Ctrl-C is heard."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import termios
except ImportError:  # Windows has no termios; its console keeps typed-ahead keys by itself.
    termios = None  # type: ignore[assignment]


@contextmanager
def kept() -> Iterator[None]:
    """Keys typed in this block are not echoed into the answer and wait for the next prompt, Enter included."""
    if not _ours():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    busy = termios.tcgetattr(descriptor)
    busy[0] &= ~(termios.ICRNL | termios.INLCR)
    busy[3] &= ~(termios.ECHO | termios.ICANON)
    busy[3] |= termios.ISIG
    termios.tcsetattr(descriptor, termios.TCSANOW, busy)
    try:
        yield
    finally:
        if _ours():
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def forget() -> None:
    """Drop keys that were typed ahead, before a question that they were not meant for."""
    if _ours():
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def _ours() -> bool:
    """Whether there is a keyboard and it is ours: a job in the background that touches the terminal is stopped by the system."""
    return termios is not None and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
