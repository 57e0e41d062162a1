import json
import shutil

import pytest

from assistant.core.paths import Paths
from finetuning.synthetic import rewards
from tests.data_room import dialogue, run_in, write_rows

TOWNS = "Lima Oslo Rome Cairo Delhi Quito Hanoi Tunis Sofia Riga Minsk Accra Dakar Kabul Paris Bern".split()  # noqa: SIM905


def rows_at(paths, name):
    return json.loads((paths.datasets / "synthetic" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def small(real_root, tmp_path, monkeypatch):
    """A root with few curated rows, and few rows and tokens at once, so that it takes seconds."""
    configs = shutil.copytree(real_root.configs, tmp_path / "configs")
    file = configs / "training_config.yaml"
    fewer = file.read_text(encoding="utf-8").replace("  batch: 48 ", "  batch: 8 ").replace("  answer_tokens: 224 ", "  answer_tokens: 80 ")
    assert fewer.count("batch: 8 ") == fewer.count("answer_tokens: 80 ") == 1
    file.write_text(fewer, encoding="utf-8")
    monkeypatch.setattr(Paths, "configs", property(lambda _: configs))
    for name, towns in (("train", TOWNS[:10]), ("validation", TOWNS[10:])):
        rows = []
        for town in towns:
            row = dialogue(f"What is the capital of land {town[::-1]}?", f"The capital of that land is {town}, a town by the sea.")
            rows.append({**row, "id": town, "category": "qna", "key_facts": [town]})
        write_rows(real_root.processed / f"unified_{name}.jsonl", rows)
    return real_root


def test_a_base_writes_a_reward_model_learns_and_pairs_are_made(small):
    ran = run_in(small, "synthesize", "--stage", "raw", "--rows", 6)
    assert ran.status == 0, ran.failure
    rows = rows_at(small, "raw/instructions_final_full")
    assert len(rows) == 6
    assert sum(bool(row["instruction"].strip()) for row in rows) >= 5
    assert not any("<|im_" in row["instruction"] + row["response"] for row in rows)
    ran = run_in(small, "train", "reward", "--max_steps", 2, "--batch_size", 4)
    assert ran.status == 0, ran.failure
    report = next(event.data for event in ran.events if getattr(event, "data", None))
    assert 0 <= report["accuracy"] <= 1
    assert (small.models / rewards.MODEL / "versions" / "0001" / "adapter_model.safetensors").is_file()
    run_in(small, "synthesize", "--stage", "filtered")
    if rows_at(small, "filtered/manifest")["rows"]:
        ran = run_in(small, "synthesize", "--stage", "preference", "--force", "--pairs", 1)
        assert ran.status == 0, ran.failure
        scored = rows_at(small, "preference/preference_checkpoint")[0]["answers"]
        assert len({answer["reward"] for answer in scored}) > 1
