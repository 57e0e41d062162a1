"""What comes after a training, on the embedded base: the proof, its kill and its resume, the gate and overruling it."""

import shutil
from contextlib import suppress
from dataclasses import asdict

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from assistant.core import files, settings
from assistant.core.commands import Context
from assistant.core.errors import TrainingError
from assistant.core.events import Checked, Finished, Progress, Report, Step, Switched
from assistant.core.paths import Paths, prepare
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import ModelCard
from assistant.engine import base as engines
from finetuning.commands import REGISTRY
from finetuning.training import plan as plans
from finetuning.training import runs, session
from finetuning.training.export import QUESTIONS
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import recipe

FACTS = {"How do I draw a line?": "Press L.", "What is a byte?": "Eight bits.", "I feel sad today": "I'm sorry.", "Hi": "Hello!"}


@pytest.fixture
def root(base_folder, tmp_path) -> Paths:
    paths = Paths(tmp_path)
    prepare(paths)
    paths.base.symlink_to(base_folder, target_is_directory=True)
    head = f"System: {system_prompt('unified')}\n\nUser: "
    rows = [
        {"input_text": f"{head}{question}\nAssistant:", "target_text": answer, "category": "general"} for question, answer in FACTS.items()
    ]
    paths.processed.mkdir()
    files.write_jsonl(paths.processed / "unified_train.jsonl", rows)
    files.write_jsonl(paths.processed / "unified_validation.jsonl", rows)
    return paths


class Killed(BaseException):
    """What a kill does to a run: nothing of it goes on."""


def begun(paths, promote=False, **changes):
    """A planned run, as `train` hands it to the trainer."""
    few = {"max_steps": 3, "batch_size": 2, "validations": 0, "proof_rows": 4, "proof_general": 4, "whitened": False}
    base, chosen = engines.base_of(settings.load(paths), paths), recipe(paths, "balanced", "small", {**few, **changes})
    source = ("unified", base.name, "embedded", base.sha256, plans.parameters(base))
    plan = plans.sealed(TrainingPlan(*source, *plans.dataset(paths, "unified"), "balanced", chosen, plans.SEED))
    version = Store(paths).reserve("unified", plans.to_json(plan))
    return runs.create(paths, "unified", version, plan.hash, promote)


def trained(paths, run, until=lambda event: False):
    """Every event of the trainer, which is killed when it says what ``until`` waits for."""
    said = []

    def say(event):
        said.append(event)
        if until(event):
            raise Killed

    with suppress(Killed):
        session.train(paths, settings.load(paths), run, say, lambda: False)
    return said


def first_answers(event):
    return isinstance(event, Progress) and event.unit == "answers of unified 0001"


def test_a_proof_that_was_killed_goes_on_without_training_again_and_its_version_is_held_with_a_reason(root):
    run, store = begun(root, learning_rate=2e-6), Store(root)
    before = trained(root, run, first_answers)
    assert first_answers(before[-1]) and [event.done for event in before if isinstance(event, Progress) and event.unit == "steps"] == [
        1,
        2,
        3,
    ]
    assert store.versions("unified") == [] and (store.version_folder("unified", "0001") / "adapter.gguf").is_file()

    after = trained(root, run)
    assert not [event for event in after if isinstance(event, Progress) and event.unit == "steps"]
    assert not [event for event in after if isinstance(event, Step) and event.text.startswith(("Training", "Trying"))]
    gate = next(event for event in after if isinstance(event, Checked) and event.name == "gate")
    assert not gate.ok and gate.detail.startswith("It is not surely better than the base")
    assert store.current("unified").version is None
    card = store.card("unified", "0001")
    assert card.figures["gate"] == "held" and card.figures["refusal"] == gate.detail and card.figures["general"] is not None
    document = files.read_json(store.version_folder("unified", "0001") / "evaluation.json")
    assert document["engine"] == "llama" and document["gate"]["refusal"] == gate.detail and len(document["held_out"]["items"]) == 4
    report = next(event for event in after if isinstance(event, Report) and "is trained" in event.title)
    assert report.data["gate"]["gate"] == "held" and any("Only 4 general questions" in line for line in report.data["verdict"])

    promoted = trained(root, begun(root, promote=True, learning_rate=2e-6))
    assert promoted[-1] == Switched("unified", "0002", None) and store.card("unified", "0002").figures["gate"] == "overruled"
    # The base answered all of it before.
    assert not [event for event in promoted if isinstance(event, Progress) and "the base" in event.unit]


def test_a_training_without_effect_never_goes_live_even_when_that_was_asked_for(root):
    with pytest.raises(TrainingError, match="unified/0001 changes nothing"):
        trained(root, begun(root, promote=True, max_steps=1, learning_rate=1e-10))
    assert Store(root).versions("unified") == [] and Store(root).current("unified").version is None


@pytest.fixture
def version(real_root, adapters):
    """A finished version with weights that change every answer."""
    store = Store(real_root)
    folder = store.version_folder("unified", "0001")
    shutil.copytree(adapters[1], folder)
    card = ModelCard("unified", "0001", "r", "lora", "b", "", "d", "", "", 1, 1, 1.0, 1.0, 1, ("hf", "llama"), 'You are PZ2. Be "brief".')
    files.write_json(folder / "card.json", asdict(card))
    store.make_live("unified", "0001")
    return real_root


def exported(paths, *words):
    events = list(REGISTRY.run(["export", "unified", *words], Context(paths)))
    assert events[-1] == Finished(0), events[-3:]
    return next(event for event in events if isinstance(event, Report)).data


def test_a_merged_export_is_a_model_that_plain_transformers_loads_with_its_template(version, tmp_path):
    data = exported(version, "--to", str(tmp_path / "out"))
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(data["files"])
    tokenizer = AutoTokenizer.from_pretrained(data["folder"])
    model = AutoModelForCausalLM.from_pretrained(data["folder"], dtype=torch.bfloat16)
    turns = [{"role": "user", "content": QUESTIONS[0]}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    said = tokenizer.decode(prompt["input_ids"][0])
    assert said.startswith('<|im_start|>system\nYou are PZ2. Be "brief".<|im_end|>') and said.endswith("<|im_start|>assistant\n")
    with torch.no_grad():
        first = model(**prompt).logits[0, -1].argmax()
    assert data["said"].startswith(tokenizer.decode(first).strip())


def test_a_gguf_export_is_one_file_that_answers_as_the_version_does(version, tmp_path):
    data = exported(version, "1", "--format", "gguf", "--to", str(tmp_path / "out"))
    assert set(data["files"]) == {"unified_0001.gguf", "README.md"}
    again = list(REGISTRY.run(["export", "unified", "--format", "gguf", "--to", str(tmp_path / "out")], Context(version)))
    assert "is not empty" in again[0].what and not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_an_exported_adapter_answers_as_the_version_does(version, tmp_path):
    data = exported(version, "--format", "adapter", "--to", str(tmp_path / "out"))
    assert data["apart"] == 0 and {"adapter_model.safetensors", "adapter.gguf", "adapter_config.json"} <= set(data["files"])
