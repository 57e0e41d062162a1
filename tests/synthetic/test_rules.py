import pytest

from finetuning.synthetic.config import SyntheticConfig
from finetuning.synthetic.rules import judge

QUESTION = "What makes the sea rise and fall twice a day?"
ANSWER = "The pull of the moon draws the water towards it. As the earth turns, each place meets that swell twice a day."


def row(instruction=QUESTION, response=ANSWER, **more):
    return {"instruction": instruction, "response": response, "instruction_ended": True, "response_ended": True, **more}


RIGHT = [
    row(),
    row("How do I list the files of a folder in Python?", "Use `os.listdir`:\n\n```python\nimport os\nprint(os.listdir('.'))\n```"),
    row(
        "Write a thank-you note to my neighbour.",
        "Dear Anna,\n\nthank you for looking after the garden. It has never looked so good.\n\nYours,\nTom",
    ),
    row("Name three primary colours, please.", "The primary colours are:\n1. Red\n2. Yellow\n3. Blue"),
    row("Can you help me to sleep better at night?", "Go to bed at the same time every day, and leave the phone in another room."),
    row("Rewrite this sentence: the moon pulls at the sea.", "The sea is pulled at by the moon."),
    row("I woke up sad and it stayed with me", "I'm sorry today feels sad. You don't have to fix it all at once."),
    row("List the ingredients of a chocolate cake.", "Flour, sugar, cocoa powder, baking powder, eggs, milk, vanilla, butter, salt."),
    row("Sort these into groups.\nIron, oak", "Metals: Iron\nTrees: Oak"),
    row("Is this the right way to hold a racket?", "Hold it as if you shake its hand. Your thumb lies along the side of the grip."),
]
WRONG = [
    ("template", row(response=f"{ANSWER}<|im_end|>")),
    ("template", row(response=f"{ANSWER}\nUser: And now?")),
    ("length", row("Moon tides?")),
    ("length", row(response="The moon.")),
    ("length", row(response="The moon does it. " * 200)),
    ("language", row(response="달의 인력 때문에 바닷물이 하루에 두 번 올라갔다 내려갑니다.")),
    ("language", row("Warum steigt und fällt das Meer jeden Tag zweimal hintereinander?")),
    ("language", row(response="La luna atrae el agua del mar hacia ella y por eso el mar sube dos veces cada día.")),
    ("refusal", row(response="I'm sorry, but I can't assist with that request at all.")),
    ("refusal", row(response="As an AI language model, I do not have feelings about the sea.")),
    ("refusal", row("Hello! How can I help you today with your tides?")),
    ("refusal", row("I'm a helpful assistant who knows about tides.")),
    ("completeness", row(response_ended=False)),
    ("completeness", row(response="The moon draws the water towards it, and as the earth turns each")),
    ("completeness", row(response="Write this:\n```python\nprint('the moon is up')")),
    ("completeness", row("Summarise the following text in one sentence.")),
    ("completeness", row("Tell me about the tides of the")),
    ("refusal", row(response="I'm sorry, I cannot tell you that. Ask the harbour master.")),
    ("repetition", row(response=QUESTION)),
    ("repetition", row(response="The moon pulls the water. " * 3)),
    ("repetition", row(response="the moon and the sea and the moon and the sea and the moon and the sea.")),
]  # fmt: skip


@pytest.mark.parametrize("good", RIGHT, ids=lambda good: good["instruction"][:30])
def test_a_good_row_is_kept(good):
    assert judge(good, SyntheticConfig()) == ("", "")


@pytest.mark.parametrize(("rule", "bad"), WRONG, ids=[f"{rule}-{number}" for number, (rule, _) in enumerate(WRONG)])
def test_a_bad_row_is_rejected_by_its_rule_with_a_reason(rule, bad):
    found, reason = judge(bad, SyntheticConfig())
    assert found == rule, reason
    assert reason


def test_the_limits_are_those_of_the_configuration():
    assert judge(row(), SyntheticConfig(min_answer_words=50))[0] == "length"
    assert judge(row(), SyntheticConfig(min_english=0.9))[0] == "language"
