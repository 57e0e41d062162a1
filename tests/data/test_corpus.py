from collections import Counter
from pathlib import Path

import pytest

from assistant.core.errors import DataError
from assistant.core.paths import PROJECT
from finetuning.data.corpus import load, weaknesses

CORPUS = PROJECT / "finetuning" / "corpus"
ENTRY = """- id: sketchup-push-pull
  topic: sketchup
  difficulty: basic
  phrasings: ["How do I use Push/Pull?", "push pull how", "I want a box from a rectangle"]
  answer: "Press P for the Push/Pull tool and move the face."
  expert_answer: "1. Press **P**. 2. Click the face. 3. Move it with Push/Pull."
  key_facts: ["P"]
  expert_facts: ["Click"]
  comment_ko: "기본 도구."
"""


@pytest.fixture(scope="module")
def corpus():
    return load(CORPUS)


def write(folder: Path, text: str, name: str = "technical/cad.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder


def test_every_entry_of_the_corpus_is_sound(corpus):
    assert [str(fault) for fault in weaknesses(corpus)] == []


def test_the_corpus_is_as_large_as_promised(corpus):
    by_category = Counter(entry.category for entry in corpus.entries)
    assert all(by_category[category] >= 400 for category in ("qna", "technical", "general")), by_category
    assert len(corpus.dialogues) >= 100


def test_every_difficulty_is_well_represented(corpus):
    for category in ("qna", "technical", "general"):
        levels = Counter(entry.difficulty for entry in corpus.entries if entry.category == category)
        assert min(levels.values()) >= 0.08 * sum(levels.values()), (category, levels)
        assert len(levels) == 3


def test_an_entry_knows_its_file_and_line(tmp_path: Path):
    entries = load(write(tmp_path, "# a remark\n\n" + ENTRY)).entries
    assert (entries[0].source, entries[0].line, entries[0].category) == ("technical/cad.yaml", 3, "technical")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("difficulty: basic", "difficulty: easy", "the difficulty is 'easy'"),
        ("id: sketchup-push-pull", "id: Sketchup", "lower-case words with dashes"),
        ('key_facts: ["P"]', "key_facts: [5]", "'key_facts' is not a list of texts"),
        ('  comment_ko: "기본 도구."\n', "", "has no 'comment_ko'"),
        ("topic: sketchup", "tpic: sketchup", "has an unknown key 'tpic'"),
        ('answer: "Press P for the Push/Pull tool and move the face."', "answer: yes", "'answer' is not text"),
    ],
)
def test_a_wrong_entry_is_named_with_file_line_and_id(tmp_path: Path, old: str, new: str, says: str):
    assert old in ENTRY
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, ENTRY.replace(old, new, 1)))
    assert says in caught.value.what
    assert "technical/cad.yaml, line 1" in caught.value.what


def test_all_wrong_entries_are_named_at_once(tmp_path: Path):
    text = ENTRY.replace("basic", "easy") + ENTRY.replace("push-pull", "other").replace("topic: sketchup", "topic: 5")
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, text))
    assert "2 faults" in caught.value.what
    assert "line 1 " in caught.value.what
    assert "line 10 " in caught.value.what


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY + ENTRY, "the id is used before, in technical/cad.yaml, line 1"),
        (ENTRY.replace("topic: sketchup", "topic: sketchup\n  topic: cad"), "line 3: 'topic' stands twice"),
        ("- id: a\n  topic: [", "not valid YAML"),
        ("id: a\n", "is not a list of entries"),
        ("- just a text\n", "is not an entry with keys"),
        ("", "holds no entries"),
    ],
)
def test_a_broken_file_is_told_in_a_sentence(tmp_path: Path, text: str, says: str):
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, text))
    assert says in caught.value.what


def test_weak_entries_are_named_with_the_reason(tmp_path: Path):
    text = ENTRY.replace('key_facts: ["P"]', 'key_facts: ["Q"]').replace('["Click"]', '["Move"]')
    said = "\n".join(map(str, weaknesses(load(write(tmp_path, text)))))
    for part in (
        "3 phrasings; write at least 6",
        "'Q' of key_facts is not in answer",
        "'Q' of key_facts is not in expert_answer",
        "'Move' of expert_facts is already in the brief answer",
        "35 to 80 are complete",
    ):
        assert part in said


def test_bare_questions_are_a_line_each_under_their_category(tmp_path):
    write(tmp_path, ENTRY)
    write(tmp_path, "# films\nwho played jaws\n\n  cast of alien  \n", "questions/qna.txt")
    assert [(one.text, one.category, one.source) for one in load(tmp_path).questions] == [
        ("who played jaws", "qna", "questions/qna.txt"),
        ("cast of alien", "qna", "questions/qna.txt"),
    ]


def test_bare_questions_in_another_encoding_are_a_sentence(tmp_path):
    write(tmp_path, ENTRY)
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "general.txt").write_bytes("wie geht’s".encode("cp1252"))
    with pytest.raises(DataError, match=r"questions/general\.txt is not UTF-8"):
        load(tmp_path)
