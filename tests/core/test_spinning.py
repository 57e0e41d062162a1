import os
import subprocess
import sys

from assistant.core import spinning
from assistant.core.paths import PROJECT


def test_what_the_environment_says_stays():
    assert spinning.shortly({"GOMP_SPINCOUNT": "7", "OMP_WAIT_POLICY": "PASSIVE"}) == {}
    assert spinning.shortly({"OMP_WAIT_POLICY": "PASSIVE"}) == {"GOMP_SPINCOUNT": "5000"}


def test_only_a_runtime_with_a_bound_is_told_to_spin(monkeypatch):
    monkeypatch.setattr(spinning.sys, "platform", "linux")
    assert spinning.shortly({})["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.setattr(spinning.sys, "platform", "darwin")
    assert "OMP_WAIT_POLICY" not in spinning.shortly({})


def test_the_live_engine_says_it_before_its_library_is_loaded():
    """libgomp reads the environment once, when it is loaded."""
    code = (
        "import os, sys; import assistant.core.spinning as spinning;"
        "shortly = spinning.shortly;"
        "spinning.shortly = lambda given: print('xllamacpp' in sys.modules) or shortly(given);"
        "import assistant.engine.llama; print(os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=clean, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "5000"]
