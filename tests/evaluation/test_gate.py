from dataclasses import replace

import pytest

from finetuning.evaluation.bootstrap import Interval
from finetuning.evaluation.gate import Difference, Evidence, refusal, verdict

BASE, LIVE = "the base", "unified 0001"


def difference(measure="key_facts", gain=0.4, width=0.05, against=BASE, rows=100, noise=0.0, old=0.2):
    return Difference(measure, against, old + gain, old, Interval(gain, gain - width, gain + width, rows), noise)


def evidence(*differences, live=None, effects=None):
    return Evidence("unified", "0002", live, differences, {"hf": 3.0, "llama": 2.5} if effects is None else effects)


def test_a_version_that_is_better_and_has_not_forgotten_may_go_live():
    assert refusal(evidence(difference(), difference("loss", 1.2), difference("general", -0.02))) == ""


def test_a_version_that_has_forgotten_is_refused_however_good_its_facts_are():
    said = refusal(evidence(difference(gain=0.8), difference("general", -0.2)))
    assert said.startswith("It has forgotten") and "general ability" in said and "-0.200" in said


def test_forgetting_counts_against_the_live_version_too():
    said = refusal(evidence(difference(against=LIVE), difference("general", 0.0), difference("general", -0.2, against=LIVE), live=LIVE))
    assert "forgotten" in said


def test_a_drop_within_the_noise_of_the_evaluation_is_no_forgetting():
    assert refusal(evidence(difference(), difference("general", -0.08, width=0.05))) != ""
    assert refusal(evidence(difference(), difference("general", -0.08, width=0.05, noise=0.04))) == ""


@pytest.mark.parametrize("measure", ["key_facts", "loss"])
def test_a_gain_that_may_be_chance_is_held(measure):
    said = refusal(evidence(difference(measure, 0.04)))
    assert said.startswith("It is not surely better than the base")


def test_better_than_the_base_but_not_than_the_live_version_is_held():
    said = refusal(evidence(difference(), difference(gain=0.0, against=LIVE), live=LIVE))
    assert "not surely better than unified 0001" in said


def test_worse_than_the_live_version_is_refused():
    said = refusal(evidence(difference(), difference(gain=-0.3, against=LIVE), live=LIVE))
    assert said.startswith("It is worse than unified 0001: key-fact recall")


def test_a_worse_classifier_is_refused():
    said = refusal(evidence(difference(against=LIVE), difference("category", -0.1, against=LIVE), live=LIVE))
    assert "category accuracy" in said


def test_a_higher_loss_is_forgiven_where_key_facts_are_surely_better():
    assert refusal(evidence(difference(), difference("loss", -0.5))) == ""
    assert "worse" in refusal(evidence(difference(gain=0.0), difference("loss", -0.5)))


@pytest.mark.parametrize("engine", ["hf", "llama"])
def test_an_adapter_without_effect_never_passes(engine):
    said = refusal(evidence(difference(), effects={"hf": 2.0, "llama": 2.0, engine: 0.0}))
    assert said == f"The adapter has no effect on the {engine} engine: it answers exactly as the base does."


def test_without_key_facts_the_held_out_loss_decides_and_that_is_said():
    found = evidence(difference("loss", 0.7), difference("general", 0.0))
    assert refusal(found) == ""
    assert any("no key facts" in line for line in verdict(found))


def test_nothing_measured_is_nothing_shown():
    assert "Nothing was measured" in refusal(evidence())
    assert "nothing shows" in refusal(evidence(difference("general", 0.3)))


def test_the_verdict_says_better_same_and_worse_for_each_rival_with_figures():
    lines = verdict(
        evidence(difference(), difference("loss", 0.01), difference("general", -0.3), difference(against=LIVE, gain=0.02), live=LIVE)
    )
    assert lines[0].startswith("Against the base: better in key-fact recall (0.200 → 0.600, gain +0.400, 95% interval +0.350 to +0.450")
    assert "same in held-out loss" in lines[0] and "worse in general ability" in lines[0]
    assert lines[1].startswith("Against unified 0001: same in key-fact recall")


def test_few_questions_are_mentioned():
    assert any("key-fact recall (6)" in line for line in verdict(evidence(difference(rows=6))))


def test_a_gain_over_too_few_questions_is_held():
    five, six = (refusal(evidence(difference(rows=rows))) for rows in (5, 6))
    assert "not surely better" in five and "5 questions" in five
    assert six == ""


def test_preferences_alone_can_make_a_version_better_but_not_at_the_cost_of_facts():
    preferred = difference("preference", 0.2)
    assert refusal(evidence(difference(gain=0.0), difference("loss", -0.1), preferred)) == ""
    assert "key-fact recall" in refusal(evidence(difference(gain=-0.2), preferred))


def test_where_what_was_taught_is_asked_a_lower_loss_alone_is_no_gain():
    same, likelier = difference(gain=0.0), difference("loss", 1.2)
    assert refusal(evidence(same, likelier)) == "", "unseen entries: nobody could know the facts"
    taught = replace(evidence(same, likelier), taught=True)
    assert "not surely better than the base: key-fact recall" in refusal(taught) and "loss" not in refusal(taught)
    assert any("key facts decide" in line for line in verdict(taught))
    assert refusal(replace(taught, differences=(difference(), likelier))) == ""
    assert refusal(replace(taught, differences=(difference(gain=0.0, rows=10), likelier))) == "", "too few facts to decide"
    assert refusal(replace(taught, differences=(same, likelier, difference("preference", 0.3)))) == ""
