"""What a report shows and in which order: its figures, its parts, and what is still missing. Pure but for the drawing it hands on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from finetuning.evaluation.reports import figures as drawing
from finetuning.evaluation.reports import tables
from finetuning.evaluation.reports.found import Found, figures_of, suites_of
from finetuning.evaluation.reports.pages import Drawn, Heading, Items, Part, Shown, Text
from finetuning.evaluation.reports.tables import Missing, Sheet

# A suite's results: their file, and the public benchmarks of the same kind.
SUITE_FILES = {
    "instruction_following": ("instruction_following_results.json", ("ifeval",)),
    "knowledge": ("knowledge_test_results.json", ("arc", "arc_challenge", "truthfulqa")),
    "agent": ("agent_evaluation_results.json", ()),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A figure to draw: its file's name, how, and the files it is drawn from."""

    name: str
    draw: Callable[[Path], str]
    sources: tuple[str, ...]


def figures(found: Found) -> list[Plan]:
    """Every figure there is something for."""
    plans = []
    curves = (("sft_training_curves", drawing.training_curves, False), ("dpo_training_curves", drawing.preference_curves, True))
    for name, draw, dpo in curves:
        runs = [run for run in found.runs if run.losses and (run.method == "dpo") == dpo]
        if runs:
            shown = runs[-drawing.MOST_RUNS :]
            plans.append(Plan(name, partial(draw, shown), tuple(run.source for run in shown)))
    versions = [system for system in found.systems if system.version]
    facts = [system for system in found.judged if figures_of(system).get("key_fact_recall")]
    having = [system for system in found.systems if suites_of(system)]
    calibrated = [system for system in found.systems if drawing.bins(system)]
    choices = (
        ("model_comparison", drawing.model_comparison, found.judged, ("evaluation", "comparison")),
        ("efficiency_comparison", drawing.efficiency, versions, ("card", "report")),
        ("benchmark_comparison", drawing.benchmarks, having, ("evaluation", "comparison", "harness")),
        ("tradeoff_analysis", drawing.tradeoff, facts, ("evaluation", "card")),
        ("reliability_diagram", drawing.reliability, calibrated, ("calibration",)),
    )
    plans += [Plan(name, partial(draw, systems), tables.sources(systems, *kinds)) for name, draw, systems, kinds in choices if systems]
    if found.datasets:
        sources = tuple(one.source for one in found.datasets)
        plans.append(Plan("dataset_statistics", partial(drawing.dataset_statistics, found.datasets), sources))
    if found.filtering:
        plans.append(Plan("filtering_stats", partial(drawing.filtering, found.filtering), tuple(found.filtering)))
    return plans


def missing(found: Found) -> list[Missing]:
    """The parts of a whole report that are not on disk, each with the command that makes it."""
    methods, dpo = tables.methods(found), any(run.method == "dpo" for run in found.runs)
    systems = found.systems
    suites = {name for system in systems for name in suites_of(system)}
    checks = [
        (bool(found.datasets), "dataset_statistics.png", "generate"),
        (any(run.method != "dpo" for run in found.runs), "sft_training_curves.png", "train unified"),
        ("lora" in methods, "lora_metrics.json", "train unified"),
        ("prompt_tuning" in methods, "prompt_tuning_metrics.json", "train unified --method prompt_tuning"),
        ("dpo" in methods and dpo, "dpo_metrics.json and dpo_training_curves.png", "prefer unified"),
        (bool(found.filtering), "filtering_stats.json and filtering_stats.png", "synthesize"),
        (bool(found.judged), "evaluation_summary.json and model_comparison.png", "evaluate unified"),
        (any("classification" in system.documents for system in found.subjects), "the classifier's figures", "evaluate classifier"),
        (any(drawing.bins(system) for system in systems), "reliability_diagram.png and the calibration", "calibrate"),
        (found.comparison is not None, "full_comparison_report.json with its verdicts", "compare"),
        (found.ways is not None, "the ways of answering", "compare --systems hybrid separate unified"),
        *((suite in suites, file, "evaluate unified --suite all") for suite, (file, _) in SUITE_FILES.items()),
        (any("harness" in system.documents for system in systems), "public benchmarks", "evaluate base --harness ifeval=FILE arc=FILE"),
    ]
    return [Missing(what, command) for there, what, command in checks if not there]


def parts(found: Found, sheets: Sequence[Sheet], drawn: Sequence[Drawn], gaps: Sequence[Missing]) -> list[Part]:
    """The pages' parts, in order; a section without anything is left out."""
    by_name = {sheet.name: sheet for sheet in sheets}
    by_figure = {Path(one.file).stem: one for one in drawn}
    made: list[Part] = [Text("Every figure and table names the files it was made from; their paths are relative to the root.")]
    if said := tables.verdicts(found):
        made += [Heading("Verdict"), Items(tuple(said)), Text("From `logs/evaluations/comparison.json`, paired over the same questions.")]
    sections = (
        ("Models", ("comparison_summary", "paired_differences", "ways_of_answering"), ("model_comparison", "tradeoff_analysis")),
        ("Benchmarks", ("benchmarks",), ("benchmark_comparison",)),
        ("Classifier and confidence", ("classification", "calibration"), ("reliability_diagram",)),
        ("Training", ("costs",), ("sft_training_curves", "dpo_training_curves", "efficiency_comparison")),
        ("Data", ("datasets",), ("dataset_statistics", "filtering_stats")),
    )
    for title, tabled, pictured in sections:
        inside: list[Part] = [by_figure[name] for name in pictured if name in by_figure]
        inside += [Shown(by_name[name]) for name in tabled if name in by_name]
        if inside:
            made += [Heading(title), *inside]
    if gaps:
        made += [Heading("Not measured yet"), Items(tuple(f"{gap.what}: `{gap.command}`" for gap in gaps))]
    return made
