import pytest

from assistant.core.facts import normalise
from assistant.core.paths import resolve
from finetuning.data import corpus
from finetuning.evaluation import suites
from finetuning.evaluation.checkers import all_kept


@pytest.fixture(scope="module")
def general():
    return suites.load(suites.GENERAL)


@pytest.fixture(scope="module")
def trained_texts():
    found = corpus.load(resolve().corpus)
    said = [text for entry in found.entries for text in entry.wordings]
    return said + [user for dialogue in found.dialogues for user, _ in dialogue.turns]


def test_the_general_set_has_at_least_170_questions_of_many_groups(general):
    assert len(general.questions) >= 170
    groups = {question.group for question in general.questions}
    assert len(groups) >= 8
    assert all(sum(question.group == group for question in general.questions) >= 10 for group in groups)


def test_no_general_question_stands_in_the_training_texts(general, trained_texts):
    trained = {normalise(text) for text in trained_texts}
    assert [question.id for question in general.questions if normalise(question.turns[0].user) in trained] == []


def test_no_general_question_is_nearly_a_training_text(general, trained_texts):
    trained = [frozenset(normalise(text).split()) for text in trained_texts]
    near = []
    for question in general.questions:
        own = frozenset(normalise(question.turns[0].user).split())
        near += [question.id for other in trained if len(own & other) / len(own | other) > 0.8]
    assert near == []


def test_no_two_general_questions_are_the_same(general):
    texts = [normalise(question.turns[0].user) for question in general.questions]
    assert len(set(texts)) == len(texts)


def test_saying_the_question_again_is_never_right(general):
    parrot = [question.id for question in general.questions if all_kept(question.turns[0].checks, question.turns[0].user)]
    assert parrot == []
