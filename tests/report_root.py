"""A root as it looks after a project: made-up figures, so that a report has something to show."""

import json
import math
import random
from dataclasses import asdict

from assistant.core import files
from assistant.core.store import Store
from assistant.core.values import ModelCard


def share(mean, rows=120, half=0.07):
    return {"mean": mean, "low": round(max(0, mean - half), 4), "high": round(min(1, mean + half), 4), "rows": rows}


def evaluation(label, facts, loss, general, speed, suites=True):
    figures = {
        "rows": 120, "loss": {"mean": loss, "low": loss - 0.1, "high": loss + 0.1, "rows": 120}, "perplexity": round(math.exp(loss), 3),
        "key_fact_recall": share(facts), "right": facts - 0.1, "fact_rows": 100, "rouge_l": 0.3, "chrf": 0.35, "token_f1": 0.3,
    }  # fmt: skip
    names = {"general_ability": (general, 180, None)}
    if suites:
        names |= {"instruction_following": (0.31, 64, None), "knowledge": (0.52, 124, 0.25), "agent": (0.18, 60, None)}
    return {
        "subject": label,
        "weights": label,
        "engine": "llama",
        "held_out": {"rows": 120, "fingerprint": "same", "figures": figures, "items": [{"id": "one", "question": "secret of a row"}]},
        "suites": {
            name: {"suite": name, "questions": count, "accuracy": share(mean, count), "chance": chance, "groups": {}, "items": []}
            for name, (mean, count, chance) in names.items()
        },
        "speed": {
            "first_token_seconds": 0.15,
            "tokens_per_second": speed,
            "switch_seconds": 0.004,
            "memory_mb": 260,
            "bytes_on_disk": None,
        },
    }


def judged(bins, error):
    worse = [{**one, "right": max(0, one["right"] - 3 * error * one["confidence"])} for one in bins] if error > 0.1 else bins
    return {"rows": 300, "ece": error, "ece_interval": [error - 0.01, error + 0.02], "auroc": 0.84, "bins": worse}


def version(paths, model, number, method="lora", facts=0.6, loss=1.5, seconds=1200.0, live=False, dpo_run=False):
    store = Store(paths)
    folder = store.version_folder(model, number)
    folder.mkdir(parents=True)
    run = f"{model}-{number}"
    head = json.dumps({"a": {"dtype": "F32", "shape": [16, 30000], "data_offsets": [0, 0]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    files.write_json(folder / "plan.json", {"model": model, "recipe": {"method": method}})
    report = {
        "run": run,
        "seconds": seconds,
        "cpu_seconds": seconds * 1.9,
        "device": "cpu",
        "memory_mb": 4900,
        "validation_loss_after": loss,
    }
    files.write_json(folder / "report.json", report)
    files.write_json(folder / "evaluation.json", evaluation(f"{model} {number}", facts, loss, 0.44, 130.0))
    about = (method, "SmolLM2-135M-Instruct", "", "processed_english", "", "2026-11-21T10:00:00+00:00")
    card = ModelCard(model, number, run, *about, 400, 99000, seconds, loss, 19_600_000, ("llama", "hf"))
    files.write_json(folder / "card.json", asdict(card))
    events(paths, run, model, number, loss, preferred=method == "dpo")
    if live:
        files.write_json(store.folder(model) / "current.json", {"version": number, "previous": None})
    return folder


def events(paths, run, model, number, loss, steps=200, preferred=False):
    chance, lines = random.Random(run), []
    for step in range(1, steps + 1):
        value = loss + 2.3 * math.exp(-step / 40) + chance.gauss(0, 0.15)
        figures = {"loss": round(value, 4), "validation loss": round(3.8 - (3.8 - loss) * (step // 50) / 4, 4), "memory MB": 4900.0}
        figures |= {"margin": step / 100, "accuracy": 0.5 + step / 500} if preferred else {}
        lines.append({"event": "Progress", "done": step, "total": steps, "unit": "steps", "figures": figures, "seconds_left": 1.0})
    files.write_jsonl(paths.runs / run / "events.jsonl", [{"event": "Step", "text": "Training"}, *lines])
    files.write_json(paths.runs / run / "run.json", {"run": run, "model": model, "version": number})


def whole(paths):
    """Two methods, a comparison, benchmarks, a calibrated live version and a dataset."""
    version(paths, "unified", "0001", "prompt_tuning", facts=0.35, loss=2.6, seconds=600.0)
    live = version(paths, "unified", "0002", facts=0.71, loss=1.4, live=True)
    version(paths, "technical", "0001", facts=0.8, loss=1.2, seconds=900.0, live=True)
    bins = [{"confidence": x / 10 + 0.05, "right": min(1, x / 10 + 0.08), "rows": 10 + 9 * x} for x in range(10)]
    files.write_json(live / "calibration.json", {"engine": "llama", "figures": {"before": judged(bins, 0.2), "after": judged(bins, 0.03)}})
    files.write_json(paths.logs / "evaluations/base_evaluation.json", evaluation("the base", 0.12, 3.8, 0.46, 158.0))
    harness = {"arc": {"file": "arc.jsonl", "tasks": {"pz2_arc_easy": {"figures": {"acc": share(0.54, 570, 0.04)}, "items": []}}}}
    files.write_json(paths.logs / "evaluations/base_evaluation_harness.json", {"subject": "the base", "harness": harness})
    gain = {"mean": 0.59, "low": 0.5, "high": 0.67, "rows": 100}
    comparison = {
        "systems": [{"subject": "the base", "held_out": {"items": [{"question": "secret of a row"}]}}],
        "comparisons": [
            {
                "system": "unified 0002",
                "against": "the base",
                "differences": [{"measure": "key_facts", "old": 0.12, "new": 0.71, "gain": gain}],
                "verdict": "unified 0002, measured against the base: better at facts, same at general ability, slower by 18%.",
            }
        ],
    }
    files.write_json(paths.logs / "evaluations/comparison.json", comparison)
    names = {"unified_train.jsonl": 60, "unified_test.jsonl": 12, "classification_train.jsonl": 80}
    rows = [
        {
            "input_text": "x",
            "target_text": "word " * (5 + number),
            "category": ("qna", "technical", "general")[number % 3],
            "difficulty": ("basic", "advanced")[number % 2],
        }
        for number in range(60)
    ]
    files.write_jsonl(paths.processed / "unified_train.jsonl", rows)
    files.write_json(paths.processed / "manifest.json", {"files": {name: {"rows": count} for name, count in names.items()}})
