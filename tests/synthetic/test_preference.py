import json
from dataclasses import replace

import pytest

from assistant.core import files
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.core.values import Message
from finetuning.synthetic import arrays, pairs, source
from tests.data_room import dialogue, run_in, write_rows


class LengthJudge:
    """Longer is better."""

    name = "length"

    def __init__(self):
        self.seen = 0

    def score(self, judged):
        self.seen += len(judged)
        return [len(answer) / 4 for _, answer in judged]

    def release(self):
        pass


@pytest.fixture
def judge(monkeypatch):
    """The reward model that `--reward length` names."""
    made = LengthJudge()
    monkeypatch.setattr(source, "_foreign", lambda named: made)
    return made


def rows_at(paths, name):
    return json.loads((paths.datasets / "synthetic" / "preference" / f"{name}.json").read_text(encoding="utf-8"))


def synthesize(paths, *words):
    ran = run_in(paths, "synthesize", *words, "--reward", "length")
    assert ran.status == 0, ran.failure
    return ran


def test_the_best_answer_stands_against_the_worst(writing, judge, paths):
    synthesize(paths, "--rows", 48, "--pairs", 12)
    found = rows_at(paths, "preference_data")
    assert len(found) == 12
    for row in found:
        assert len(row["chosen"]) > len(row["rejected"])
        assert row["margin"] == pytest.approx(max(row["rewards"]) - min(row["rewards"]), abs=1e-3)
        assert row["margin"] >= 0.5
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    train, val = rows_at(paths, "dpo_train"), rows_at(paths, "dpo_val")
    assert (len(train), len(val)) == (10, 2)
    assert set(train[0]) == {"prompt", "chosen", "rejected", "source", "when"}
    assert writing.released == 1


def test_a_request_whose_answer_was_rejected_gets_new_answers_and_one_that_is_cut_off_none(writing, judge, paths):
    run_in(paths, "synthesize", "--stage", "raw", "--rows", 16)
    path = paths.datasets / "synthetic" / "raw" / "instructions_final_full.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[0]["response_ended"], rows[1]["instruction_ended"] = False, False
    arrays.write(path, rows)
    run_in(paths, "synthesize", "--stage", "filtered")
    synthesize(paths, "--stage", "preference")
    folder = paths.datasets / "synthetic" / "filtered"
    kept = {row["id"] for row in json.loads((folder / "instructions_filtered.json").read_text(encoding="utf-8"))}
    answered = {row["id"] for row in rows_at(paths, "preference_checkpoint")}
    assert rows[0]["id"] in answered - kept
    assert rows[1]["id"] not in answered


def test_an_answer_that_was_cut_off_is_never_the_better_one(writing, judge, paths, monkeypatch):
    said = writing.batch

    def cut(*given, **named):
        # The longest, which this judge likes best, never comes to its end.
        found = said(*given, **named)
        longest = max(found, key=lambda one: len(one.text))
        return [replace(one, stopped="length") if one is longest else one for one in found]

    run_in(paths, "synthesize", "--stage", "raw", "--rows", 16)
    run_in(paths, "synthesize", "--stage", "filtered")
    monkeypatch.setattr(writing, "batch", cut)
    synthesize(paths, "--stage", "preference")
    scored = {row["id"]: row["answers"] for row in rows_at(paths, "preference_checkpoint")}
    ended = {one: [answer["text"] for answer in answers if answer["ended"]] for one, answers in scored.items()}
    assert any(len(texts) < 4 for texts in ended.values())
    assert all(row["chosen"] in ended[row["id"]] for row in rows_at(paths, "preference_data"))


def test_a_stopped_preference_stage_goes_on_without_a_lost_or_doubled_row(writing, judge, paths, tmp_path):
    whole = Paths(tmp_path / "whole")
    for root in (whole, paths):
        run_in(root, "synthesize", "--rows", 60)
    synthesize(whole, "--stage", "preference")
    writing.stop_after = len(writing.batches) + 4
    with pytest.raises(KeyboardInterrupt):
        run_in(paths, "synthesize", "--stage", "preference", "--reward", "length")
    writing.stop_after = 10**9
    assert "it goes on after them" in synthesize(paths, "--stage", "preference").notices
    assert rows_at(paths, "preference_checkpoint") == rows_at(whole, "preference_checkpoint")
    assert len({row["id"] for row in rows_at(paths, "preference_data")}) == len(rows_at(paths, "preference_data"))


def test_more_rows_keep_what_was_scored(writing, judge, paths):
    synthesize(paths, "--rows", 40)
    before, scored = rows_at(paths, "preference_checkpoint"), judge.seen
    synthesize(paths, "--rows", 80)
    after = rows_at(paths, "preference_checkpoint")
    assert after[: len(before) - 4] == before[: len(before) - 4]
    assert judge.seen - scored <= 4 * (len(after) - len(before) + 4)


def test_without_a_reward_model_all_says_so_and_the_stage_alone_refuses(writing, paths):
    ran = run_in(paths, "synthesize", "--rows", 20)
    assert ran.status == 0
    assert "`train reward` fits one" in ran.notices
    kept = paths.datasets / "synthetic" / "preference" / "preference_checkpoint.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("[]")
    assert "There is no reward model" in run_in(paths, "synthesize", "--stage", "preference", "--fresh", "--yes").failure
    assert kept.is_file(), "nothing is thrown away for what cannot begin"


def test_a_reward_model_that_is_right_too_seldom_scores_only_when_forced(writing, judge, paths, monkeypatch):
    monkeypatch.setattr(source, "_own", lambda *_: judge)
    run_in(paths, "synthesize", "--rows", 20)
    store = Store(paths)
    version = store.reserve("reward", {})
    card = {"model": "reward", "version": version, "run": "", "method": "reward", "base": "scripted", "base_sha256": "abc", "dataset": ""}
    card |= {"dataset_sha256": "", "created": "", "steps": 1, "trained_tokens": 0, "seconds": 1.0, "final_loss": 0.7, "adapter_bytes": 1}
    files.write_json(store.version_folder("reward", version) / "card.json", {**card, "engines": ["hf"]})
    assert "--force" in run_in(paths, "synthesize", "--stage", "preference").failure
    assert run_in(paths, "synthesize", "--stage", "preference", "--force").status == 0
    assert "reward" not in store.models()


def test_another_reward_model_takes_the_hint_and_leaves_the_raw_rows(writing, judge, paths):
    synthesize(paths, "--rows", 48, "--pairs", 4)
    raw = (paths.datasets / "synthetic" / "raw" / "manifest.json").read_bytes()
    again = ("--pairs", 4, "--reward", "other")
    assert "`--stage preference --fresh`" in run_in(paths, "synthesize", "--rows", 48, *again).failure
    ran = run_in(paths, "synthesize", "--stage", "preference", "--fresh", "--yes", *again)
    assert ran.status == 0, ran.failure
    assert "Thrown away: preference (4 rows)." in ran.notices
    assert (paths.datasets / "synthetic" / "raw" / "manifest.json").read_bytes() == raw


def test_a_reward_model_in_a_folder_is_found_in_the_current_folder_and_then_in_the_root(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_foreign", lambda named: LengthJudge())
    known = source.Source(paths, None, None, None)
    here = tmp_path / "here"
    for folder in (paths.root / "judges" / "good", here / "judges" / "better"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert known.judge("judges/better", False).name == str(here / "judges" / "better")
    assert known.judge("judges/good", False).name == str(paths.root / "judges" / "good")
    assert known.judge("somebody/of-the-hub", False).name == "somebody/of-the-hub"


def unified(number, facts=("Lima",)):
    row = dialogue(f"What is the capital of country {number}?", f"The capital of country {number} is {facts[0]}, and it lies by the sea.")
    return {**row, "id": f"e{number}", "category": "qna", "key_facts": list(facts)}


def test_curated_pairs_are_of_seven_kinds_and_the_chosen_answer_is_the_curated_one():
    rows = [unified(number, (f"Town{number}",)) for number in range(30)]
    found = list(pairs.curated(rows, 30, 1))
    kinds = {pairs.CUT, pairs.WRONG, pairs.OTHER, pairs.RUDE, pairs.CIRCLES, pairs.JUMBLED, pairs.REFUSED}
    assert {pair.source for pair in found} == kinds
    for pair, row in zip(found, rows, strict=True):
        assert pair.chosen == row["target_text"] != pair.rejected
    cut = next(pair for pair in found if pair.source == pairs.CUT)
    assert cut.chosen.startswith(cut.rejected)
    jumbled = next(pair for pair in found if pair.source == pairs.JUMBLED)
    assert sorted(jumbled.chosen.split()) == sorted(jumbled.rejected.split())
    wrong = next(pair for pair in found if pair.source == pairs.WRONG)
    assert len(wrong.chosen.split()) == len(wrong.rejected.split())


def test_the_bases_own_answer_is_rejected_only_where_it_lacks_the_facts():
    rows = [unified(1), unified(2)]
    found = list(pairs.own(rows, ["It is Lima.", "It is Oslo."]))
    assert [pair.rejected for pair in found] == ["It is Oslo."]


def test_one_wording_of_an_entry_is_paired(tmp_path):
    path = write_rows(tmp_path / "unified_train.jsonl", [unified(1), unified(1), unified(2)])
    assert sorted(row["id"] for row in pairs.one_a_question(path, 1)) == ["e1", "e2"]


def test_picks_are_pairs(paths):
    from assistant.core.preferences import add_pick

    add_pick(paths, [Message("user", "Hi?")], "Hello!", "What?", "good:")
    assert pairs.picked(paths) == [pairs.Pair((Message("user", "Hi?"),), "Hello!", "What?", pairs.PICK)]
