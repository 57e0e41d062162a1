import json

import pytest
import yaml

from assistant.core.errors import DataError, UsageError
from assistant.core.facts import normalise
from finetuning.evaluation import suites
from finetuning.evaluation.checkers import CHECKS, Check, all_kept, kept
from finetuning.evaluation.suites import FOLDER


def write(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", suites.names())
def test_every_suite_of_the_project_can_be_read(name):
    suite = suites.load(name)
    assert suite.name == name and suite.questions and suite.sha256


@pytest.mark.parametrize("name", suites.names())
def test_no_question_of_a_suite_stands_twice(name):
    asked = [(q.system, *(normalise(turn.user) for turn in q.turns)) for q in suites.load(name).questions]
    assert len(set(asked)) == len(asked)


def test_instruction_following_has_60_prompts_over_15_kinds_of_demand():
    suite = suites.load("instruction_following")
    kinds = {check.kind for question in suite.questions for turn in question.turns for check in turn.checks}
    assert len(suite.questions) >= 60 and len(kinds) >= 15


@pytest.mark.parametrize("question", suites.load("instruction_following").questions, ids=lambda q: q.id)
def test_the_demands_of_a_prompt_tell_its_right_answer_from_its_wrong_one(question):
    checks = question.turns[0].checks
    assert question.right and question.wrong
    assert all_kept(checks, question.right)
    assert not all_kept(checks, question.wrong)


def test_knowledge_has_120_questions_with_the_answer_among_four_choices():
    questions = suites.load("knowledge").questions
    assert len(questions) >= 120
    assert all(len(question.choices) == 4 and 0 <= question.answer < 4 for question in questions)


def test_the_right_choice_is_not_given_away_by_its_length():
    questions = suites.load("knowledge").questions
    for turn in (1, -1):
        lengths = [sorted((turn * len(choice), choice) for choice in q.choices) for q in questions]
        alone = [(q, order) for q, order in zip(questions, lengths, strict=True) if order[0][0] < order[1][0]]
        assert sum(order[0][1] == q.choices[q.answer] for q, order in alone) / len(questions) < 0.4


def test_the_agent_suite_has_at_least_ten_questions_of_each_ability():
    questions = suites.load("agent").questions
    counts = {group: sum(q.group == group for q in questions) for group in {q.group for q in questions}}
    assert set(counts) == {"planning", "reasoning", "context", "feedback", "tools"}
    assert all(count >= 10 for count in counts.values())


def test_keeping_context_and_taking_feedback_need_more_than_one_turn():
    questions = suites.load("agent").questions
    assert all(len(q.turns) >= 2 for q in questions if q.group in ("context", "feedback"))


@pytest.mark.parametrize("question", suites.load("agent").questions, ids=lambda q: q.id)
def test_the_checks_of_an_agent_question_tell_its_right_answer_from_its_wrong_one(question):
    checks = question.turns[-1].checks
    before = ["This is an earlier answer of a good many words, so that a later one can be shorter than it was before, or changed."]
    before = before if len(question.turns) > 1 else []
    assert question.right and question.wrong
    assert all_kept(checks, question.right, before)
    assert not all_kept(checks, question.wrong, before)


def cases():
    document = yaml.safe_load((FOLDER.parents[2] / "tests" / "evaluation" / "checks.yaml").read_text(encoding="utf-8"))
    return [(item["kind"], item.get("wants") or {}, item.get("before") or [], item["right"], item["wrong"]) for item in document]


@pytest.mark.parametrize(("kind", "wants", "before", "right", "wrong"), cases())
def test_a_check_agrees_with_its_right_and_wrong_answers(kind, wants, before, right, wrong):
    assert [answer for answer in right if not kept(Check(kind, wants), answer, before)] == []
    assert [answer for answer in wrong if kept(Check(kind, wants), answer, before)] == []


def test_every_kind_of_check_has_right_and_wrong_answers():
    assert {kind for kind, *_ in cases()} == set(CHECKS)


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_an_empty_answer_keeps_no_demand(kind):
    wants = next(wants for name, wants, *_ in cases() if name == kind)
    assert not kept(Check(kind, wants), " \n ")


def test_a_suite_of_ones_own_is_read_from_yaml(tmp_path):
    second = "- {question: Say hi., checks: [{kind: words, max: 3}]}"
    path = write(tmp_path, f"questions:\n- question: Which key opens the menu?\n  key_facts: [F10]\n{second}\n")
    suite = suites.read(path)
    assert suite.name == "mine" and [q.id for q in suite.questions] == ["q001", "q002"]
    assert all_kept(suite.questions[0].turns[0].checks, "Press **F10**.")


def test_a_suite_of_ones_own_is_read_from_json_lines(tmp_path):
    rows = [
        {"question": "2+2?", "key_facts": [{"any_of": ["4", "four"]}]},
        {"question": "Sky?", "choices": ["blue", "green"], "answer": "blue"},
    ]
    suite = suites.read(write(tmp_path, "\n".join(map(json.dumps, rows)), "own.jsonl"))
    assert suite.questions[1].choices == ("blue", "green") and suite.questions[1].answer == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("questions:\n- {question: Hi, key_fact: [x]}", "did you mean 'key_facts'"),
        ("questions:\n- {question: Hi}", "nothing to judge by"),
        ("questions:\n- {question: '', key_facts: [x]}", "'question' is missing"),
        ("questions:\n- {question: Hi, checks: [{kind: word, max: 3}]}", "there is no check 'word'"),
        ("questions:\n- {question: Hi, checks: [{kind: words, most: 3}]}", "cannot be used so"),
        ("questions:\n- {question: Hi, choices: [a, b], answer: c}", "exactly one of the choices"),
        ("questions:\n- {id: a, question: Hi, key_facts: [x]}\n- {id: a, question: Ho, key_facts: [x]}", "the id 'a' stands 2 times"),
        ("questions: []", "holds no questions"),
        ("questions:\n- just text", "question 1 is no group of keys"),
        ("name: x", "holds no list of questions"),
        ("questions: [", "line 1: not valid YAML"),
    ],
)
def test_everything_wrong_in_a_suite_is_named(tmp_path, text, said):
    with pytest.raises(DataError, match=r"mine\.yaml") as caught:
        suites.read(write(tmp_path, text))
    assert said in caught.value.what


def test_an_unknown_suite_is_a_sentence_with_the_known_ones():
    with pytest.raises(UsageError, match="no suite 'genral'") as caught:
        suites.load("genral")
    assert "general_ability" in caught.value.fix
