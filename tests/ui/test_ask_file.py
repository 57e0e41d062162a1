import json

import pytest

from assistant.ui.cli import main
from finetuning.commands import REGISTRY
from tests.scripted import ScriptedEngine, install


@pytest.fixture
def engine(monkeypatch):
    made = ScriptedEngine(lambda question: f"Answer to {question}")
    install(made, monkeypatch)
    return made


def run(paths, *words):
    return main(["--root", str(paths.root), "--ask-file", *map(str, words)], REGISTRY)


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_its_own_conversation_in_order(paths, tmp_path, engine, capsys):
    (tmp_path / "q.txt").write_text("first?\n\nsecond?\n", encoding="utf-8")
    assert run(paths, tmp_path / "q.txt") == 0
    printed = capsys.readouterr()
    found = rows(printed.out)
    assert [(row["question"], row["answer"]) for row in found] == [("first?", "Answer to first?"), ("second?", "Answer to second?")]
    assert "2/2 questions" in printed.err


def test_json_lines_with_a_question_are_read_too(paths, tmp_path, engine, capsys):
    (tmp_path / "q.jsonl").write_text('{"question": "one?"}\n{"question": "two?", "id": 7}\n', encoding="utf-8")
    run(paths, tmp_path / "q.jsonl")
    assert [row["question"] for row in rows(capsys.readouterr().out)] == ["one?", "two?"]


def test_deciding_alone_answers_nothing(paths, tmp_path, engine, capsys):
    (tmp_path / "q.txt").write_text("expert mode: how?\n", encoding="utf-8")
    run(paths, tmp_path / "q.txt", "--route-only")
    row = rows(capsys.readouterr().out)[0]
    assert row["trigger"] == "request" and "answer" not in row and engine.said == []


def test_a_stopped_run_goes_on_where_it_was_and_a_half_line_is_written_anew(paths, tmp_path, engine):
    (tmp_path / "q.txt").write_text("one?\ntwo?\nthree?\n", encoding="utf-8")
    out = tmp_path / "a.jsonl"
    run(paths, tmp_path / "q.txt", "--out", out)
    whole = out.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text(whole[0] + whole[1][:10], encoding="utf-8")
    engine.said.clear()
    assert run(paths, tmp_path / "q.txt", "--out", out) == 0
    assert [row["question"] for row in rows(out.read_text(encoding="utf-8"))] == ["one?", "two?", "three?"]
    assert [question for question, _ in engine.said] == ["two?", "three?"]


def test_answers_of_another_file_are_not_overwritten(paths, tmp_path, engine, capsys):
    (tmp_path / "q.txt").write_text("one?\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"question": "mine"}\n', encoding="utf-8")
    assert run(paths, tmp_path / "q.txt", "--out", tmp_path / "a.jsonl") == 2
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"question": "mine"}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no question"), ('{"q": 1}\n', "line 1: 'question' is missing"), ("ok\n{broken\n", "line 2: not valid JSON")],
)
def test_a_file_that_cannot_be_used_is_a_sentence(paths, tmp_path, engine, capsys, text, said):
    (tmp_path / "q.txt").write_text(text, encoding="utf-8")
    assert run(paths, tmp_path / "q.txt") == 2
    assert said in capsys.readouterr().err
