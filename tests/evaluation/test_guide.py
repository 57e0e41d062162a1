import re
from pathlib import Path

import pytest

from assistant.core.commands import parse, split
from finetuning.commands import REGISTRY
from finetuning.evaluation import harness, suites

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
LINES = [line.split("   ")[0] for block in re.findall(r"```\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_the_guide_is_a_command(line):
    name, *words = split(line)
    assert parse(REGISTRY.find(name), words) is not None


def test_the_guide_knows_every_suite_and_every_benchmark():
    assert all(f"`{name}`" in GUIDE for name in [*suites.names(), *harness.BENCHMARKS])
    assert str(harness.ANSWER_TOKENS) in GUIDE and harness.INSTALL.rpartition('"lm-eval')[2].rstrip('"') in GUIDE
