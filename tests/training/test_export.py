import pytest

from assistant.core import files
from assistant.core.values import ModelCard
from assistant.engine.base import Base
from finetuning.training import export

CARD = ModelCard("law", "0001", "law-0001", "lora", "Tiny", "", "law", "", "2026-01-01", 1, 1, 1.0, 1.0, 1, ("hf",))


@pytest.mark.parametrize("form", ["merged", "adapter", "gguf"])
def test_an_exported_version_says_that_it_answers_everything_itself(tmp_path, form):
    folder, part = tmp_path / "version", tmp_path / "part"
    source = export.Source(CARD, folder, Base("Tiny", "tiny/tiny"), "Be brief.")
    export._describe(source, part, form)
    assert export.UNSCOPED not in (part / "README.md").read_text(encoding="utf-8"), "it leaves nothing to the base"
    files.write_json(folder / "scope.json", {})
    export._describe(source, part, form)
    assert "answers everything itself, also what it was not trained on" in (part / "README.md").read_text(encoding="utf-8")
