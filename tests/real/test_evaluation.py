import json
import shutil
from dataclasses import asdict

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.commands import Context
from assistant.core.events import Checked, Failed, Report
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import Adapter, Message, ModelCard, Sampling
from assistant.engine import base as engines
from assistant.engine import gguf_adapter
from finetuning.commands import REGISTRY
from finetuning.evaluation import proof, suites

QUESTIONS = ["What is the capital of France?", "What color is the sky on a clear day?", "How many days are there in a week?"]
ANSWERS = ["The capital of France is Paris.", "Blue.", "There are seven days in a week, from Monday to Sunday."]


def make(name, paths):
    settings = configuration.load(paths)
    return engines.make(name, engines.base_of(settings, paths), settings, paths)


def pairs(engine):
    system = Message("system", system_prompt("unified"))
    prompts = [engine.format.encode([system, Message("user", question)]) for question in QUESTIONS]
    return [(prompt, engine.format.encode_answer(answer)) for prompt, answer in zip(prompts, ANSWERS, strict=True)]


def version(paths, adapter_folder, number="0001"):
    """A finished unified version with these weights."""
    store = Store(paths)
    folder = store.version_folder("unified", number)
    shutil.copytree(adapter_folder, folder)
    card = ModelCard("unified", number, "r", "lora", "b", "", "", "", "", 1, 1, 1.0, 1.0, 1, ("hf", "llama"))
    files.write_json(folder / "card.json", asdict(card))
    return store.adapter("unified", number)


@pytest.fixture
def held_out(real_root, monkeypatch):
    """Three held-out rows, and a general set of three questions."""
    real_root.processed.mkdir(parents=True)
    rows = [
        {"input_text": f"User: {question}\nAssistant:", "target_text": answer, "category": "qna", "key_facts": [answer.split()[-1]]}
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    files.write_jsonl(real_root.processed / "unified_test.jsonl", rows)
    whole = suites.load(suites.GENERAL)
    small = suites.Suite(whole.name, whole.questions[:3], 12, whole.sha256)
    monkeypatch.setattr(suites, "load", lambda name: small)
    return real_root


def test_scores_are_the_log_probabilities_the_model_says_its_words_with(real_root):
    engine = make("hf", real_root)
    prompt, _ = pairs(engine)[0]
    said = list(engine.stream(prompt, None, Sampling(max_tokens=8), lambda: False))
    scores = engine.score([(prompt, [token.id for token in said])], None)[0]
    assert scores == pytest.approx([token.logprob for token in said], abs=0.08)


def test_scores_do_not_depend_on_the_rows_beside_them(real_root, adapters):
    engine = make("hf", real_root)
    engine.set_adapters([Adapter("m/0001", adapters[0])])
    for key in (None, "m/0001"):
        together = engine.score(pairs(engine), key)
        alone = [engine.score([pair], key)[0] for pair in pairs(engine)]
        # bf16 sums in another order in a batch.
        apart = [abs(a - b) for one, other in zip(together, alone, strict=True) for a, b in zip(one, other, strict=True)]
        assert max(apart) < 0.3 and sum(apart) / len(apart) < 0.06
    assert engine.score([([1, 2], [])], None) == [()]


def test_a_base_beside_adapters_is_the_base_and_the_answers_are_compared(held_out, adapters):
    version(held_out, adapters[0])
    events = list(REGISTRY.run(["compare", "base", "unified/0001", "--limit", "0"], Context(held_out)))
    assert not [event for event in events if isinstance(event, Failed)]
    assert next(event for event in events if isinstance(event, Checked)).ok
    data = next(event for event in events if isinstance(event, Report)).data
    assert data["base"]["log_probabilities_apart"]["hf"] <= 1e-6
    assert data["systems"][0]["held_out"]["figures"]["right"] >= 0.3
    assert data["systems"][0]["held_out"]["figures"]["loss"]["mean"] < data["systems"][1]["held_out"]["figures"]["loss"]["mean"]


def test_evaluating_twice_gives_the_same_figures(held_out):
    runs = [list(REGISTRY.run(["evaluate", "base", "--fresh"], Context(held_out))) for _ in range(2)]
    first, second = (next(event for event in events if isinstance(event, Report)).data for events in runs)
    for part in ("held_out", "suites"):
        one, other = json.loads(json.dumps(first[part])), json.loads(json.dumps(second[part]))
        for document in (one, other):
            document.pop("tokens_per_second", None)
        assert one == other


def test_an_adapter_without_effect_never_passes_the_gate(held_out, base_folder, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(str(base_folder), dtype=torch.bfloat16)
    folder = tmp_path / "idle"
    # A fresh LoRA adapter: its B is zero, so nothing is added to the base.
    get_peft_model(base, LoraConfig(r=4, target_modules="all-linear")).save_pretrained(str(folder))
    gguf_adapter.write(folder, base.config.num_attention_heads, base.config.num_key_value_heads)
    idle = version(held_out, folder)
    settings = configuration.load(held_out)
    events = proof.prove(held_out, settings, engines.base_of(settings, held_out), "unified", "0001", idle)
    try:
        while True:
            next(events)
    except StopIteration as end:
        assert "no effect" in end.value.refusal
