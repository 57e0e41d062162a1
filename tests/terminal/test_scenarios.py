"""The five scenarios as told, on a real screen: who answers, what is offered, what stays."""

from dataclasses import asdict
from pathlib import Path

import pytest

from assistant.core import files
from assistant.core.store import Store
from assistant.core.values import ModelCard
from tests.terminal.terminal import ENTER, Terminal

PROMPT = "\n>"
UNIFIED, TECHNICAL = "unified 0001", "technical 0001"
YES = ("yes, expert mode please", "yes please", "ok, expert mode", "sure, go ahead", "네, 전문가 모드로 해주세요")


@pytest.fixture
def chat(paths):
    """Opens the window with a trained unified model and two specialists."""
    store, opened = Store(paths), []
    for model in ("unified", "qna", "technical"):
        version = store.reserve(model, {"model": model})
        about = ("run", "lora", "base", "", "data", "", "2026-01-01T00:00:00+00:00", 20, 1000, 1.0, 0.5, 10, ("llama", "hf"))
        files.write_json(store.version_folder(model, version) / "card.json", asdict(ModelCard(model, version, *about)))
        store.make_live(model, version)

    def open_window(escalation):
        opened.append(Terminal([str(Path(__file__).with_name("scenario_window.py")), str(paths.root), escalation], rows=30))
        opened[-1].until(PROMPT)
        return opened[-1]

    yield open_window
    for terminal in opened:
        terminal.kill()


def ask(terminal, text, answers=1):
    """Type a line and wait until it is answered; returns what came since."""
    before = len(terminal.text)
    done = terminal.text.count("tokens/s") + answers
    terminal.type(text + ENTER)
    terminal.until_matches(r"(?s)" + r".*".join(["tokens/s"] * done))
    terminal.read(0.3)
    return terminal.text[before:]


@pytest.mark.parametrize(
    "escalation, questions",
    [
        (
            "auto",
            (
                "How is the weather today?",
                "What's the weather like this morning?",
                "Is it raining where you are?",
                "How's the weather over there?",
            ),
        ),
        ("auto", ("오늘 날씨 어때?", "오늘 날씨가 좋네요", "날씨 어떤가요?", "오늘 비 와?")),
        ("auto", ("I feel sad today", "I'm feeling really down today", "Today I am so unhappy", "I feel like crying")),
    ],
)
def test_everyday_talk_is_answered_by_the_unified_model_alone(chat, escalation, questions):
    terminal = chat(escalation)
    for question in questions:
        shown = ask(terminal, question)
        assert UNIFIED in shown and TECHNICAL not in shown and "expert" not in shown and "전문가" not in shown


@pytest.mark.parametrize(
    "question",
    [
        "Tell me advanced techniques for modelling complex curved surfaces in SketchUp",
        "Which advanced methods are there for complex curved surfaces in SketchUp?",
        "I want to learn professional techniques for organic shapes in SketchUp",
        "Explain advanced curved surface modelling with SketchUp in detail",
        "SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘",
        "스케치업으로 복잡한 곡면을 만드는 고급 방법 알려줘",
        "SketchUp 고급 곡면 모델링 기법이 궁금해",
        "SketchUp에서 자유 곡면을 모델링하는 전문적인 방법은?",
    ],
)
def test_under_offer_a_first_answer_and_an_offer_then_yes_asks_the_same_question(chat, question):
    terminal = chat("offer")
    shown = ask(terminal, question)
    assert "A short answer." in shown and UNIFIED in shown and "The technical specialist can answer this too" in shown.replace("\n", " ")
    shown = ask(terminal, YES[len(question) % len(YES)])
    assert "Press L for the Line tool" in shown and TECHNICAL in shown


def test_a_how_to_gets_the_short_answer_and_the_guide_in_one_turn(chat, paths):
    terminal = chat("auto")
    for question in (
        "How to draw a line in CAD software?",
        "How do I draw a line in a CAD program?",
        "What are the steps to draw a line in AutoCAD?",
        "Show me how to draw a straight line in CAD",
    ):
        shown = ask(terminal, question)
        assert "A short answer." in shown and "a first draft" in shown and "3. Type a length" in shown.replace("  ", " ")
        assert shown.index("A short answer.") < shown.index("Press L") and TECHNICAL in shown
    terminal.type("why:" + ENTER)
    text = " ".join(terminal.until("What would have changed it").split())
    assert "75%, above 60%" in text


def test_expert_mode_in_the_question_brings_the_specialist_at_once(chat):
    terminal = chat("auto")
    for question in (
        "SketchUp expert mode advanced modeling",
        "Expert mode: advanced modelling in SketchUp",
        "Advanced SketchUp modeling, expert mode please",
        "I need the expert for advanced SketchUp modeling",
    ):
        shown = ask(terminal, question)
        assert "Press L" in shown and TECHNICAL in shown and "A short answer." not in shown
