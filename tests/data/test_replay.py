import itertools
import re

import pytest
import yaml

from assistant.core.facts import normalise
from assistant.core.paths import PROJECT
from finetuning.data.corpus import load

CORPUS = PROJECT / "finetuning" / "corpus"
SUITES = PROJECT / "finetuning" / "evaluation" / "suites"
# Words that many questions share and that say nothing of what is asked.
COMMON = (
    "a an the and or of in on at to for from by with as it its is are was were be been do does did has have had i me my you your we us our"
    " they their this that these those there what which who whom whose when where why how can could will would should please"
)
STOP = frozenset(COMMON.split())


def words(text: str) -> frozenset[str]:
    found = frozenset(re.findall(r"\w+", text.lower()))
    return found - STOP or found


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    lines = (CORPUS / "replay.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def asked() -> list[str]:
    suites = [yaml.load(path.read_bytes(), yaml.CSafeLoader) for path in sorted(SUITES.glob("*.yaml"))]
    return [turn["question"] for suite in suites for item in suite["questions"] for turn in item.get("turns", [item])]


def test_there_are_many_general_prompts_and_each_is_short(prompts):
    assert len(prompts) >= 450
    assert [prompt for prompt in prompts if not 5 <= len(prompt.split()) <= 40 or prompt != prompt.strip()] == []


def test_only_the_first_line_says_what_the_file_is():
    first, *rest = (CORPUS / "replay.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert [line for line in rest if not line or line.startswith("#")] == []


def test_no_general_prompt_is_or_resembles_a_question_of_the_evaluation(prompts, asked):
    assert len(asked) > 300
    questions = [(question, words(question)) for question in asked]
    near = [(prompt, question) for prompt in prompts for question, own in questions if jaccard(words(prompt), own) >= 0.6]
    assert near == []
    assert {normalise(prompt) for prompt in prompts} & {normalise(question) for question in asked} == set()


def test_no_general_prompt_is_a_question_of_the_corpus(prompts):
    corpus = load(CORPUS)
    taught = [phrasing for entry in corpus.entries for phrasing in entry.wordings]
    taught += [user for dialogue in corpus.dialogues for user, _ in dialogue.turns]
    taught += [line for path in sorted(CORPUS.glob("questions/*.txt")) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {normalise(prompt) for prompt in prompts} & {normalise(line) for line in taught} == set()


def test_no_two_general_prompts_are_nearly_the_same(prompts):
    pairs = itertools.combinations([(prompt, words(prompt)) for prompt in prompts], 2)
    assert [(one, other) for (one, own), (other, others) in pairs if jaccard(own, others) >= 0.8] == []
