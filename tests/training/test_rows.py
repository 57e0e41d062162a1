import pytest

from assistant.core.errors import DataError
from assistant.core.values import Message
from finetuning.training import rows as rows_of_files
from finetuning.training.rows import OPENING, Encoded, Row, apart, encode, opened, part, questions, shared_prefix

from .conftest import row


def text(chat, ids):
    return chat.decode(ids)


def test_only_the_answer_and_its_end_are_trained(chat, paths, write_rows):
    path = write_rows(paths.root / "rows.jsonl", [row("Hi there", "Hello.")])
    (found,) = encode(path, chat, "unified", 1000).rows
    assert text(chat, found.ids[found.prompt :]) == "Hello."
    assert found.ids[-1] == chat.CLOSE
    assert text(chat, found.ids[: found.prompt]).endswith("user\nHi thereassistant\n")


def test_a_row_is_encoded_exactly_as_a_question_is_asked(chat, paths, write_rows):
    path = write_rows(paths.root / "rows.jsonl", [row("Hi", "Hello.")])
    (found,) = encode(path, chat, "unified", 1000).rows
    assert list(found.ids[: found.prompt]) == chat.encode([Message("system", "Be brief."), Message("user", "Hi")])


def test_a_row_without_a_system_line_gets_the_models_own(chat, paths, write_rows):
    path = write_rows(paths.root / "rows.jsonl", [{"input_text": "User: Hi\nAssistant:", "target_text": "Hello."}])
    (found,) = encode(path, chat, "law", 1000).rows
    assert "PZ2's specialist for law" in text(chat, found.ids)


def test_a_row_with_no_trained_token_is_an_error_with_file_and_line(chat, paths, write_rows):
    path = write_rows(paths.root / "rows.jsonl", [row("Hi", "Hello."), row("x" * 200, "Never trained.")])
    with pytest.raises(DataError, match=r"rows.jsonl, line 2: no token of the answer is trained"):
        encode(path, chat, "unified", 100)


def test_every_broken_row_is_named(chat, paths, write_rows):
    rows = [row("Hi", "Hello."), "{broken", "[1]", {"input_text": "User: a\nAssistant:", "target_text": " "}, {"target_text": "b"}]
    with pytest.raises(DataError) as error:
        encode(write_rows(paths.root / "rows.jsonl", rows), chat, "unified", 1000)
    assert "line 2: not valid JSON" in error.value.what
    assert "line 3: not a JSON object." in error.value.what
    assert "line 4: 'target_text' is missing or empty, so no token would be trained." in error.value.what
    assert "line 5: 'input_text' is missing or empty." in error.value.what


def test_many_broken_rows_are_counted(chat, paths, write_rows):
    with pytest.raises(DataError, match="And 4 more"):
        encode(write_rows(paths.root / "rows.jsonl", ["{"] * 9), chat, "unified", 1000)


def test_an_empty_or_missing_file_is_an_error(chat, paths, write_rows):
    with pytest.raises(DataError, match="holds no rows"):
        encode(write_rows(paths.root / "rows.jsonl", []), chat, "unified", 1000)
    with pytest.raises(DataError, match="does not exist"):
        encode(paths.root / "none.jsonl", chat, "unified", 1000)


def test_a_long_answer_is_cut_and_counted(chat, paths, write_rows):
    found = encode(write_rows(paths.root / "rows.jsonl", [row("Hi", "long " * 100)]), chat, "unified", 100)
    assert (found.cut, len(found.rows[0].ids)) == (1, 100)
    assert found.trained == found.rows[0].trained < found.tokens


def test_the_shared_beginning_leaves_every_prompt_a_token_of_its_own():
    assert shared_prefix([Row((1, 2, 3, 4, 9), 4), Row((1, 2, 5, 6, 9), 4)]) == 2
    assert shared_prefix([Row((1, 2, 3, 9), 3), Row((1, 2, 3, 8), 3)]) == 2
    assert shared_prefix([Row((1, 9), 1), Row((2, 9), 1)]) == 0
    assert shared_prefix([]) == 0


def test_a_share_of_the_answers_keeps_all_questions_of_each_and_is_the_same_for_the_same_seed(monkeypatch):
    monkeypatch.setattr(rows_of_files, "SMALL", 1)
    encoded = Encoded(tuple(Row((question, 100 + answer, 200), 1) for answer in range(10) for question in range(3)))
    found = part(encoded, 0.3, 1)
    assert (len(found.rows), found.answers) == (9, 3)
    assert found == part(encoded, 0.3, 1) != part(encoded, 0.3, 2)
    assert part(encoded, 1.0, 1) is encoded


def test_a_share_is_of_whole_topics(monkeypatch):
    monkeypatch.setattr(rows_of_files, "SMALL", 1)
    rows = [Row((1, topic * 100 + answer), 1, entry=f"topic{topic}-{answer}") for answer in range(10) for topic in range(6)]
    found = part(Encoded(tuple(rows)), 0.4, 1).rows
    sizes = sorted(sum(row.entry.startswith(f"topic{topic}-") for row in found) for topic in range(6))
    assert sizes == [0, 0, 0, 4, 10, 10]


def test_of_few_answers_all_are_learned():
    few = Encoded(tuple(Row((1, answer), 1) for answer in range(100)))
    assert part(few, 0.1, 1) is few


def test_wordings_are_set_apart_only_of_answers_that_have_others():
    several = [Row((number, wording, 7, number), 2) for number in range(40) for wording in range(5)]
    single = [Row((900 + number, 1, 7, 900 + number), 2) for number in range(50)]
    kept, judged = apart(Encoded((*several, *single)), 20, 1)
    assert len(judged) == 20 and len(kept.rows) == len(several) + len(single) - 20
    assert len({row.ids[2:] for row in judged}) == 20, "one wording an answer"
    assert all(sum(row.ids[2:] == one.ids[2:] for row in kept.rows) == 4 for one in judged)
    assert apart(Encoded((*several, *single)), 20, 1)[1] == judged


def test_too_few_wordings_set_nothing_apart():
    single = Encoded(tuple(Row((number, 7, number), 1) for number in range(500)))
    assert apart(single, 64, 1) == (single, ())
    few = Encoded(tuple(Row((number, wording, number), 2) for number in range(10) for wording in range(5)))
    assert apart(few, 64, 1) == (few, ())


def test_a_share_of_each_answers_rows_is_cut_after_its_opening():
    long, short = tuple(range(100, 140)), (7, 8)
    rows = tuple(Row((question, *answer), 1) for answer in (long, short) for question in range(6))
    found = opened(Encoded(rows), 0.5, 1).rows
    assert [row.ids[:1] for row in found] == [row.ids[:1] for row in rows]
    lengths = [row.trained for row in found]
    assert sorted(lengths[:6]) == [OPENING] * 3 + [len(long)] * 3
    assert {row.ids[1:] for row in found[:6]} == {long, long[:OPENING]}
    assert lengths[6:] == [len(short)] * 6, "a short answer is all beginning"
    assert opened(Encoded(rows), 0.5, 1).rows == found
    assert opened(Encoded(rows), 0.5, 2).rows != found
    assert opened(Encoded(rows), 0.0, 1).rows == rows


def test_an_answer_with_one_question_is_never_cut():
    rows = tuple(Row((1, *range(answer, answer + 40)), 1) for answer in range(5))
    assert opened(Encoded(rows), 0.9, 1).rows == rows


def test_questions_are_those_that_are_asked_by_themselves(chat, paths, write_rows):
    later = {"input_text": "User: Hi\nAssistant: Hello.\nUser: And then?\nAssistant:", "target_text": "Bye."}
    path = write_rows(paths.root / "rows.jsonl", [row("Hi", "Hello."), row("Hello there", "Hello."), row("Who?", "Me."), later])
    learned = {tuple(chat.encode_answer("Hello.")), tuple(chat.encode_answer("Bye."))}
    assert questions(path, chat, "unified", 1000, learned) == (["Hi", "Hello there"], ["Who?"])
