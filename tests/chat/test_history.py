import sqlite3

import pytest

from assistant.chat.history import History, Turn
from assistant.core.errors import DataError
from tests.ui.samples import reply


@pytest.fixture
def history(paths):
    return History(paths.history)


def test_a_turn_comes_back_as_it_was(history):
    turn = Turn("What did I say? ✓ 안녕", reply())
    number = history.add(None, turn)
    assert history.turns(number) == [turn]


def test_an_unknown_conversation_is_a_sentence(history):
    with pytest.raises(DataError, match=r"There is no conversation 7\."):
        history.turns(7)


def test_a_full_disk_is_a_sentence_and_loses_nothing(history, monkeypatch):
    number = history.add(None, Turn("before", reply()))
    connect = sqlite3.connect

    def full(*words, **more):
        database = connect(*words, **more)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(DataError, match="database or disk is full"):
        history.add(number, Turn("after", reply("long " * 20_000)))
    monkeypatch.undo()
    assert [turn.said for turn in history.turns(number)] == ["before"]
    history.add(number, Turn("again", reply()))
    assert len(history.turns(number)) == 2


def test_a_damaged_file_is_a_sentence(paths):
    paths.history.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="cannot be opened"):
        History(paths.history)
