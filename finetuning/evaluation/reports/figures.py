"""The figures of a report, drawn with matplotlib: each takes values and a path, and says in one sentence what it shows."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from finetuning.evaluation.reports.found import Dataset, Points, Run, System, figures_of, suites_of

# Okabe & Ito's colours, which people who see fewer colours can tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#8C6D1F")
INK, FAINT = "#333333", "#DDDDDD"
MOST_RUNS = 6
MOST_SYSTEMS = 10
SMOOTHED = 15
LEVELS = ("basic", "intermediate", "advanced")
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "pz2",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
}


def styled(draw: Callable[..., str]) -> Callable[..., str]:
    """A figure drawn in our style, whatever a user's matplotlib is set to."""

    @wraps(draw)
    def drawn(values: Any, path: Path) -> str:
        from matplotlib import rc_context, rcdefaults

        with rc_context():
            rcdefaults()
            with rc_context(STYLE):
                return draw(values, path)

    return drawn


@styled
def training_curves(runs: Sequence[Run], path: Path) -> str:
    """The loss of each run by step, smoothed, with the validation losses as points."""
    shown = [run for run in runs if run.losses][-MOST_RUNS:]
    figure, axes = _panels(1, 1, 8, 4.6)
    _losses(axes[0], shown, "loss a trained token")
    figure.legend(loc="outside lower center", ncols=3)
    _save(figure, path)
    return "Loss by step: the line is smoothed over 15 steps, the pale line is every step, dots are held-out validation rows."


@styled
def preference_curves(runs: Sequence[Run], path: Path) -> str:
    """The loss, the margin and the accuracy of each run on preference pairs by step."""
    shown = [run for run in runs if run.losses][-MOST_RUNS:]
    figure, axes = _panels(1, 3, 14, 4.6)
    _losses(axes[0], shown, "loss a pair")
    for colour, run in zip(COLOURS, shown, strict=False):
        for axis, points in ((axes[1], run.margins), (axes[2], run.accuracies)):
            _curve(axis, points, colour)
    axes[1].set(xlabel="step", ylabel="margin", title="Lead of the chosen answers")
    axes[2].set(xlabel="step", ylabel="accuracy", title="Pairs in the right order", ylim=(0, 1.05))
    _percent(axes[2], "y")
    figure.legend(loc="outside lower center", ncols=3)
    _save(figure, path)
    return (
        "Loss a pair, the margin by which the chosen answers have moved ahead of the rejected ones, and the share of a step's pairs in the "
        "right order; lines are smoothed over 15 steps, pale lines are every step, dots are held-out pairs."
    )


@styled
def model_comparison(systems: Sequence[System], path: Path) -> str:
    """Key facts, general ability and loss of each system with intervals."""
    shown = systems[-MOST_SYSTEMS:] if len(systems) <= MOST_SYSTEMS else [systems[0], *systems[-MOST_SYSTEMS + 1 :]]
    measures: list[tuple[str, Callable[[System], Any], bool]] = [
        ("Key-fact recall (more is better)", lambda one: figures_of(one).get("key_fact_recall"), True),
        ("General ability (more is better)", lambda one: suites_of(one).get("general_ability", {}).get("accuracy"), True),
        ("Held-out loss (less is better)", lambda one: figures_of(one).get("loss"), False),
    ]
    there = [measure for measure in measures if any(measure[1](one) for one in shown)]
    figure, axes = _panels(1, len(there), 3.4 * len(there) + 1.2, 1.3 + 0.42 * len(shown))
    for axis, (title, value, share) in zip(axes, there, strict=True):
        for place, one in enumerate(shown):
            _dot(axis, place, value(one), one, share)
        axis.set(title=title, ylim=(len(shown) - 0.5, -0.5))
        axis.set_xlim(*((0, 1.08) if share else (0, axis.get_xlim()[1] * 1.15)))
        axis.set_yticks(range(len(shown)), [_label(one) for one in shown] if axis is axes[0] else [""] * len(shown))
        axis.grid(axis="y", visible=False)
        if share:
            _percent(axis)
    _save(figure, path)
    return "Dots are means over the held-out questions, lines 95% bootstrap intervals; a hollow dot is a version that is not live."


@styled
def efficiency(systems: Sequence[System], path: Path) -> str:
    """Trained parameters, training time, size on disk and speed of each version."""
    shown = list(systems)[-MOST_SYSTEMS:]
    measures: list[tuple[str, str, Callable[[System], float | None]]] = [
        ("Trained parameters", "million", lambda one: one.parameters / 1e6 if one.parameters else None),
        ("Training time", "minutes", lambda one: _scaled(one.documents.get("card", {}).get("seconds"), 60)),
        ("Adapter on disk", "MB", lambda one: _scaled(one.documents.get("card", {}).get("adapter_bytes"), 1e6)),
        ("Peak memory of the training", "GB", lambda one: _scaled(one.documents.get("report", {}).get("memory_mb"), 1e3)),
    ]
    figure, axes = _panels(2, 2, 9, 2.2 + 0.6 * len(shown))
    for axis, (title, unit, value) in zip(axes, measures, strict=True):
        values = [value(one) for one in shown]
        axis.barh(range(len(shown)), [each or 0 for each in values], color=[_colour(one) for one in shown], height=0.6)
        most = max((each for each in values if each), default=1)
        for place, each in enumerate(values):
            axis.text((each or 0) + most * 0.02, place, "not recorded" if each is None else f"{each:.3g}", va="center", color=INK)
        axis.set(title=f"{title} ({unit})", ylim=(len(shown) - 0.5, -0.5), xlim=(0, most * 1.2))
        axis.set_yticks(range(len(shown)), [_label(one) for one in shown])
        axis.grid(axis="y", visible=False)
    _save(figure, path)
    return "What each version cost and weighs; the numbers stand at the bars."


@styled
def benchmarks(systems: Sequence[System], path: Path) -> str:
    """The share of right answers in every suite and public benchmark."""
    shown = [one for one in systems if suites_of(one)]
    shown = shown if len(shown) <= 6 else [shown[0], *shown[-5:]]
    names = list(dict.fromkeys(name for one in shown for name in suites_of(one)))
    figure, axes = _panels(1, 1, 8.5, 1.6 + len(names) * (0.35 + 0.17 * len(shown)))
    axis, step = axes[0], 0.75 / len(shown)
    colours = _colours(shown)
    for number, one in enumerate(shown):
        for place, name in enumerate(names):
            found = suites_of(one).get(name)
            if found:
                where, share = place + (number + 0.5) * step - 0.375, found["accuracy"]
                axis.barh(where, share["mean"], height=step * 0.85, color=colours[number])
                axis.plot([share["low"], share["high"]], [where, where], color=INK, linewidth=1)
                axis.text(share["high"] + 0.01, where, f"{share['mean']:.0%}", va="center", fontsize=8, color=INK)
                if found.get("chance"):
                    axis.plot([found["chance"]] * 2, [place - 0.42, place + 0.42], color=INK, linestyle=":", linewidth=1.2)
    handles = [_patch(colours[number], _label(one)) for number, one in enumerate(shown)]
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.set(title="Right answers", xlim=(0, 1.08), ylim=(len(names) - 0.5, -0.5))
    axis.grid(axis="y", visible=False)
    _percent(axis)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    _save(figure, path)
    return "Bars are shares of right answers, lines 95% intervals; a dotted line is what guessing gives."


@styled
def tradeoff(systems: Sequence[System], path: Path) -> str:
    """Quality against speed and against training time."""
    shown = [one for one in systems if figures_of(one).get("key_fact_recall")]
    panels = [
        ("tokens a second (more is better)", lambda one: (one.documents["evaluation"].get("speed") or {}).get("tokens_per_second")),
        ("minutes of training (less is better)", lambda one: _scaled(one.documents.get("card", {}).get("seconds"), 60) or 0.0),
    ]
    figure, axes = _panels(1, 2, 10, 4.2)
    for axis, (title, cost) in zip(axes, panels, strict=True):
        for one in shown:
            value, recall = cost(one), figures_of(one)["key_fact_recall"]
            if value is None:
                continue
            axis.plot([value] * 2, [recall["low"], recall["high"]], color=_colour(one), linewidth=1.2)
            axis.plot(value, recall["mean"], marker="o", color=_colour(one), markersize=8, markerfacecolor=_fill(one), clip_on=False)
            axis.annotate(_label(one), (value, recall["mean"]), textcoords="offset points", xytext=(8, 4), color=INK, fontsize=9)
        axis.margins(x=0.25)
        axis.set(xlabel=title, ylabel="key-fact recall", ylim=(0, 1.05))
        axis.set_xlim(left=0)
        _percent(axis, "y")
    _save(figure, path)
    return "Each dot is a system: its key-fact recall with 95% interval against what it costs; hollow: not live."


@styled
def reliability(systems: Sequence[System], path: Path) -> str:
    """How often answers of a stated confidence are right."""
    figure, axes = _panels(1, 1, 5.2, 4.8)
    axis = axes[0]
    axis.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.2)
    shown = [one for one in systems if bins(one)]
    for colour, one in zip(_colours(shown), shown, strict=True):
        found = bins(one)
        most = max(part["rows"] for part in found)
        before = bins(one, "before")
        axis.plot([part["confidence"] for part in before], [part["right"] for part in before], color=colour, linestyle="--", alpha=0.5)
        axis.plot([part["confidence"] for part in found], [part["right"] for part in found], color=colour, linewidth=1.2, label=_label(one))
        sizes = [20 + 120 * part["rows"] / most for part in found]
        axis.scatter([part["confidence"] for part in found], [part["right"] for part in found], s=sizes, color=colour, alpha=0.8)
    axis.set(title="Reliability", xlabel="stated confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    _percent(axis)
    _percent(axis, "y")
    axis.legend(loc="upper left")
    _save(figure, path)
    return "Answers of like confidence together: on the dotted line it is true. Larger dots hold more answers; dashed: before calibration."


@styled
def dataset_statistics(datasets: Sequence[Dataset], path: Path) -> str:
    """Rows by file, the main file by category and difficulty, and the length of its answers."""
    figure, axes = _panels(len(datasets), 3, 12, 1.2 + 3.2 * len(datasets))
    for row, one in enumerate(datasets):
        rows, mix, lengths = axes[3 * row : 3 * row + 3]
        largest = sorted(one.rows.items(), key=lambda item: -item[1])[:9]
        _bars(rows, [(name.removesuffix(".jsonl"), count) for name, count in largest], COLOURS[0], f"{one.name}\nrows by file")
        levels = sorted(one.difficulties.items(), key=lambda item: LEVELS.index(item[0]) if item[0] in LEVELS else len(LEVELS))
        tallies = [*one.categories.items(), *levels]
        _bars(mix, tallies, COLOURS[2], f"{one.main}\nby category and difficulty")
        lengths.hist(one.answer_words, bins=range(0, max([*one.answer_words, 20]) + 11, 10), color=COLOURS[1])
        lengths.set(title=f"{one.main}\nby words answered", xlabel="words", xlim=(0, None))
    _save(figure, path)
    return "Rows of each dataset by file, category and difficulty, and how long its answers are."


@styled
def filtering(documents: dict[str, Any], path: Path) -> str:
    """What a filter saw, what each of its rules rejected, and what it kept."""
    figure, axes = _panels(1, 1, 8, 1.4 + 0.4 * sum(len(_numbers(one)) for one in documents.values()))
    _bars(axes[0], [pair for one in documents.values() for pair in _numbers(one)], COLOURS[0], "Rows by rule of the filter")
    _save(figure, path)
    return "How many rows the filter saw, kept, and rejected by each of its rules."


def smoothed(values: Sequence[float], width: int = SMOOTHED) -> list[float]:
    """The mean of each value and those before it."""
    return [sum(part) / len(part) for part in (values[max(0, place - width + 1) : place + 1] for place in range(len(values)))]


def bins(system: System, when: str = "after") -> list[dict[str, float]]:
    """The reliability bins of a version's confidence, after or before its calibration: confidence, right, rows; [] when it has none."""
    figures = system.documents.get("calibration", {}).get("figures") or {}
    return (figures.get(when) or {}).get("bins") or []


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    # Here, because matplotlib takes half a second to load; without pyplot no window system is asked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [axis for row in axes for axis in row]


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the name of the software a figure is the same file every time.
    figure.savefig(path, metadata={"Software": None})


def _losses(axis: Any, runs: Sequence[Run], unit: str) -> None:
    for colour, run in zip(COLOURS, runs, strict=False):
        _curve(axis, run.losses, colour, run.name + ("" if run.finished else " (not finished)"))
        if run.validation:
            places, values = zip(*run.validation, strict=True)
            axis.plot(places, values, color=colour, linestyle=":", marker="o", markersize=5, markerfacecolor="white", linewidth=1)
    axis.set(xlabel="step", ylabel=unit, title="Training loss (line) and validation loss (dots)")
    axis.set_ylim(bottom=0)


def _curve(axis: Any, points: Points, colour: str, label: str | None = None) -> None:
    if points:
        steps, values = zip(*points, strict=True)
        axis.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
        axis.plot(steps, smoothed(values), color=colour, linewidth=1.8, label=label)


def _dot(axis: Any, place: int, value: dict[str, float] | None, one: System, share: bool) -> None:
    if not value:
        axis.text(0.02, place, "not measured", va="center", color=INK, fontsize=9)
        return
    axis.plot([value["low"], value["high"]], [place, place], color=_colour(one), linewidth=2)
    axis.plot(value["mean"], place, marker="o", color=_colour(one), markersize=8, markerfacecolor=_fill(one))
    told = f"{value['mean']:.0%}" if share else f"{value['mean']:.2f}"
    axis.annotate(told, (value["mean"], place), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=9, color=INK)


def _bars(axis: Any, pairs: Sequence[tuple[str, float]], colour: str, title: str) -> None:
    most = max((count for _, count in pairs), default=1)
    axis.barh(range(len(pairs)), [count for _, count in pairs], color=colour, height=0.65)
    for place, (_, count) in enumerate(pairs):
        axis.text(count + most * 0.02, place, f"{count:,}", va="center", fontsize=8, color=INK)
    axis.set_yticks(range(len(pairs)), [name for name, _ in pairs])
    axis.set(title=title, ylim=(max(len(pairs), 1) - 0.5, -0.5), xlim=(0, most * 1.25))
    axis.grid(axis="y", visible=False)


def _numbers(document: Any, before: str = "") -> list[tuple[str, float]]:
    if isinstance(document, dict):
        return [pair for key, value in document.items() for pair in _numbers(value, f"{before} {key}".strip())]
    return [(before, document)] if isinstance(document, int) and not isinstance(document, bool) else []


def _percent(axis: Any, which: str = "x") -> None:
    from matplotlib.ticker import PercentFormatter

    getattr(axis, f"{which}axis").set_major_formatter(PercentFormatter(1.0, decimals=0))


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def _colours(systems: Sequence[System]) -> list[str]:
    """A colour for each system: its model's, where that tells all of them apart, else by its place."""
    own = [_colour(one) for one in systems]
    return own if len(set(own)) == len(own) else [COLOURS[6 if one.version is None else place % 6] for place, one in enumerate(systems)]


def _colour(one: System) -> str:
    known = {"base": COLOURS[6], "unified": COLOURS[0], "qna": COLOURS[2], "technical": COLOURS[1]}
    return known.get(one.model, COLOURS[3])


def _fill(one: System) -> str:
    return _colour(one) if one.live or one.version is None else "white"


def _label(one: System) -> str:
    return f"{one.label} (live)" if one.live else one.label


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by
