from hypothesis import given
from hypothesis import strategies as st

from assistant.core.facts import facts_present, is_right, normalise, recall


def test_case_punctuation_and_markdown_do_not_matter():
    assert is_right("Press **P** for the *Push/Pull* tool.", ["push/pull", "p"])
    assert normalise("**Ctrl+Shift**, then `Enter`!") == "ctrl shift then enter"


def test_a_fact_is_whole_words_only():
    assert facts_present("The Edge tool", ["E", "edge"]) == ("edge",)
    assert not is_right("It has 125 parts.", ["25"])


def test_recall_is_the_share_of_facts_present():
    assert recall("Paris lies on the Seine.", ["Paris", "Seine", "Louvre", "Eiffel"]) == 0.5


def test_without_facts_nothing_can_be_judged():
    assert is_right("Anything.", []) is None
    assert recall("Anything.", []) is None


def test_a_fact_of_signs_alone_is_looked_for_as_it_is_written():
    assert is_right("Use `+=` here.", ["+="])
    assert not is_right("Use plus here.", ["+="])
    assert not is_right("Anything.", [" "])


def test_percent_degree_and_full_width_forms_are_kept_apart_or_unified():
    assert is_right("about 25 % of it", ["25 %"])
    assert is_right("９０° exactly", ["90°"])


def test_what_korean_writes_onto_a_word_does_not_hide_a_fact():
    assert is_right("민법 제750조에 따라 10년간, 그리고 노동위원회에서도 다툽니다.", ["제750조", "10년", "노동위원회"])
    assert is_right("연 5%입니다. CAD는 도구입니다.", ["5%", "CAD"])
    assert not is_right("제750조의2에 있습니다.", ["제75조"])
    assert not is_right("벌금 10만 원, 사과, 30일분", ["10"]) and not is_right("사과", ["사"]) and not is_right("30일분", ["30일"])


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_more(text: str):
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text(alphabet="abc 가나", min_size=1, max_size=6), max_size=5), st.text(max_size=40))
def test_recall_is_one_exactly_when_the_answer_is_right(facts: list[str], answer: str):
    assert (recall(answer, facts) == 1) == (is_right(answer, facts) is True)
