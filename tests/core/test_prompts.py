from hypothesis import given
from hypothesis import strategies as st

from assistant.core.prompts import from_input_text, system_prompt, to_input_text
from assistant.core.values import Message

PLAIN = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).filter(lambda text: text.strip() == text and ": " not in text)


@given(PLAIN, st.lists(st.tuples(PLAIN, PLAIN), max_size=3), PLAIN)
def test_messages_survive_the_way_through_input_text(system, turns, question):
    messages = [Message("system", system)]
    for said, answer in turns:
        messages += [Message("user", said), Message("assistant", answer)]
    messages.append(Message("user", question))
    assert from_input_text(to_input_text(messages)) == messages


def test_the_form_is_the_one_of_the_datasets():
    text = to_input_text([Message("system", "Be kind."), Message("user", "Hello")])
    assert text == "System: Be kind.\n\nUser: Hello\nAssistant:"


def test_a_text_without_the_form_is_one_user_message():
    assert from_input_text("What is a GPU?") == [Message("user", "What is a GPU?")]


def test_a_specialist_of_the_users_own_has_a_prompt_with_its_name():
    assert "korean law" in system_prompt("korean_law")
