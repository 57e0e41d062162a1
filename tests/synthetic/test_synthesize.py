import json

import pytest

from assistant.core import files
from tests.data_room import ScriptedQuestions, dialogue, run_in, write_rows


def rows_at(paths, name):
    return json.loads((paths.datasets / "synthetic" / f"{name}.json").read_text(encoding="utf-8"))


def stopped_after(writing, paths, batches, *words):
    writing.stop_after = len(writing.batches) + batches
    with pytest.raises(KeyboardInterrupt):
        run_in(paths, "synthesize", *words)
    writing.stop_after = 10**9


def test_all_stages_write_their_files_and_manifests(writing, paths):
    ran = run_in(paths, "synthesize", "--rows", 60)
    assert ran.status == 0, ran.failure
    assert len(rows_at(paths, "raw/instructions_final_full")) == len(rows_at(paths, "raw/instructions_raw")) == 60
    kept = rows_at(paths, "filtered/instructions_filtered")
    parts = [rows_at(paths, f"filtered/sft_{name}") for name in ("data", "train", "val")]
    assert len(parts[0]) == len(kept) == len(parts[1]) + len(parts[2])
    assert len(parts[2]) == round(len(kept) * 0.1)
    assert not {row["id"] for row in parts[1]} & {row["id"] for row in parts[2]}
    manifest = rows_at(paths, "filtered/manifest")
    assert manifest["statistics"]["kept"] + sum(manifest["statistics"]["rejected"].values()) == 60
    for name, described in manifest["files"].items():
        assert files.sha256(paths.datasets / "synthetic" / "filtered" / name) == described["sha256"]
    assert writing.released == 1


def test_a_stopped_stage_goes_on_without_a_lost_or_doubled_row(writing, paths, tmp_path):
    from assistant.core.paths import Paths

    whole = Paths(tmp_path / "whole")
    run_in(whole, "synthesize", "--stage", "raw", "--rows", 70)
    for batches in (3, 2):
        stopped_after(writing, paths, batches, "--stage", "raw", "--rows", 70)
    assert rows_at(paths, "raw/manifest")["status"] == "running"
    assert "go on" in (refused := run_in(paths, "synthesize", "--stage", "filtered")).failure or "not done" in refused.failure
    ran = run_in(paths, "synthesize", "--stage", "raw", "--rows", 70)
    assert "it goes on after them" in ran.notices
    assert rows_at(paths, "raw/instructions_final_full") == rows_at(whole, "raw/instructions_final_full")


def test_a_torn_checkpoint_loses_its_torn_batch_alone(writing, paths):
    stopped_after(writing, paths, 4, "--stage", "raw", "--rows", 48)
    path = paths.datasets / "synthetic" / "raw" / "instructions_checkpoint.json"
    path.write_bytes(path.read_bytes()[:-200])
    assert run_in(paths, "synthesize", "--stage", "raw", "--rows", 48).status == 0
    rows = rows_at(paths, "raw/instructions_final_full")
    assert [row["id"] for row in rows] == [f"synthetic-{number:06d}" for number in range(48)]


def test_more_rows_are_the_same_rows_and_more_of_them(writing, paths):
    run_in(paths, "synthesize", "--rows", 40)
    first = rows_at(paths, "raw/instructions_final_full"), rows_at(paths, "filtered/instructions_filtered")
    run_in(paths, "synthesize", "--rows", 90)
    later = rows_at(paths, "raw/instructions_final_full"), rows_at(paths, "filtered/instructions_filtered")
    assert len(later[0]) == 90
    for before, after in zip(first, later, strict=True):
        assert after[: len(before)] == before


def test_what_is_there_is_not_written_again(writing, paths):
    run_in(paths, "synthesize", "--rows", 20)
    batches = len(writing.batches)
    assert run_in(paths, "synthesize", "--rows", 20).status == 0
    assert len(writing.batches) == batches


def test_rows_of_another_seed_are_not_mixed(writing, paths):
    run_in(paths, "synthesize", "--rows", 20)
    ran = run_in(paths, "synthesize", "--rows", 20, "--seed", 7)
    assert ran.status == 2
    assert "seed 42, now 7" in ran.failure
    assert "`--stage raw --fresh`" in ran.failure
    before = rows_at(paths, "raw/instructions_raw")
    assert run_in(paths, "synthesize", "--rows", 20, "--seed", 7, "--fresh", "--yes").status == 0
    assert rows_at(paths, "raw/instructions_raw") != before


def test_fresh_says_what_it_throws_away_before_it_does(writing, paths):
    assert run_in(paths, "synthesize", "--rows", 20, "--fresh").status == 0, "nothing lies there, so nobody is asked"
    before, kept = rows_at(paths, "raw/manifest"), rows_at(paths, "filtered/manifest")["rows"]
    refused = run_in(paths, "synthesize", "--rows", 20, "--fresh")
    assert refused.status == 2
    assert f"--fresh throws away raw (20 rows), filtered ({kept} rows), which cannot be undone. Say so: add --yes." in refused.failure
    no = ScriptedQuestions(False)
    assert "Nothing is thrown away." in run_in(paths, "synthesize", "--rows", 20, "--fresh", questions=no).notices
    assert no.asked == [f"Throw away raw (20 rows), filtered ({kept} rows)?"]
    assert rows_at(paths, "raw/manifest") == before
    written = len(writing.batches)
    ran = run_in(paths, "synthesize", "--rows", 20, "--fresh", questions=ScriptedQuestions(True))
    assert "Thrown away: raw (20 rows), filtered" in ran.notices
    assert len(writing.batches) > written


def test_a_damaged_manifest_does_not_keep_a_stage_from_beginning_anew(writing, paths):
    run_in(paths, "synthesize", "--stage", "raw", "--rows", 8)
    (paths.datasets / "synthetic" / "raw" / "manifest.json").write_text("{", encoding="utf-8")
    assert run_in(paths, "synthesize", "--stage", "raw", "--rows", 8, "--fresh", "--yes").status == 0


def test_every_rejected_row_says_its_rule_and_reason(writing, paths):
    run_in(paths, "synthesize", "--stage", "raw", "--rows", 32)
    path = paths.datasets / "synthetic" / "raw" / "instructions_final_full.json"
    rows = json.loads(path.read_text())
    rows[3]["response"] = "As an AI language model I have no hands."
    rows[5]["instruction"] = rows[4]["instruction"].replace("What", "So what")
    write_rows(paths.datasets / "mine" / "test.jsonl", [dialogue(rows[7]["instruction"], "A held-out answer.")])
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    ran = run_in(paths, "synthesize", "--stage", "filtered")
    rejected = {row["id"]: (row["rule"], row["reason"]) for row in rows_at(paths, "filtered/instructions_rejected")}
    assert rejected["synthetic-000003"] == ("refusal", "the response says “As an AI language model”")
    assert rejected["synthetic-000005"] == ("near_duplicate", "nearly the same instruction as synthetic-000004")
    assert rejected["synthetic-000007"][0] == "leakage"
    assert ran.data["rejected"]["refusal"] == 1


def test_what_the_filter_did_reaches_the_report(writing, paths):
    pytest.importorskip("matplotlib")
    assert run_in(paths, "synthesize", "--rows", 60).status == 0
    statistics = rows_at(paths, "filtered/filtering_stats")
    assert (statistics["rows"], statistics["kept"]) == (60, len(rows_at(paths, "filtered/instructions_filtered")))
    assert statistics["kept"] + sum(statistics["rejected"].values()) == 60
    ran = run_in(paths, "report")
    assert ran.status == 0, ran.failure
    folder = paths.logs / "reports/project"
    told = json.loads((folder / "results/filtering_stats.json").read_text(encoding="utf-8"))
    assert told == {"datasets/synthetic/filtered/filtering_stats.json": statistics}
    assert (folder / "figures/filtering_stats.png").read_bytes().startswith(b"\x89PNG")
    rows = {(name, file): count for name, file, count in ran.data["tables"]["datasets"]["rows"]}
    assert rows["synthetic/raw", "instructions_final_full.json"] == 60
    assert rows["synthetic/filtered", "instructions_filtered.json"] == statistics["kept"]


def test_a_domain_made_of_the_rows_is_no_reason_to_reject_them(writing, paths):
    run_in(paths, "synthesize", "--rows", 60)
    before = rows_at(paths, "filtered/instructions_filtered")
    file = paths.datasets / "synthetic" / "filtered" / "sft_data.json"
    assert run_in(paths, "import", file, "--name", "self_written", "--yes").status == 0
    run_in(paths, "synthesize", "--stage", "filtered")
    assert rows_at(paths, "filtered/instructions_filtered") == before


def test_a_question_of_a_suite_is_a_leak(writing, paths):
    from finetuning.evaluation import suites
    from finetuning.synthetic.config import SyntheticConfig
    from finetuning.synthetic.filtered import held_out, verdicts

    question = suites.load(suites.GENERAL).questions[0].turns[0].user
    row = {
        "id": "a",
        "instruction": question,
        "response": "It is the one that you know best of all.",
        "instruction_ended": True,
        "response_ended": True,
    }
    rule, _ = verdicts([row], SyntheticConfig(), held_out(paths))[0]
    assert rule in ("leakage", "length")


def test_wrong_words_are_named(writing, paths):
    assert "At least 1 row" in run_in(paths, "synthesize", "--rows", 0).failure
    assert "address and its model's name" in run_in(paths, "synthesize", "--teacher", "http://127.0.0.1:9").failure
    assert "is not an address" in run_in(paths, "synthesize", "--teacher", "host", "--teacher_model", "m").failure
    assert "`synthesize --stage raw` first" in run_in(paths, "synthesize", "--stage", "filtered").failure
