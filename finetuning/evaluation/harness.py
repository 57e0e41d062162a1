"""Public benchmarks from files on disk, judged by lm-evaluation-harness (EleutherAI) with our engines: nothing is fetched.

The harness is run twice. The first time it only says what it wants to ask; the bench answers that, with progress and kept answers; the
second time the harness gets those answers and judges them.
"""

import importlib.metadata
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assistant.core import files
from assistant.core import paths as path_tools
from assistant.core.errors import DataError, ModelError, UsageError
from assistant.core.events import Event, Notice, Progress, Report, Step, Table
from assistant.core.paths import Paths
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from assistant.engine import embedded
from finetuning.evaluation import judging, run
from finetuning.evaluation.bench import Bench, Said
from finetuning.evaluation.bootstrap import interval
from finetuning.evaluation.report import percent
from finetuning.evaluation.subjects import Subject, same_weights

INSTALL = '.venv/bin/pip install "lm-eval[ifeval]==0.4.13"'
# IFEval itself allows 1,280; half of it is enough for what small models write before they end or go round in circles.
ANSWER_TOKENS = 640
FILE = "evaluation_harness.json"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: the harness's task definitions, the split they read, the fields of a row, and the figures, the main one first."""

    definitions: tuple[str, ...]
    split: str
    fields: tuple[str, ...]
    figures: tuple[str, ...]


_CHOICE = ("question", "choices", "answerKey")
BENCHMARKS = {
    "ifeval": Benchmark(
        ("ifeval/ifeval.yaml",),
        "train",
        ("key", "prompt", "instruction_id_list", "kwargs"),
        ("prompt_level_strict_acc", "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc"),
    ),
    "arc": Benchmark(("arc/arc_easy.yaml",), "test", _CHOICE, ("acc", "acc_norm")),
    "arc_challenge": Benchmark(("arc/arc_challenge.yaml",), "test", _CHOICE, ("acc_norm", "acc")),
    "truthfulqa": Benchmark(
        ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthfulqa_mc2.yaml"),
        "validation",
        ("question", "mc1_targets", "mc2_targets"),
        ("acc",),
    ),
}


def chosen(paths: Paths, given: Sequence[str]) -> dict[str, Path]:
    """The files behind ``NAME=FILE`` words; an unknown name, a missing file or an unfit row is said."""
    found: dict[str, Path] = {}
    for word in given:
        name, _, file = word.partition("=")
        if name not in BENCHMARKS or not file:
            raise UsageError(f"--harness: '{word}' is not NAME=FILE.", f"Names: {', '.join(BENCHMARKS)}; for example ifeval=ifeval.jsonl.")
        path = path_tools.find(file, paths)
        if not path.is_file():
            raise UsageError(f"--harness: there is no file {file}.", "Benchmarks are read from your disk; nothing is fetched.")
        found[name] = path
    return found


def judged(bench: Bench, subject: Subject, given: dict[str, Path], limit: int | None = None) -> Iterator[Event]:
    """Judge a subject on public benchmarks; the document goes beside the version as ``evaluation_harness.json``."""
    for package in ("lm-eval", *(("langdetect", "immutabledict") if "ifeval" in given else ())):
        if not engines.installed(package):
            raise ModelError(f"The package {package} is not installed.", f"Public benchmarks are optional; install them once: {INSTALL}")
    document = {**run.about(bench, subject), "lm_eval": importlib.metadata.version("lm_eval"), "harness": {}}
    for name, path in given.items():
        yield Step(f"{name}: {path.name} by lm-evaluation-harness")
        document["harness"][name] = yield from _benchmark(bench, subject, name, path, limit)
    # Benchmarks of the same weights from earlier stay beside the new ones.
    document["harness"] = {**_earlier(bench.paths, subject, document), **document["harness"]}
    where = run.write(bench.paths, subject, FILE, document)
    yield Report(f"{subject.label} on {', '.join(given)}", {**run.without_items(document), "file": str(where)}, (table(document),))
    yield Notice(f"Every question with its answer is in {where}")


def _earlier(paths: Paths, subject: Subject, document: dict[str, Any]) -> dict[str, Any]:
    try:
        before = files.read_json(run.place(paths, subject, FILE))
    except (OSError, DataError):
        return {}
    return before["harness"] if same_weights(before, document) else {}


def table(document: dict[str, Any]) -> Table:
    """The figures of every benchmark."""
    rows = [
        (name, task, figure, percent(value), str(value["rows"]))
        for name, part in document["harness"].items()
        for task, figures in part["tasks"].items()
        for figure, value in figures["figures"].items()
    ]
    return Table(("benchmark", "task", "figure", "share (95% interval)", "questions"), tuple(rows))


def _benchmark(bench: Bench, subject: Subject, name: str, path: Path, limit: int | None) -> Generator[Event, None, dict[str, Any]]:
    from finetuning.evaluation import harness_model

    one = BENCHMARKS[name]
    with tempfile.TemporaryDirectory(prefix="pz2-harness-") as folder:
        rows = readable(path, one)
        files.write_jsonl(Path(folder) / "rows.jsonl", rows)
        tasks = [_definition(Path(folder), one, definition) for definition in one.definitions]
        with harness_model.offline(name == "ifeval") as approximations:
            asking = harness_model.judge(tasks, Path(folder), harness_model.Recorded(), limit)
            recorded = harness_model.Recorded(
                scores=(yield from _scores(bench, subject, asking.asked_scores)),
                answers=(yield from _answers(bench, subject, asking.asked_answers)),
            )
            done = harness_model.judge(tasks, Path(folder), recorded, limit)
    return {
        "file": path.name,
        "sha256": files.sha256(path),
        "rows": len(rows),
        "limit": limit,
        "engine": bench.name if asking.asked_answers else "hf",
        "prompts": "the chat's form" if asking.asked_answers else "bare text, as the harness writes it",
        "decoding": {"greedy": True, "max_tokens": ANSWER_TOKENS} if asking.asked_answers else None,
        "cut": sum(said.stopped == "length" for said in recorded.answers.values()) if asking.asked_answers else None,
        "approximations": list(approximations),
        "tasks": {task: _figures(one, samples) for task, samples in done.samples.items()},
    }


def readable(path: Path, one: Benchmark) -> list[dict[str, Any]]:
    """The rows in the form the harness reads; the original form of ARC is turned into it."""
    rows = [_arc(row) if "choices" in one.fields else row for row in files.read_jsonl(path)]
    for number, row in enumerate(rows, 1):
        missing = [field for field in one.fields if field not in row]
        if missing:
            raise DataError(
                f"{path.name}, row {number}: no field {', '.join(missing)}.", f"Rows of this benchmark have {', '.join(one.fields)}."
            )
    if not rows:
        raise DataError(f"{path.name} holds no rows.", "Give the benchmark's file as JSON Lines.")
    return [{field: row[field] for field in ("id", *one.fields) if field in row} for row in rows]


def _arc(row: dict[str, Any]) -> dict[str, Any]:
    question = row.get("question")
    if not isinstance(question, dict):
        return row
    choices = question.get("choices") or []
    labelled = {key: [choice[key] for choice in choices] for key in ("label", "text")}
    return {**row, "question": question.get("stem", ""), "choices": labelled}


def _definition(folder: Path, one: Benchmark, definition: str) -> str:
    """A task of our own that is the harness's in everything but where its rows come from; returns its name."""
    import lm_eval

    shipped = Path(lm_eval.__file__).with_name("tasks") / definition
    name = f"pz2_{shipped.stem}"
    splits = {"training_split": None, "validation_split": None, "test_split": one.split}
    task = {
        "include": str(shipped),
        "task": name,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {one.split: str(folder / "rows.jsonl")}, "cache_dir": str(folder / "cache")},
        **splits,
    }
    files.write_text(folder / f"{name}.yaml", yaml.safe_dump(task))
    return name


def _scores(bench: Bench, subject: Subject, asked: Sequence[tuple[str, str]]) -> Generator[Progress, None, dict[tuple[str, str], float]]:
    """The log-probability of every continuation; bare text, tokenised together with its context as the harness does it."""
    chat = bench.scorer.format if asked else None
    pairs = []
    for context, continuation in asked:
        before, whole = (chat.encode_answer(text)[:-1] for text in (context, context + continuation))
        pairs.append((whole[: len(before)], whole[len(before) :]))
    # Pairs of like length stand together, so that little is padding.
    order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]) + len(pairs[place][1]))
    found = (yield from bench.scores(subject, [pairs[place] for place in order], "continuations read")) if pairs else []
    return {asked[place]: sum(scores) for place, scores in zip(order, found, strict=True)}


def _answers(bench: Bench, subject: Subject, asked: Sequence[str]) -> Generator[Progress, None, dict[str, Said]]:
    """The answer to every prompt, the shortest prompts first so that each batch holds prompts of like length."""
    if not asked:
        return {}
    sampling = Sampling(max_tokens=ANSWER_TOKENS)
    prompts = {text: prompt[-(bench.engine.context_tokens - ANSWER_TOKENS) :] for text, prompt in _prompts(bench, subject, asked)}
    order = sorted(prompts, key=lambda text: len(prompts[text]))
    given = yield from bench.answers(subject, [prompts[text] for text in order], sampling)
    return dict(zip(order, given.said, strict=True))


def _prompts(bench: Bench, subject: Subject, asked: Sequence[str]) -> list[tuple[str, list[int]]]:
    """A version is asked under its own system prompt; the bare base under the one of its chat template, as others measured it."""
    if subject.adapter is not None:
        system = Message("system", subject.prompt)
        return [(text, bench.engine.format.encode([system, Message("user", text)])) for text in asked]
    from transformers import AutoTokenizer

    source = embedded.materialise(bench.paths) if bench.base.gguf is not None else bench.base.source
    tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    turns = [[{"role": "user", "content": text}] for text in asked]
    encoded = [tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"] for turn in turns]
    return list(zip(asked, map(list, encoded), strict=True))


def _figures(one: Benchmark, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each figure with its interval over the questions, and every question."""
    figures = {}
    for figure in one.figures:
        values = [sample[figure] for sample in samples if figure in sample]
        if values:
            # Shares of instructions are weighted by how many a prompt has.
            weights = [float(len(value)) if isinstance(value, list) else 1.0 for value in values]
            shares = [sum(value) / len(value) if isinstance(value, list) else float(value) for value in values]
            figures[figure] = judging.as_document(interval(shares, weights=weights))
    # Some figures are shares of a question's probability and call no answer right or wrong.
    decided = all(sample[one.figures[0]] in (0, 1) for sample in samples)
    items = [
        {
            "id": str(sample["doc"].get("id", sample["doc"].get("key", sample["doc_id"]))),
            "question": sample["doc"].get("prompt") or sample["doc"].get("question"),
            "answer": sample["filtered_resps"][0] if isinstance(sample["filtered_resps"][0], str) else None,
            "right": bool(sample[one.figures[0]]) if decided else None,
            **{figure: sample[figure] for figure in one.figures if figure in sample},
        }
        for sample in samples
    ]
    # A question with choices has one answer of the model to each of them.
    choices = [len(sample["resps"]) for sample in samples if len(sample["resps"]) > 1]
    return {"figures": figures, "chance": round(sum(1 / count for count in choices) / len(choices), 4) if choices else None, "items": items}
