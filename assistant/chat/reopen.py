"""Which conversation was open in a window that went away without leaving: a crash, a closed terminal, a power cut."""

import os
from pathlib import Path

from assistant.core import files
from assistant.core.errors import DataError


class OpenMark:
    """A small file of this process that names its conversation, there as long as the window is open."""

    def __init__(self, logs: Path) -> None:
        self._folder = logs / "open"
        self._path = self._folder / f"{os.getpid()}.json"
        self._noted: int | None = None

    def left_behind(self) -> int | None:
        """The conversation of the window that crashed last, or None; its mark is taken away, those of running windows stay."""
        marks = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        found: int | None = None
        for path in marks:
            mark = _read(path)
            if mark is None or not _running(*mark[1:]):
                found = mark[0] if mark else found
                path.unlink(missing_ok=True)
        return found

    def note(self, session: int | None) -> None:
        """Name the conversation that is open now; None when it has no turn yet."""
        if session == self._noted:
            return
        self._noted = session
        if session is None:
            self._path.unlink(missing_ok=True)
            return
        files.write_json(self._path, {"session": session, "pid": os.getpid(), "started": _started(os.getpid())})

    def close(self) -> None:
        """The window is left in good order."""
        self.note(None)


def _read(path: Path) -> tuple[int, int, float] | None:
    try:
        document = files.read_json(path)
        return int(document["session"]), int(document["pid"]), float(document["started"] or 0)
    except (OSError, DataError, KeyError, TypeError, ValueError):
        return None


def _running(pid: int, started: float) -> bool:
    # A number alone is not enough: systems give it to another process later.
    return _started(pid) == started


def _started(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
