import subprocess
import sys
import time
from pathlib import Path

from assistant.core.lock import locked

PROJECT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time, subprocess
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from assistant.core.lock import locked
with locked(Path(sys.argv[2]), lambda: None):
    if len(sys.argv) > 3:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"], close_fds=False)
    print("held", flush=True)
    if len(sys.argv) == 3:
        time.sleep(1.5)
"""


def seconds_until_free(path, *more):
    """How long the lock of another process is waited for, and how often that was said."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(PROJECT), str(path), *more], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    if more:
        other.kill()
    said, started = [], time.monotonic()
    with locked(path, lambda: said.append(True)):
        seconds = time.monotonic() - started
    other.wait()
    return seconds, len(said)


def test_a_second_process_waits_for_the_first_and_says_so(tmp_path):
    seconds, said = seconds_until_free(tmp_path / "lock")
    assert seconds > 0.5
    assert said == 1


def test_a_free_lock_is_taken_at_once_and_again(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "lock", lambda: (_ for _ in ()).throw(AssertionError)):
            pass


def test_what_a_killed_process_had_started_still_holds_the_lock(tmp_path):
    seconds, said = seconds_until_free(tmp_path / "lock", "with a child")
    assert seconds > 0.3
    assert said == 1
