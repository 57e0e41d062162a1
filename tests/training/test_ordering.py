import json

import pytest
from data_room import SHARED, run_in

from assistant.core import files
from assistant.core.store import Store
from assistant.engine import base as engines
from assistant.engine.base import Base
from finetuning.synthetic.pairs import Pair
from finetuning.training import ordering


class LengthScorer:
    """Longer is better."""

    released = 0

    def score(self, judged):
        return [float(len(answer)) for _, answer in judged]

    def release(self):
        self.released += 1


@pytest.fixture
def scorer(monkeypatch):
    """What every reward model of a test turns out to be."""
    made = LengthScorer()
    monkeypatch.setattr(engines, "base_of", lambda settings, paths: Base("scripted", "scripted", "abc"))
    monkeypatch.setattr(ordering, "_loaded", lambda *_: made)
    return made


@pytest.fixture
def held(paths):
    """A reward model that is held: it is finished and not live."""
    store = Store(paths)
    version = store.reserve("reward", {})
    card = {"model": "reward", "version": version, "run": "", "method": "reward", "base": "scripted", "base_sha256": "abc", "dataset": ""}
    card |= {"dataset_sha256": "", "created": "", "steps": 1, "trained_tokens": 0, "seconds": 1.0, "final_loss": 0.7, "adapter_bytes": 1}
    files.write_json(store.version_folder("reward", version) / "card.json", {**card, "engines": ["hf"]})


def row(number, chosen, rejected, **more):
    return {"instruction": f"Question {number}?", "input": "", "chosen": chosen, "rejected": rejected, **more}


def written(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def judged(paths, file):
    return run_in(paths, "train", "reward", "--judge", file)


def test_the_live_reward_model_is_judged_on_pairs_from_elsewhere(scorer, held, paths, tmp_path):
    rows = [row(number, "A long answer.", "Short.") for number in range(90)] + [row(number, "No.", "Longer.") for number in range(30)]
    ran = judged(paths, written(tmp_path / "pairs.json", rows))
    assert ran.status == 0, ran.failure
    found = ran.data
    assert (found["model"], found["pairs"], found["accuracy"]) == ("reward/0001", 120, 0.75)
    assert 0.65 < found["accuracy_interval"]["low"] < 0.75 < found["accuracy_interval"]["high"] < 0.85
    assert scorer.released == 1
    assert Store(paths).versions("reward") == ["0001"], "nothing is trained"


def test_rows_that_are_no_pairs_are_counted_with_their_reasons(scorer, held, paths, tmp_path):
    rows = [row(1, "Good.", "Bad."), row(2, "Same.", "Same."), row(3, "Alone.", None), {"chosen": "A.", "rejected": "B."}]
    ran = judged(paths, written(tmp_path / "pairs.json", rows))
    assert (ran.data["pairs"], ran.data["left_out"]) == (1, 3)
    assert "Rows left out: 3 (1: both answers are the same; 1: no rejected answer; 1: no question)" in ran.notices


def test_the_forms_of_import_are_read(scorer, held, paths, tmp_path):
    picks = [{"prompt": [{"role": "user", "content": f"{n}?"}], "chosen": "Longer.", "rejected": "No."} for n in range(3)]
    lines = tmp_path / "picks.jsonl"
    lines.write_text("".join(json.dumps(one) + "\n" for one in picks), encoding="utf-8")
    assert judged(paths, lines).data["pairs"] == 3
    table = tmp_path / "pairs.csv"
    table.write_text("question,chosen,rejected\nWhy is that so?,Because it is so.,No.\nWho did it?,Somebody did.,Me.\n", encoding="utf-8")
    assert judged(paths, table).data["pairs"] == 2


def test_a_relative_file_is_looked_for_in_the_root_too(scorer, held, paths, tmp_path, monkeypatch):
    written(paths.root / "mine" / "pairs.json", [row(1, "Good one.", "Bad.")])
    monkeypatch.chdir(tmp_path)
    assert judged(paths, "mine/pairs.json").data["pairs"] == 1


def test_without_pairs_or_a_reward_model_it_is_said_what_to_do(scorer, paths, tmp_path):
    none = written(tmp_path / "none.json", [{"instruction": "Hi?", "output": "Hello."}])
    assert "No row of none.json is a pair (1: no rejected answer)" in judged(paths, none).failure
    good = written(tmp_path / "good.json", [row(1, "Good one.", "Bad.")])
    assert "no reward model of scripted" in judged(paths, good).failure


def test_judging_takes_no_flags_of_a_training(paths):
    for words in (("unified",), ("reward", "--epochs", 2), ("reward", "--preset", "fast"), ("reward", "--seed", 0)):
        assert "--judge trains nothing" in run_in(paths, "train", *words, "--judge", "pairs.json").failure


def test_every_kind_of_pair_has_its_share():
    pairs = [Pair((), "longer", "no", "cut off"), Pair((), "no", "longer", "wrong fact"), Pair((), "same", "same", "wrong fact")]
    steps = ordering.judged(LengthScorer(), pairs)
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    found = end.value.value
    assert found["by_kind"] == {"cut off": {"pairs": 1, "accuracy": 1.0}, "wrong fact": {"pairs": 2, "accuracy": 0.0}}
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["margin"] == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not on this machine")
def test_the_shared_preference_data_is_read(scorer, held, paths):
    ran = judged(paths, SHARED / "instructions" / "instruction-data-with-preference.json")
    assert (ran.data["pairs"], ran.data["left_out"]) == (1094, 6)
