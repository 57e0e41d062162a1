"""The sentences of the five scenarios through the real classifier: who would answer each of them."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from assistant.core import files
from assistant.core.paths import PROJECT
from assistant.core.store import Store
from assistant.core.values import ModelCard

ALONE = (
    "How is the weather today?",
    "오늘 날씨 어때?",
    "Is it raining where you are?",
    "What's the weather like this morning?",
    "How's the weather over there today?",
    "오늘 비 와?",
    "날씨 어떤가요?",
    "I feel sad today",
    "I'm feeling really down today",
    "Today I am so unhappy",
    "I feel like crying",
)
GUIDED = (
    "Tell me advanced techniques for modelling complex curved surfaces in SketchUp",
    "Which advanced methods are there for complex curved surfaces in SketchUp?",
    "I want to learn professional techniques for organic, double-curved shapes in SketchUp",
    "Explain advanced curved surface modelling with SketchUp in detail",
    "SketchUp에서 복잡한 곡면 모델링하는 고급 기법을 알려줘",
    "SketchUp 고급 곡면 모델링 기법이 궁금해",
    "SketchUp에서 자유 곡면을 모델링하는 전문적인 방법은?",
    "How to draw a line in CAD software?",
    "How do I draw a line in a CAD program?",
    "What are the steps to draw a line in AutoCAD?",
    "Show me how to draw a straight line in CAD",
)
REQUESTED = (
    "SketchUp expert mode advanced modeling",
    "Expert mode: advanced modelling in SketchUp",
    "Advanced SketchUp modeling, expert mode please",
    "I need the expert for advanced SketchUp modeling",
)


@pytest.fixture
def routed(based, tmp_path):
    """Every sentence with who would answer it, in one process."""
    store = Store(based)
    for model in ("unified", "qna", "technical"):
        version = store.reserve(model, {"model": model})
        about = ("run", "lora", "base", "", "data", "", "2026-01-01T00:00:00+00:00", 20, 1000, 1.0, 0.5, 10, ("llama", "hf"))
        files.write_json(store.version_folder(model, version) / "card.json", asdict(ModelCard(model, version, *about)))
        store.make_live(model, version)
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join([*ALONE, *GUIDED, *REQUESTED]), encoding="utf-8")
    words = [sys.executable, "main.py", "--root", str(based.root), "--ask-file", str(asked), "--route-only"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
    return {document["question"]: document for document in map(json.loads, done.stdout.splitlines())}


def test_the_scenarios_are_routed_as_told(routed):
    wrong = [(one, routed[one]) for one in ALONE if (routed[one]["model"], routed[one]["trigger"]) != ("unified", None)]
    wrong += [(one, routed[one]) for one in GUIDED if (routed[one]["model"], routed[one]["trigger"]) != ("technical", "complexity")]
    wrong += [(one, routed[one]) for one in REQUESTED if (routed[one]["model"], routed[one]["trigger"]) != ("technical", "request")]
    assert wrong == []
