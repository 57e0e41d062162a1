import errno
import os

import pytest

from assistant.core import files
from assistant.core.commands import Command, Context, Registry
from assistant.core.errors import ConfigError, DataError
from assistant.core.events import Failed
from assistant.core.paths import Paths, find, prepare, resolve
from assistant.core.settings import load


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic_writer(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert files.read_json(target) == {"a": 1} and os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_while_saving_is_a_sentence_and_loses_nothing(paths, monkeypatch):
    target = paths.models / "current.json"
    files.write_json(target, {"version": "0001"})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    registry = Registry((Command("save", "", "tests.core.test_files:save_something"),))
    events = list(registry.run(["save"], Context(paths)))
    assert isinstance(events[0], Failed) and "disk is full" in events[0].what
    assert files.read_json(target) == {"version": "0001"} and os.listdir(paths.models) == ["current.json"]


def save_something(context):
    files.write_json(context.paths.models / "current.json", {"version": "0002"})
    yield


def test_writing_through_a_link_keeps_the_link(tmp_path):
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    files.write_json(real, 1)
    link.symlink_to(real)
    files.write_json(link, 2)
    assert link.is_symlink() and files.read_json(real) == 2


def test_a_broken_line_of_a_jsonl_file_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{broken\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2"):
        files.read_jsonl(path)


def test_the_root_comes_from_the_word_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PZ2_ROOT", str(tmp_path / "env"))
    assert resolve(tmp_path / "word").root == tmp_path / "word"
    assert resolve().root == tmp_path / "env"


def test_a_root_that_cannot_be_written_is_a_sentence(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written"):
        prepare(Paths(blocked / "root"))


def test_a_typed_path_means_the_current_folder_first_then_the_root(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (paths.root / "both.csv").write_text("root", encoding="utf-8")
    assert find("both.csv", paths) == paths.root / "both.csv"
    (tmp_path / "both.csv").write_text("here", encoding="utf-8")
    assert find("both.csv", paths) == tmp_path / "both.csv"


def test_every_wrong_key_and_value_of_the_settings_is_named_at_once(paths):
    (paths.models / "settings.yaml").write_text("engin: hf\nchat:\n  temperature: -1\n  max_tokens: many\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(paths)
    assert "did you mean 'engine'" in error.value.what and "max_tokens" in error.value.what and "temperature" in error.value.what


def test_broken_yaml_names_its_line(paths):
    (paths.models / "settings.yaml").write_text("chat:\n  - [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line"):
        load(paths)


def test_a_list_of_numbers_is_one_line_and_text_is_kept(tmp_path):
    document = {
        "weights": [[1.5, -2, 3e-07], [4, 5, 6]],
        "empty": [],
        "mixed": [1, "[\n 2\n]"],
        "text": "[\n  1,\n  2\n]",
        "none": [None, 1],
    }
    files.write_json(tmp_path / "a.json", document)
    assert files.read_json(tmp_path / "a.json") == document
    assert "[1.5, -2, 3e-07]" in (tmp_path / "a.json").read_text(encoding="utf-8")
