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
from finetuning.evaluation.reports import figures, found, outline

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
    made_up.files.write_json(
        paths.datasets / "synthetic/filtered/filtering_stats.json", {"rows": 400, "kept": 310, "rejected": {"length": 90}}
    )
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


def compared(project, weights="unified 0002"):
    """The last comparison asked every suite on transformers; the version's own evaluation has the general ability alone."""
    model = project.models / "unified_model/versions/0002/evaluation.json"
    made_up.files.write_json(model, made_up.evaluation("unified 0002", 0.71, 1.4, 0.44, 130.0, suites=False))
    path = project.logs / "evaluations/comparison.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    asked = {**made_up.evaluation("unified 0002", 0.7, 1.4, 0.9, 20.0), "weights": weights, "engine": "hf"}
    document["systems"] = [made_up.evaluation("the base", 0.12, 3.8, 0.46, 158.0), asked]
    gain = {"mean": 0.05, "low": -0.02, "high": 0.12, "rows": 64}
    document["comparisons"][0]["suites"] = {"instruction_following": gain}
    made_up.files.write_json(path, document)


def test_what_the_last_comparison_asked_of_all_stands_beside_each_with_its_engine(project):
    compared(project)
    data = the_report(said(project)).data
    rows = {row[1]: row for row in data["tables"]["benchmarks"]["rows"] if row[0] == "unified 0002"}
    assert set(rows) == {"general_ability", "instruction_following", "knowledge", "agent"}
    assert (rows["general_ability"][3], rows["general_ability"][-1]) == (0.9, "hf"), "its own proof had other questions (0.44)"
    summary = next(row for row in data["tables"]["comparison_summary"]["rows"] if row[0] == "unified 0002")
    assert 0.7 in summary and 0.71 not in summary
    assert (rows["knowledge"][3], rows["knowledge"][-1]) == (0.52, "hf")
    assert "logs/evaluations/comparison.json" in data["tables"]["benchmarks"]["sources"]
    results = project.logs / "reports/project/results"
    for name in ("instruction_following", "knowledge_test", "agent_evaluation"):
        assert "unified 0002" in json.loads((results / f"{name}_results.json").read_text(encoding="utf-8"))["systems"]


def test_a_comparison_of_other_weights_adds_nothing_to_a_system(project):
    compared(project, weights="what lay there before")
    rows = the_report(said(project)).data["tables"]["benchmarks"]["rows"]
    assert [row[1] for row in rows if row[0] == "unified 0002"] == ["general_ability"]


def test_instruction_following_and_the_switch_stand_beside_each_system(project):
    compared(project)
    said(project)
    metrics = project.logs / "reports/project/metrics"
    rows = json.loads((metrics / "comparison_summary.json").read_text(encoding="utf-8"))["rows"]
    shown = next(row for row in rows if row["system"] == "unified 0002")
    assert (shown["instruction_following"], shown["switch_seconds"], shown["engine"]) == (0.31, 0.004, "llama")
    rows = json.loads((metrics / "paired_differences.json").read_text(encoding="utf-8"))["rows"]
    told = next(row for row in rows if row["measure"] == "instruction_following")
    assert (told["before"], told["now"], told["gain"], told["questions"]) == (0.31, 0.31, 0.05, 64)


@pytest.mark.parametrize(
    ("system", "where"),
    [
        ("the built-in classifier", "logs/evaluations/built-in_classifier_evaluation_classification.json"),
        ("classifier 0001", "models/classifier/versions/0001/evaluation_classification.json"),
    ],
)
def test_the_classifier_is_shown_where_it_was_judged(project, system, where):
    assert "the classifier's figures" in {one["what"] for one in the_report(said(project)).data["missing"]}
    classes = {name: {"f1": 0.9} for name in ("qna", "technical", "general")}
    judged = {"rows": 90, "accuracy": 0.91, "macro_f1": 0.9, "classes": classes, "milliseconds_a_question": 12.0}
    made_up.files.write_json(project.root / where, {"subject": system, "classification": judged})
    if system != "the built-in classifier":
        made_up.files.write_json((project.root / where).with_name("card.json"), {"method": "probe"})
    data = the_report(said(project)).data
    table = data["tables"]["classification"]
    assert [row[0] for row in table["rows"]] == [system] and table["sources"] == (where,)
    assert "the classifier's figures" not in {one["what"] for one in data["missing"]}
    names = files_of(project.logs / "reports/project")
    assert "metrics/probe_metrics.json" not in names, "it answers nothing, so it has no place among what is compared"
    summary = json.loads((project.logs / "reports/project/results/evaluation_summary.json").read_text(encoding="utf-8"))
    assert summary["systems"][system]["sources"]["classification"] == where


def test_a_run_on_preference_pairs_is_drawn_with_its_margin_and_accuracy(paths, monkeypatch, tmp_path):
    made_up.version(paths, "unified", "0001", "dpo")
    run = found.gather(paths).runs[0]
    assert run.margins[-1] == (200, 2.0) and run.accuracies[-1] == (200, 0.9)
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append(figure))
    plan = next(plan for plan in outline.figures(found.gather(paths)) if plan.name == "dpo_training_curves")
    plan.draw(tmp_path / "figure.png")
    axes = drawn[0].axes
    assert [axis.get_ylabel() for axis in axes] == ["loss a pair", "margin", "accuracy"]
    assert [list(axis.lines[0].get_ydata())[-1] for axis in axes[1:]] == [2.0, 0.9]


def test_what_was_synthesized_stands_among_the_datasets_with_its_rows(project):
    folder = project.datasets / "synthetic/filtered"
    folder.mkdir(parents=True)
    rows = [{"id": name, "category": "qna", "response": "It is so."} for name in "abc"]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (folder / "instructions_filtered.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    made_up.files.write_json(folder / "filtering_stats.json", {"rows": 4, "kept": 3})
    described = {name: {"sha256": ""} for name in ("filtering_stats.json", "instructions_filtered.json", "gone.json")}
    made_up.files.write_json(folder / "manifest.json", {"stage": "filtered", "files": described})
    made_up.files.write_json(project.datasets / "synthetic/raw/manifest.json", {"stage": "raw", "status": "running"})
    table = the_report(said(project)).data["tables"]["datasets"]
    shown = [row for row in table["rows"] if row[0] != "processed_english"]
    assert shown == [("synthetic/filtered", "instructions_filtered.json", 3), ("synthetic/filtered", "gone.json", 0)]
    data = found.gather(project).datasets[-1]
    assert (data.categories, data.answer_words) == ({"qna": 3}, (3, 3, 3))


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
