"""The scope of a version on the embedded base: fitted, kept, and the same in both engines."""

import json
from dataclasses import replace

from assistant.core import files
from assistant.core import settings as configuration
from assistant.core.events import Progress
from assistant.engine import base as engines
from assistant.router import scope
from assistant.router.classifier import state
from finetuning.training import rows as row_files
from finetuning.training import scope as fitting

from .learning import planned, small_root

TASKS = ("draw a line", "move a block", "trim an edge", "save a drawing", "undo a step", "add a layer", "rotate a part", "export a file")
WAYS = (
    "How do I {} in AutoCAD?",
    "What is the command to {} in SketchUp?",
    "I cannot {} in FreeCAD, what now?",
    "which menu to {} in Fusion 360",
    "Blender: how to {}",
    "Is there a shortcut to {} in my CAD program?",
)
OTHERS = ("What is the capital of Kenya?", "Who painted the Mona Lisa?", "How many days has a leap year?", "What do cows eat?")


def test_it_tells_trained_questions_from_general_ones_and_both_engines_agree(base_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "GENERAL", 150)
    root = small_root(tmp_path, base_folder)
    questions = [way.format(task) for task in TASKS for way in WAYS]
    unseen = [f"Please tell me how I {task} with the mouse in SketchUp" for task in TASKS]
    rows = [{"input_text": f"System: Be brief.\n\nUser: {question}\nAssistant:", "target_text": "Press L."} for question in questions]
    files.write_jsonl(root.datasets / "small" / "train.jsonl", rows)
    work, said = planned(root, replay=0.1)
    fitting.make(work)
    assert "drawn on questions held back" in said[-1].detail
    first = said.copy()
    again, _ = planned(root, replay=0.1)
    fitting.make(replace(again, say=said.append))
    read = [sum(one.total for one in told if isinstance(one, Progress) and one.done == one.total) for told in (first, said[len(first) :])]
    assert read == [len(questions) + 150, len(questions)], "general prompts are read once a base"
    assert (again.version / scope.FILE).read_bytes() == (work.version / scope.FILE).read_bytes()
    kept = json.loads((work.version / scope.FILE).read_text(encoding="utf-8"))
    assert kept["within"] >= 0.9 and kept["outside"] >= 0.9 and len(kept["hidden"][0]) == 577
    found, settings = scope.load(work.version, work.base.name, work.base.sha256), configuration.load(root)
    judged = {}
    for name in ("hf", "llama"):
        engine = engines.make(name, engines.base_of(settings, root), settings, root)
        try:
            judged[name] = [found.covers(text, state(engine, text)) for text in (*unseen, *OTHERS)]
        finally:
            engine.release()
    assert judged["hf"] == judged["llama"]
    assert sum(judged["hf"][: len(unseen)]) >= len(unseen) - 1 and not any(judged["hf"][len(unseen) :])


def test_where_nothing_is_replayed_a_version_answers_everything(base_folder, tmp_path):
    work, _ = planned(small_root(tmp_path, base_folder), replay=0.0)
    fitting.make(work)
    assert scope.load(work.version, work.base.name, work.base.sha256) is None


def test_what_a_part_of_the_dataset_leaves_unlearned_lies_outside(base_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "GENERAL", 0)
    monkeypatch.setattr(row_files, "SMALL", 1)
    root = small_root(tmp_path, base_folder)
    kinds = {"Press L.": WAYS, "It is a town by the sea.": ("What is {} like?", "where is {}", "Tell me about {}", "How big is {}?")}
    towns = ("Lima", "Oslo", "Cairo", "Quito", "Hanoi", "Tunis", "Riga", "Dakar", "Perth", "Malmo", "Turin", "Basel")
    asked = {
        answer: [way.format(one) for one in (TASKS if answer == "Press L." else towns) for way in ways] for answer, ways in kinds.items()
    }
    rows = [
        {"input_text": f"System: Be brief.\n\nUser: {question}\nAssistant:", "target_text": answer}
        for answer, questions in asked.items()
        for question in questions
    ]
    files.write_jsonl(root.datasets / "small" / "train.jsonl", rows)
    work, _ = planned(root, replay=0.1, share=0.5)
    fitting.make(work)
    kept = json.loads((work.version / scope.FILE).read_text(encoding="utf-8"))
    assert kept["outside"] >= 0.9


def test_a_version_trained_on_preferences_keeps_the_scope_of_the_one_it_began_with(base_folder, tmp_path):
    root = small_root(tmp_path, base_folder)
    first, _ = planned(root)
    files.write_json(first.version / scope.FILE, {"threshold": 0.5})
    second, _ = planned(root)
    preferring = replace(second.plan.recipe, method="dpo")
    fitting.make(replace(second, plan=replace(second.plan, begins_with=first.run.version, recipe=preferring)))
    assert (second.version / scope.FILE).read_bytes() == (first.version / scope.FILE).read_bytes()
