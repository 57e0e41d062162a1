import json
import os
import subprocess
import sys

import psutil

from assistant.chat.reopen import OpenMark


def mark(paths, session, pid, started):
    folder = paths.logs / "open"
    folder.mkdir(exist_ok=True)
    (folder / f"{pid}.json").write_text(json.dumps({"session": session, "pid": pid, "started": started}), encoding="utf-8")


def ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_window_that_was_left_in_order_leaves_nothing_behind(paths):
    window = OpenMark(paths.logs)
    window.note(3)
    window.close()
    assert OpenMark(paths.logs).left_behind() is None


def test_the_conversation_of_a_crashed_window_is_told_once(paths):
    mark(paths, 5, ended(), 1.0)
    assert OpenMark(paths.logs).left_behind() == 5
    assert OpenMark(paths.logs).left_behind() is None


def test_a_window_that_is_still_open_has_not_crashed(paths):
    mark(paths, 5, os.getpid(), psutil.Process().create_time())
    assert OpenMark(paths.logs).left_behind() is None
    assert list((paths.logs / "open").iterdir())


def test_another_process_with_the_same_number_is_not_the_window(paths):
    mark(paths, 5, os.getpid(), 1.0)
    assert OpenMark(paths.logs).left_behind() == 5


def test_a_damaged_mark_is_taken_away(paths):
    (paths.logs / "open").mkdir()
    (paths.logs / "open" / "1.json").write_text("{", encoding="utf-8")
    assert OpenMark(paths.logs).left_behind() is None
    assert not list((paths.logs / "open").iterdir())


def test_a_conversation_without_a_turn_is_not_kept_in_mind(paths):
    window = OpenMark(paths.logs)
    window.note(2)
    window.note(None)
    assert not list((paths.logs / "open").iterdir())
