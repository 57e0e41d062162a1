"""Small datasets for the fast tests of training."""

import json

import pytest
from scripted import ScriptedFormat

from assistant.core import files


@pytest.fixture
def chat() -> ScriptedFormat:
    return ScriptedFormat()


@pytest.fixture
def write_rows():
    def write(path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def row(question, answer, system="Be brief."):
    return {"input_text": f"System: {system}\n\nUser: {question}\nAssistant:", "target_text": answer}
