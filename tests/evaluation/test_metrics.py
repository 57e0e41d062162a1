import math

import pytest

from finetuning.evaluation import metrics


def test_the_same_text_overlaps_wholly_and_another_not_at_all():
    same, other = metrics.overlaps(["Press P for Push/Pull.", "xyz"], ["Press P for Push/Pull.", "Open the door"])
    assert (same.rouge_l, same.chrf, same.token_f1) == pytest.approx((1, 1, 1))
    assert (other.rouge_l, other.token_f1) == (0, 0) and other.chrf < 0.05


def test_rouge_l_counts_the_longest_common_order_of_words():
    found = metrics.overlaps(["the gunman police killed"], ["police killed the gunman"])[0]
    assert found.rouge_l == pytest.approx(0.5)


def test_an_empty_answer_overlaps_with_nothing():
    found = metrics.overlaps([""], ["something"])[0]
    assert (found.rouge_l, found.chrf, found.token_f1) == (0, 0, 0)


def test_token_f1_forgives_case_and_punctuation():
    assert metrics.token_f1("PARIS!", "paris") == 1
    assert metrics.token_f1("Paris France", "Paris") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("answer", "ids", "reference", "cut", "fault"),
    [
        ("a b c d e", range(30), "a b c d e f", False, ""),
        ("ha ha", [5] * 12, "", False, "repeats"),
        ("said twice in the middle, then sound", [*[1, 2] * 7, *range(50, 80)], "", False, "repeats"),
        ("", [], "some words", False, "empty"),
        ("one", [1], "one two three four five", False, "too_short"),
        ("w " * 20, range(20), "a b c", False, "too_long"),
        ("a b c", range(3), "a b c", True, "too_long"),
    ],
)
def test_the_health_of_an_answer_names_what_is_wrong(answer, ids, reference, cut, fault):
    found = metrics.health(answer, list(ids), reference, cut)
    assert found.sound == (fault == "")
    assert not fault or getattr(found, fault)


def test_perplexity_is_e_to_the_loss_and_never_overflows():
    assert metrics.perplexity(math.log(8)) == pytest.approx(8)
    assert metrics.perplexity(1e4) == math.inf


def test_classification_figures_of_a_known_case():
    wanted = ["qna", "qna", "technical", "technical", "general"]
    given = ["qna", "technical", "technical", "technical", "unsure"]
    found = metrics.classification(given, wanted, ("qna", "technical", "general"))
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["classes"]["qna"]["f1"] == pytest.approx(2 / 3)
    assert found["classes"]["technical"]["f1"] == pytest.approx(0.8)
    assert found["classes"]["general"]["f1"] == 0
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 3)
    assert found["confusion"]["qna"] == {"qna": 1, "technical": 1, "general": 0, "unsure": 0}
    assert found["confusion"]["general"]["unsure"] == 1


def test_a_label_that_never_occurs_does_not_lower_the_macro_f1():
    assert metrics.classification(["qna"], ["qna"], ("qna", "technical"))["macro_f1"] == 1


def test_distinct_pairs_fall_when_answers_say_the_same():
    assert metrics.distinct_pairs(["one two three"]) == 1
    assert metrics.distinct_pairs(["one two three", "one two three"]) == 0.5


def test_a_mean_leaves_out_what_is_not_there():
    assert metrics.mean([1, None, 0]) == 0.5
    assert metrics.mean([None]) is None
