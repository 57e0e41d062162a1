"""One process at a time: a lock on a file that ends with the processes that hold it. Standard library only, for set-up on a bare Python."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file while the block runs; ``waiting`` is called once when another process has it.

    Programs started with ``close_fds=False`` inherit the lock: should only this process be killed, the next one waits for their end.
    """
    with path.open("a+b") as file:
        if not _lock(file.fileno(), wait=False):
            waiting()
            _lock(file.fileno(), wait=True)
        os.set_inheritable(file.fileno(), True)
        yield


def _lock(descriptor: int, *, wait: bool) -> bool:
    while True:
        try:
            if os.name == "nt":
                import msvcrt

                # Far behind the end, because Windows forbids others to read a locked part. It gives up after ten seconds by itself.
                os.lseek(descriptor, 1 << 20, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except OSError:
            if os.name != "nt" and wait:
                raise
            if not wait:
                return False
