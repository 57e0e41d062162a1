"""A thousand turns with random switches, loads, failures and Ctrl-C: no leak, no wrong adapter, every model as on a cold engine at the end.

Needs a root whose models have live versions. Each model's first words to each question are taken from a fresh engine first; then the
turns run in one process with room for two adapters, and each answer must begin as its own model's does.

usage: python benchmarks/turns.py --root DIR [--turns 1000] [--tokens 8]
"""

import argparse
import json
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.chat.live import Live
from assistant.chat.residents import MB, size
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.events import Notice, TextDelta, TurnDone
from assistant.core.paths import resolve
from assistant.core.settings import Settings

QUESTIONS = (
    "How do I draw a line in SketchUp?",
    "What is the capital of France?",
    "I feel sad today",
    "How do I undo the last step in AutoCAD?",
    "What is photosynthesis?",
)
# Shares of the turns that are stopped in the middle, and before which an adapter's file is taken away for a turn.
STOPPED, BROKEN = 0.1, 0.03


def main() -> int:
    """Print what was found; status 1 when an answer was another model's or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=8)
    given = parser.parse_args()
    paths = resolve(given.root)
    settings = configuration.load(paths)
    largest = max((size(folder) for folder in paths.models.glob("*/versions/*")), default=0)
    room = 2 * largest // MB + 1
    settings = replace(
        settings, chat=replace(settings.chat, max_tokens=given.tokens), router=replace(settings.router, memory_budget_mb=room)
    )
    models = ["base", *Live(paths, settings).trained()]
    cold = {model: [said(fresh(given.root, settings), model, question) for question in QUESTIONS] for model in models}
    live = fresh(given.root, settings)
    draw, counts, memory = random.Random(1), Counter[str](), []
    process = psutil.Process()
    for turn in range(given.turns):
        model, place = draw.choice(models), draw.randrange(len(QUESTIONS))
        counts[one_turn(live, draw, model, place, cold)] += 1
        if turn % 100 == 99:
            memory.append(process.memory_info().rss // MB)
    after = {model: [said(live, model, question) for question in QUESTIONS] == cold[model] for model in models}
    live.release()
    grown = memory[-1] - memory[min(2, len(memory) - 1)] if memory else 0
    print(json.dumps({"turns": dict(counts), "memory_mb": memory, "grown_mb": grown, "as_cold_at_the_end": after}))
    return int(counts["another model's words"] > 0 or grown > 20)


def fresh(root: str, settings: Settings) -> Live:
    """A cold engine."""
    live = Live(resolve(root), settings)
    live.start()
    return live


def one_turn(live: Live, draw: random.Random, model: str, place: int, cold: dict[str, list[str]]) -> str:
    """One turn, and what came of it."""
    question = QUESTIONS[place]
    if draw.random() < STOPPED:
        stream = Session(live.store.paths, live, greedy=True, pinned=model).say(question)
        for event in stream:
            if isinstance(event, TextDelta):
                break
        stream.close()
        return "stopped"
    adapter = live.store.live(model) if model != "base" else None
    if adapter is not None and draw.random() < BROKEN and model not in live.resident():
        return without(live, adapter.folder / "adapter.gguf", model, question)
    answer = said(live, model, question)
    if answer == cold[model][place]:
        return "as on a cold engine"
    others = {cold[other][place] for other in cold if other != model}
    return "another model's words" if answer in others else "own words, another near tie"


def without(live: Live, file: Path, model: str, question: str) -> str:
    """A turn while an adapter's file is away: somebody else answers and one line says so."""
    hidden = file.with_suffix(".away")
    file.rename(hidden)
    try:
        events = list(Session(live.store.paths, live, greedy=True, pinned=model).say(question))
    finally:
        hidden.rename(file)
    told = [event for event in events if isinstance(event, Notice)]
    return "failed and said so" if told and any(isinstance(event, TurnDone) for event in events) else "failed badly"


def said(live: Live, model: str, question: str) -> str:
    """The first words of a model to a question in a conversation of its own."""
    session = Session(live.store.paths, live, greedy=True, pinned=model)
    return next(event.reply.answer for event in list(session.say(question)) if isinstance(event, TurnDone))


if __name__ == "__main__":
    sys.exit(main())
