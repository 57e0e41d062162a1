import json
import shutil
import subprocess
import sys
from dataclasses import asdict, fields

import pytest

from assistant.chat.live import Live
from assistant.chat.session import Session
from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.events import Notice, Report, Switched, TurnDone
from assistant.core.paths import PROJECT
from assistant.core.store import Store
from assistant.core.values import ModelCard, Reply
from finetuning.commands import REGISTRY


def ask(root, *words, **environment):
    return subprocess.run(
        [sys.executable, str(PROJECT / "main.py"), "--root", str(root.root), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment or None,
    )


def choose_engine(paths, name):
    # Short answers: random adapters never come to an end.
    files.write_text(paths.models / "settings.yaml", f"engine: {name}\nchat:\n  max_tokens: 16\n")


def version(paths, model, adapter):
    """A finished version of a model that holds the given adapter."""
    store = Store(paths)
    number = store.reserve(model, {"model": model})
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter.gguf"):
        shutil.copy(adapter / name, store.version_folder(model, number) / name)
    card = ModelCard(
        model, number, "run", "lora", "base", "", "data", "", "2026-01-01T00:00:00+00:00", 20, 1000, 1.0, 0.5, 10, ("llama", "hf")
    )
    files.write_json(store.version_folder(model, number) / "card.json", asdict(card))
    return number


def test_one_question_in_a_shell_is_answered_with_every_promised_field(real_root):
    done = ask(real_root, "--ask", "What is the capital of France?", "--json")
    reply = json.loads(done.stdout)
    assert done.returncode == 0 and "Paris" in reply["answer"]
    assert list(reply) == [item.name for item in fields(Reply)]
    assert (reply["model"], reply["version"], reply["category"]) == ("base", None, "qna")
    guessed = json.loads(ask(real_root, "--ask", "What is a slowloris?", "--json").stdout)
    assert 0 < guessed["confidence"] < reply["confidence"] < 1, "the base is calibrated before anything is trained"
    assert sum(reply["category_probabilities"].values()) == pytest.approx(1.0)


def test_sadness_gets_a_sane_sentence_and_is_read_as_general_talk(real_root):
    reply = json.loads(ask(real_root, "--ask", "I feel sad today", "--json").stdout)
    words = reply["answer"].split()
    assert (
        reply["stopped"] == "end"
        and 3 <= len(words) <= 80
        and sum(letter.isascii() for letter in reply["answer"]) > 0.9 * len(reply["answer"])
    )
    assert (reply["category"], reply["escalated"]) == ("general", False)


def test_a_missing_base_is_a_sentence_with_what_to_do(paths, monkeypatch):
    monkeypatch.setattr("assistant.engine.embedded.PACKAGE", "no_such_package")
    from assistant.ui.cli import main

    assert main(["--root", str(paths.root), "--ask", "hello"], REGISTRY) == 2


def test_a_base_with_a_wrong_checksum_is_refused(real_root, base_folder):
    real_root.base.unlink()
    shutil.copytree(base_folder, real_root.base, ignore=shutil.ignore_patterns("model.safetensors"))
    gguf = next(real_root.base.glob("*.gguf"))
    with gguf.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"damaged")
    done = ask(real_root, "--ask", "hello")
    assert done.returncode == 2 and "checksum" in done.stderr and "Delete it" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", ["llama", "hf"])
def test_a_running_chat_follows_switch_and_rollback_at_its_next_turn(real_root, adapters, engine):
    choose_engine(real_root, engine)
    live = Live(real_root, configuration.load(real_root))
    session = Session(real_root, live, greedy=True)

    def answers():
        events, replies = [], []
        for question in ("What is the capital of France?", "Tell me about the moon.", "How do I cook rice?"):
            session.new()
            said = list(session.say(question))
            events += said
            replies.append(next(event.reply for event in said if isinstance(event, TurnDone)))
        return events, replies

    _, base = answers()
    number = version(real_root, "unified", adapters[1])
    # Another process makes it live, as a finished training run does.
    Store(real_root).make_live("unified", number)
    events, tuned = answers()
    assert Switched("unified", number, None) in events and {(reply.model, reply.version) for reply in tuned} == {("unified", number)}
    assert [reply.answer for reply in tuned] != [reply.answer for reply in base]
    list(REGISTRY.run(["rollback", "unified"], Context(real_root, chat=session)))
    _, after = answers()
    assert [(reply.model, reply.answer) for reply in after] == [("base", reply.answer) for reply in base]
    live.release()


@pytest.mark.parametrize("engine", ["llama", "hf"])
def test_asking_for_the_expert_loads_the_specialist_in_the_same_chat(real_root, adapters, engine):
    choose_engine(real_root, engine)
    for model, adapter in zip(("unified", "technical"), adapters, strict=False):
        Store(real_root).make_live(model, version(real_root, model, adapter))
    live = Live(real_root, configuration.load(real_root))
    session = Session(real_root, live)
    session.pinned = "unified"
    list(session.say("How do I draw a line in AutoCAD?"))
    session.pinned = None
    events = list(session.say("yes, expert mode please"))
    reply = next(event.reply for event in events if isinstance(event, TurnDone))
    assert (reply.model, reply.question, reply.trigger) == ("technical", "How do I draw a line in AutoCAD?", "request")
    status = next(event for event in REGISTRY.run(["status"], Context(real_root, chat=session)) if isinstance(event, Report))
    assert [item["loaded"] for item in status.data["models"]] == [True, False, True] and status.data["engine"] == engine
    live.release()


@pytest.mark.parametrize("engine", ["llama", "hf"])
def test_a_damaged_version_is_one_notice_and_the_chat_goes_on(real_root, adapters, engine):
    choose_engine(real_root, engine)
    number = version(real_root, "unified", adapters[0])
    Store(real_root).make_live("unified", number)
    folder = Store(real_root).version_folder("unified", number)
    for name in ("adapter.gguf", "adapter_model.safetensors"):
        (folder / name).write_bytes(b"damaged")
    live = Live(real_root, configuration.load(real_root))
    events = list(Session(real_root, live, greedy=True).say("What is the capital of France?"))
    assert any(isinstance(event, Notice) and event.level == "warning" for event in events)
    assert next(event.reply for event in events if isinstance(event, TurnDone)).model == "base"
    live.release()
