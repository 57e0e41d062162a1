"""The real chat window over a scripted engine whose models answer differently, and a scripted classifier that reads words.

Arguments: root, `auto` or `offer`, then main.py's own.
"""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from assistant.chat.live import Live
from assistant.core.values import Judgement, Token
from assistant.router.confidence import FEATURES, Calibration, Curve
from assistant.ui.cli import main
from finetuning.commands import REGISTRY
from tests.scripted import ScriptedEngine, install

GUIDE = "1. Press L for the Line tool.\n2. Click the start point.\n3. Type a length and press Enter.\n"
SAID = {"unified": "A short answer. ", "technical": GUIDE, "qna": "The facts in full. ", "base": "The base says something. "}
TECHNICAL = ("sketchup", "cad", "스케치업")
GENERAL = ("weather", "sad", "날씨", "hello", "down", "unhappy", "cry", "rain", "비 ")


@dataclass
class ModelEngine(ScriptedEngine):
    """Every model says its own text."""

    said: list = field(default_factory=list)

    def stream(self, prompt, adapter, sampling, stop):
        text = SAID[adapter.partition("/")[0] if adapter else "base"]
        for letter in text[: sampling.max_tokens]:
            yield Token(ord(letter), letter, -0.1)


def judge(self, question):
    """The category by words; 0.2 as the classifier's own complexity, so that only the words of the question raise it."""
    lower = question.casefold()
    category = "technical" if any(word in lower for word in TECHNICAL) else "general" if any(word in lower for word in GENERAL) else "qna"
    return Judgement(category, {**dict.fromkeys(("qna", "technical", "general"), 0.03), category: 0.94}, 0.2)


def calibration(self, speaker):
    """Everybody is right with 86%."""
    zeros = (0.0,) * len(FEATURES)
    curve = Curve(zeros, (1.0,) * len(FEATURES), zeros, math.log(0.86 / 0.14))
    return Calibration("scripted", "", 100, curve, curve)


if __name__ == "__main__":
    root, escalation = sys.argv[1:3]
    (Path(root) / "models" / "settings.yaml").write_text(f"router:\n  escalation: {escalation}\n", encoding="utf-8")
    patch = pytest.MonkeyPatch()
    install(ModelEngine(), patch)
    patch.setattr(Live, "judge", judge)
    patch.setattr(Live, "calibration", calibration)
    sys.exit(main(["--root", root, *sys.argv[3:]], REGISTRY))
