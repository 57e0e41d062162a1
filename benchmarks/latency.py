"""What a person waits for in the chat, and what specialists cost in memory: everyday answers, the first word after a hand-over.

Turns of the real chat over the live versions of a root: everyday questions in wordings nobody trained on, each a conversation of its own,
and the same asked of the specialist; in long conversations the specialist has been offered and has read ahead.

usage: python benchmarks/latency.py --root DIR [--rows 30]
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import settings as configuration
from assistant.core.events import RouteChosen, TextDelta, TurnDone
from assistant.core.paths import Paths, resolve
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from assistant.engine.base import Engine
from assistant.router.classifier import reading
from finetuning.evaluation import asked as held_out_rows

LONG = (200, 400)
GOALS = {"everyday_seconds": 1.0, "first_word_ms": 250, "memory_ratio": 1.15}


def main() -> int:
    """Print the figures; status 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--adapters", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    paths = resolve(given.root)
    if given.adapters is not None:
        print(_memory(paths, given.adapters))
        return 0
    live = Live(paths, configuration.load(paths))
    live.start()
    specialists = [model for model in live.trained() if model != "unified"]
    everyday = [_answered(paths, live, question) for question in _questions(paths, "unified", ("general", "qna"), given.rows)]
    own = [seconds for model, seconds in everyday if model == "unified"]
    one, three = (_megabytes(given.root, count) for count in (1, 1 + len(specialists)))
    figures = {
        "everyday_seconds": round(statistics.median(own), 3),
        "everyday_seconds_p95": round(sorted(own)[int(len(own) * 0.95)], 3),
        "everyday_by_unified": f"{len(own)} of {len(everyday)}",
        **{f"first_word_ms_{model}": _middle(_first_words(paths, live, model, given.rows)) for model in specialists},
        **{f"first_word_ms_{model}_long_read_ahead": _middle(_long(live, paths, model)) for model in specialists},
        "memory_mb": {"unified": one, f"and {len(specialists)} specialists": three},
        "memory_ratio": round(three / one, 3),
    }
    live.release()
    print(json.dumps(figures, indent=2))
    firsts = [value for name, value in figures.items() if name.startswith("first_word_ms")]
    worst = {"everyday_seconds": figures["everyday_seconds"], "first_word_ms": max(firsts), "memory_ratio": figures["memory_ratio"]}
    return int(any(worst[name] > goal for name, goal in GOALS.items()))


def _questions(paths: Paths, model: str, categories: Sequence[str], count: int) -> list[str]:
    """Basic held-out questions, as many of each category."""
    rows = held_out_rows.load(held_out_rows.file_of(paths, model, "test_phrasing"), model)
    found: list[str] = []
    for category in categories:
        mine = [one.question for one in rows if one.category == category and one.difficulty == "basic"]
        found += random.Random(7).sample(mine, min(len(mine), count // len(categories)))
    return found


def _answered(paths: Paths, live: Live, question: str) -> tuple[str, float]:
    """Who answered, and the seconds from the question to the end of the answer."""
    began = time.perf_counter()
    reply = next(event.reply for event in list(Session(paths, live, greedy=True).say(question)) if isinstance(event, TurnDone))
    return reply.model, time.perf_counter() - began


def _first_words(paths: Paths, live: Live, model: str, count: int) -> list[float]:
    """Milliseconds from the hand-over to a specialist's first word, the adapter in memory."""
    found = []
    for question in _questions(paths, model, (model,), count):
        session, chosen = Session(paths, live, greedy=True, pinned=model), 0.0
        events = session.say(question)
        for event in events:
            if isinstance(event, RouteChosen):
                chosen = time.perf_counter()
            if isinstance(event, TextDelta):
                found.append((time.perf_counter() - chosen) * 1000)
                break
        events.close()  # type: ignore[attr-defined]
    return found


def _long(live: Live, paths: Paths, model: str) -> list[float]:
    """The same after conversations of ``LONG`` tokens, which the specialist has read ahead as when it is offered."""
    speaker, found = live.speaker(model)[0], []
    for tokens in LONG:
        for number, question in enumerate(_questions(paths, model, (model,), 6)):
            words = " ".join([question, f"({number})"] * tokens)
            prompt = live.engine.format.encode([Message("system", speaker.system), Message("user", words)])[-tokens:]
            one = Sampling(max_tokens=1)
            list(live.engine.stream(prompt, speaker.adapter, one, lambda: False))
            began = time.perf_counter()
            list(live.engine.stream(prompt, speaker.adapter, one, lambda: False))
            found.append((time.perf_counter() - began) * 1000)
    return found


def _megabytes(root: str, adapters: int) -> int:
    command = [sys.executable, __file__, "--root", root, "--adapters", str(adapters)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _memory(paths: Paths, count: int) -> int:
    """The megabytes of a process as the chat is: so many adapters in memory, each of which has answered, and the reader of questions."""
    settings = configuration.load(paths)
    engine: Engine = engines.make("llama", engines.base_of(settings, paths), settings, paths)
    store = Live(paths, settings).store
    adapters = [store.live(model) for model in sorted(store.models(), key=lambda name: name != "unified")][:count]
    engine.set_adapters([adapter for adapter in adapters if adapter])
    for adapter in filter(None, adapters):
        prompt = engine.format.encode([Message("user", "How do I draw a line?")])
        list(engine.stream(prompt, adapter.key, Sampling(max_tokens=60), lambda: False))
    engine.embed(engine.format.encode(reading("How do I draw a line?")))
    used = psutil.Process().memory_full_info()
    # Weights that are mapped twice, for answers and for the reader, are in memory once; only Linux tells.
    return getattr(used, "pss", used.rss) // 1_000_000


def _middle(values: Sequence[float]) -> float:
    return round(statistics.median(values), 1)


if __name__ == "__main__":
    sys.exit(main())
