import csv
import json
import subprocess
import sys

import pytest
import report_root as made_up

from assistant.core.commands import Context
from assistant.core.events import Chart, Failed, Finished, Lines, Report, Table
from assistant.core.paths import Paths, prepare
from finetuning.commands import REGISTRY
from finetuning.evaluation.reports import outline

pytest.importorskip("matplotlib")


def said(paths, *words):
    return list(REGISTRY.run(["report", *words], Context(paths)))


def the_report(events):
    found = [event for event in events if isinstance(event, Report)]
    assert found, [event for event in events if isinstance(event, Failed)]
    return found[0]


@pytest.fixture
def project(paths, monkeypatch):
    """A root whose reports leave the drawing out, which takes seconds."""
    made_up.whole(paths)
    monkeypatch.setattr(outline, "figures", lambda found: [])
    return paths


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The root and the report of it, for tests that only look."""
    paths = Paths(tmp_path_factory.mktemp("report") / "root")
    prepare(paths)
    made_up.whole(paths)
    return paths, the_report(said(paths))


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_command_makes_every_file_there_is_something_for(made):
    folder = made[0].logs / "reports" / "project"
    wanted = {
        "report.md",
        "report.html",
        *(f"metrics/{name}" for name in ("lora_metrics.json", "prompt_tuning_metrics.json", "comparison_summary.csv")),
        *(f"metrics/{name}" for name in ("comparison_summary.json", "full_comparison_report.json", "costs.csv", "costs.json")),
        *(f"results/{name}_results.json" for name in ("instruction_following", "knowledge_test", "agent_evaluation")),
        *(f"results/{name}.json" for name in ("evaluation_summary", "final_project_report")),
        *(f"figures/{name}.png" for name in ("sft_training_curves", "model_comparison", "efficiency_comparison", "tradeoff_analysis")),
        *(f"figures/{name}.png" for name in ("benchmark_comparison", "reliability_diagram", "dataset_statistics")),
    }
    assert wanted <= set(files_of(folder))
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in wanted if name.endswith(".png"))


def test_parts_that_do_not_exist_are_left_out_and_named_with_their_command(made):
    paths, found = made
    folder = paths.logs / "reports" / "project"
    assert not [name for name in files_of(folder) if "dpo" in name or "filtering" in name]
    missing = {one["what"]: one["command"] for one in found.data["missing"]}
    assert missing["dpo_metrics.json and dpo_training_curves.png"].startswith("prefer unified")
    assert missing["filtering_stats.json and filtering_stats.png"].startswith("synthesize")
    assert "- filtering_stats.json and filtering_stats.png: `synthesize" in (folder / "report.md").read_text(encoding="utf-8")
    lines = next(block.lines for block in found.blocks if isinstance(block, Lines) and block.title.startswith("Not in it"))
    assert any("prefer unified" in line for line in lines)


def test_preference_runs_and_filters_get_their_files_when_they_exist(paths):
    made_up.whole(paths)
    made_up.version(paths, "unified", "0003", "dpo", facts=0.72, loss=1.3)
    made_up.files.write_json(paths.datasets / "synthetic/filtering_stats.json", {"made": 400, "kept": 250, "dropped": {"duplicate": 90}})
    the_report(said(paths))
    names = files_of(paths.logs / "reports/project")
    for name in (
        "metrics/dpo_metrics.json",
        "figures/dpo_training_curves.png",
        "results/filtering_stats.json",
        "figures/filtering_stats.png",
    ):
        assert name in names


def test_the_same_disk_gives_the_same_files(made):
    folder = made[0].logs / "reports" / "project"
    before = {name: (folder / name).read_bytes() for name in files_of(folder)}
    assert said(made[0])[-1] == Finished(0)
    assert {name: (folder / name).read_bytes() for name in files_of(folder)} == before


def test_what_an_earlier_report_wrote_does_not_stay_and_what_others_wrote_does(project):
    said(project)
    folder = project.logs / "reports" / "project"
    (folder / "figures").mkdir()
    (folder / "figures/mine.txt").write_text("a note", encoding="utf-8")
    (project.logs / "evaluations/comparison.json").unlink()
    said(project)
    names = files_of(folder)
    assert "metrics/full_comparison_report.json" not in names and "figures/mine.txt" in names


def test_every_table_and_figure_names_the_files_it_was_made_from(made):
    project, data = made[0], made[1].data
    sources = {source for table in data["tables"].values() for source in table["sources"]}
    assert "models/unified_model/versions/0002/evaluation.json" in sources
    assert all((project.root / source).is_file() for source in sources)
    text = (project.logs / "reports/project/report.md").read_text(encoding="utf-8")
    figures = [line for line in text.splitlines() if line.startswith("*") and "Drawn from" in line]
    assert len(figures) == 7 and all("`models/" in line or "`logs/" in line or "`datasets/" in line for line in figures)


def test_a_table_is_the_same_as_csv_and_as_json(made):
    folder = made[0].logs / "reports/project/metrics"
    with (folder / "comparison_summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((folder / "comparison_summary.json").read_text(encoding="utf-8"))
    assert [row["system"] for row in rows] == ["the base", "unified 0001", "unified 0002", "technical 0001"]
    assert [float(row["key_fact_recall"]) for row in rows] == [one["key_fact_recall"] for one in document["rows"]]


def test_the_cost_of_each_run_is_told_in_hours(made):
    rows = json.loads((made[0].logs / "reports/project/metrics/costs.json").read_text(encoding="utf-8"))["rows"]
    cost = next(row for row in rows if row["run"] == "unified-0002")
    assert (cost["hours"], cost["cpu_hours"], cost["gpu_hours"]) == (0.3333, 0.6333, 0.0)


def test_a_cost_that_was_not_recorded_stays_empty(project):
    report = project.models / "unified_model/versions/0002/report.json"
    made_up.files.write_json(report, {"run": "unified-0002", "seconds": 60.0})
    said(project)
    rows = json.loads((project.logs / "reports/project/metrics/costs.json").read_text(encoding="utf-8"))["rows"]
    cost = next(row for row in rows if row["run"] == "unified-0002")
    assert cost["cpu_hours"] is None and cost["gpu_hours"] is None and cost["hours"] > 0


def test_the_terminal_gets_tables_and_charts(made):
    blocks = made[1].blocks
    assert [block.title for block in blocks if isinstance(block, Chart)] == [
        "Key-fact recall",
        "Loss of unified-0002",
        "Rows of processed_english",
    ]
    assert any(isinstance(block, Table) and block.columns[0] == "right answers" for block in blocks)


def test_no_single_question_of_a_held_out_file_leaves_in_a_report(made):
    folder = made[0].logs / "reports/project"
    for name in files_of(folder):
        assert b"secret of a row" not in (folder / name).read_bytes(), name


def test_text_from_files_is_no_markup_on_the_pages(project):
    comparison = project.logs / "evaluations/comparison.json"
    document = json.loads(comparison.read_text(encoding="utf-8"))
    document["comparisons"][0]["verdict"] = "<script>alert(1)</script> better"
    made_up.files.write_json(comparison, document)
    said(project)
    page = (project.logs / "reports/project/report.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_system_that_was_only_compared_is_shown_from_the_comparison(project):
    path = project.logs / "evaluations/comparison.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["systems"] = [made_up.evaluation("the base", 0.2, 3.0, 0.4, 150.0)]
    made_up.files.write_json(path, document)
    (project.logs / "evaluations/base_evaluation.json").unlink()
    table = the_report(said(project)).data["tables"]["comparison_summary"]
    assert table["rows"][0][0] == "the base" and "logs/evaluations/comparison.json" in table["sources"]


def test_systems_that_were_asked_different_questions_are_marked(project):
    path = project.models / "unified_model/versions/0001/evaluation.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["held_out"]["fingerprint"] = "another"
    made_up.files.write_json(path, document)
    said(project)
    assert "Not all were asked the same questions" in (project.logs / "reports/project/report.md").read_text(encoding="utf-8")


def test_a_report_goes_into_another_folder_when_told(project, tmp_path):
    said(project, "--out", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/report.html").is_file() and not (project.logs / "reports").exists()


def test_broken_and_half_written_files_count_as_absent(project):
    (project.models / "unified_model/versions/0002/evaluation.json").write_text("{", encoding="utf-8")
    (project.logs / "training_logs/unified-0002/events.jsonl").write_text('{"event": "Progress", "unit"', encoding="utf-8")
    names = [row[0] for row in the_report(said(project)).data["tables"]["comparison_summary"]["rows"]]
    assert "unified 0002" not in names and "unified 0001" in names


def test_an_empty_root_has_nothing_to_report(paths):
    failed = next(event for event in said(paths) if isinstance(event, Failed))
    assert failed.what == "There is nothing to report yet." and "train unified" in failed.fix


def test_a_name_that_is_a_path_is_refused(project):
    failed = next(event for event in said(project, "../up") if isinstance(event, Failed))
    assert "cannot be a report's name" in failed.what


def test_reading_a_root_loads_no_torch(made):
    code = (
        "import sys; from pathlib import Path; from assistant.core.paths import Paths; "
        "from finetuning.evaluation.reports import found, tables, pages; "
        f"found.gather(Paths(Path({str(made[0].root)!r}))); assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
