import json
import re

import pytest

from assistant.core.paths import PROJECT
from finetuning.data import checks, validate

GUIDE = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_python_of_the_guide_runs(capsys: pytest.CaptureFixture[str]):
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(compile(code, "docs/data.md", "exec"), {})
    assert "User:" in capsys.readouterr().out


def test_the_row_of_the_guide_is_sound():
    (text,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    assert not list(checks.check_row(json.loads(text), "unified", validate.DataLimits()))


def test_every_code_of_the_validator_is_in_the_guide():
    sources = [
        (PROJECT / "finetuning" / "data" / f"{module}.py").read_text(encoding="utf-8")
        for module in ("checks", "audit", "reader", "validate")
    ]
    codes = set(
        re.findall(
            r'(?:Finding\(\s*(?:field|"\w+"), |Line\(number, None, |line\.number, (?:""|"\w+"), |None, "\w*", )"(\w+)"', "\n".join(sources)
        )
    )
    assert len(codes) >= 15
    assert {code for code in codes if f"`{code}`" not in GUIDE} == set()
