"""Measure time to quality: how long PZ2's trainer and trl's SFTTrainer take until questions in new words are answered with their key facts.

    python benchmarks/quality.py [--root DIR] [--model unified|qna|technical] [--answers 100] [--goal 0.8] [--times 4]
                                 [--preset quality] [--exposures 24] [--alone] [--json]

Both learn the same answers with the same adapter, from the same start: PZ2 as the preset says, trl as it comes (bf16
base, its own batch size, learning rate, schedule, collator and loss) with gradient checkpointing off. trl gets --times as long as
PZ2 took, first with its own learning rate, then with PZ2's. Recall is measured with the adapter as it was at a few points of the
way, on wordings that nobody trained on; the seconds count the training alone. Forgetting is the loss on the base's own answers to
general questions that nobody trained on.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("PYTHONWARNINGS", "ignore")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assistant.core import spinning

os.environ.update(spinning.shortly(os.environ))

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from assistant.core import files
from assistant.core import paths as places
from assistant.core import settings as configuration
from assistant.core.facts import recall
from assistant.core.values import Adapter, Sampling
from assistant.engine import base as engines
from assistant.engine import hf
from datasets import Dataset, disable_progress_bars
from finetuning.training import plan as plans
from finetuning.training import replay, sft
from finetuning.training import rows as row_files
from finetuning.training import trainer as trainers
from finetuning.training.network import IGNORED, with_adapter
from finetuning.training.recipe import Recipe, recipe
from finetuning.training.rows import Row

# Steps of trl before its speed is read, and as many that are.
WARM = 6
POINTS = 6
ASKED = 80
FORGETTING = 40
ANSWER = {"unified": Sampling(max_tokens=96), "qna": Sampling(max_tokens=256), "technical": Sampling(max_tokens=256)}


@dataclass(frozen=True, slots=True)
class Task:
    """What both have to do: rows to learn, questions in new words with their facts, and what the base says to general ones."""

    base: Any
    paths: Any
    settings: Any
    chat: Any
    recipe: Recipe
    rows: list[Row]
    replayed: list[Row]
    kept: list[Row]
    prompts: list[list[int]]
    facts: list[list[str]]
    answer: Sampling


class Judge(TrainerCallback):
    """Stops the clock at some points of the way, asks the questions, and notes recall; ends the training when its time is over."""

    def __init__(self, task: Task, engine: Any, points: int, goal: float, limit: float = float("inf")) -> None:
        self.task, self.engine, self.goal, self.limit = task, engine, goal, limit
        self.points: list[dict[str, float]] = []
        self.every, self.model, self.seconds, self.since = points, None, 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.since = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Measure where it is due."""
        now = self.seconds + time.perf_counter() - self.since
        due = len(self.points) + 1
        step_due = state.global_step >= round(state.max_steps * due / self.every)
        time_due = self.limit < float("inf") and now >= self.limit * due / self.every
        if not (step_due or time_due or now >= self.limit):
            return control
        self.seconds = now
        self.points.append({"seconds": round(now, 1), "step": state.global_step, **measured(self.task, self.engine, self.model)})
        print("   ", self.points[-1], file=sys.stderr, flush=True)
        if self.points[-1]["recall"] >= self.goal or now >= self.limit:
            control.should_training_stop = True
        self.since = time.perf_counter()
        return control


def main() -> None:
    """Measure and print."""
    given = _arguments()
    disable_progress_bars()
    task = _task(given)
    engine = engines.make("hf", task.base, task.settings, task.paths)
    before = _asked(task, engine, None)
    ours = _run(task, engine, given, "pz2")
    reached = next((point["seconds"] for point in ours if point["recall"] >= given.goal), None)
    limit = given.times * (reached or ours[-1]["seconds"])
    rivals = () if given.alone else ("trl", "trl with PZ2's learning rate")
    seconds = _step_seconds(task) if rivals else 1.0
    theirs = {name: _run(task, engine, given, name, limit, max(20, int(limit / seconds))) for name in rivals}
    result = {
        "model": given.model,
        "answers": given.answers,
        "rows": len(task.rows),
        "goal": given.goal,
        "base_recall": before,
        "base_loss": _kept_loss(task, engine, None),
        "pz2": ours,
        **theirs,
    }
    if given.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{given.answers} answers of {given.model}, {len(task.rows)} rows; the base recalls {before:.2f}")
    for name in ("pz2", *theirs):
        points = result[name]
        hit = next((point for point in points if point["recall"] >= given.goal), None)
        end = f"reached {given.goal} after {hit['seconds']:.0f} s" if hit else f"not reached in {points[-1]['seconds']:.0f} s"
        print(f"{name:30} {end}; at the end recall {points[-1]['recall']:.2f}, loss on the base's answers {points[-1]['kept']:.3f}")
    print(f"{'the base itself':30} loss on its own answers {result['base_loss']:.3f}")


def measured(task: Task, engine: Any, model: Any) -> dict[str, float]:
    """Recall and forgetting of an adapter as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        adapter = Adapter(f"now/{time.time()}", Path(folder))
        engine.set_adapters([adapter])
        found = {"recall": _asked(task, engine, adapter.key), "kept": _kept_loss(task, engine, adapter.key)}
        engine.set_adapters([])
    return found


def _asked(task: Task, engine: Any, key: str | None) -> float:
    said = engine.batch(task.prompts, key, task.answer, scored=False)
    values = [recall(one.text, facts) for one, facts in zip(said, task.facts, strict=True)]
    return round(sum(value or 0.0 for value in values) / len(values), 3)


def _kept_loss(task: Task, engine: Any, key: str | None) -> float:
    scores = engine.score([(row.ids[: row.prompt], row.ids[row.prompt :]) for row in task.kept], key)
    return round(-sum(map(sum, scores)) / sum(map(len, scores)), 3)


def _run(
    task: Task, engine: Any, given: argparse.Namespace, name: str, limit: float = float("inf"), steps: int = 0
) -> list[dict[str, float]]:
    print(f"{name} …", file=sys.stderr, flush=True)
    model = with_adapter(hf.load_base(task.base, task.paths), task.recipe, plans.SEED)
    judge = Judge(task, engine, POINTS, given.goal, limit)
    tokenizer = trainers.tokenizer(task.base, task.chat, task.paths)
    with tempfile.TemporaryDirectory() as folder:
        if name == "pz2":
            plan = _plan(task, given)
            rows = row_files.opened(row_files.Encoded(tuple(task.rows)), task.recipe.openings, plans.SEED).rows
            trainer: Any = sft.AnswerTrainer(
                model, plan, [*rows, *task.replayed], tokenizer, Path(folder), [judge], replayed=len(task.replayed)
            )
        else:
            trainer = _theirs(task, model, tokenizer, folder, judge, None if name == "trl" else task.recipe.learning_rate, steps)
        judge.model = trainer.model
        trainer.train()
    return judge.points


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Note the time."""
        self.ends.append(time.perf_counter())
        return control


def _step_seconds(task: Task) -> float:
    """How long trl's steps take here, after the first ones: its learning rate falls until the last step, whose number it must be told."""
    clock = Clock()
    model = with_adapter(hf.load_base(task.base, task.paths), task.recipe, plans.SEED)
    with tempfile.TemporaryDirectory() as folder:
        _theirs(task, model, trainers.tokenizer(task.base, task.chat, task.paths), folder, clock, None, 2 * WARM).train()
    return (clock.ends[-1] - clock.ends[WARM - 1]) / WARM


def _theirs(task: Task, model: Any, tokenizer: Any, folder: str, callback: Any, rate: float | None, steps: int) -> Any:
    data = [{"input_ids": list(row.ids), "labels": [IGNORED] * row.prompt + list(row.ids[row.prompt :])} for row in task.rows]
    arguments = SFTConfig(
        output_dir=folder,
        max_steps=steps,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=plans.SEED,
        **({} if rate is None else {"learning_rate": rate}),
    )
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(data), processing_class=tokenizer, callbacks=[callback]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _plan(task: Task, given: argparse.Namespace) -> plans.TrainingPlan:
    data = plans.dataset(task.paths, given.model)
    parameters = plans.parameters(task.base)
    about = given.model, task.base.name, task.settings.base, task.base.sha256, parameters
    return plans.sealed(plans.TrainingPlan(*about, *data, given.preset, task.recipe, plans.SEED))


def _task(given: argparse.Namespace) -> Task:
    paths = places.resolve(given.root)
    settings = configuration.load(paths)
    base = engines.base_of(settings, paths)
    chat = hf.chat_format(base, paths)
    chosen = recipe(paths, given.preset, plans.scale(plans.parameters(base)), {"exposures": given.exposures})
    _, train, _ = plans.sources(paths, given.model)
    judged = train.with_name(train.name.replace("_train", "_test_phrasing"))
    documents, questions = files.read_jsonl(train), [row for row in files.read_jsonl(judged) if row.get("key_facts")]
    ids = sorted({row["id"] for row in documents} & {row["id"] for row in questions})
    chosen_ids = set(random.Random(plans.SEED).sample(ids, min(given.answers, len(ids))))
    rows = [row_files.encode_row(row, chat, given.model, chosen.max_length)[0] for row in documents if row["id"] in chosen_ids]
    asked = [row for row in questions if row["id"] in chosen_ids]
    asked = random.Random(plans.SEED).sample(asked, min(ASKED, len(asked)))
    system = row_files.system(train, given.model)
    wanted = replay.count(chosen, len(rows)) + FORGETTING
    kept = replay.rows(paths, settings, base, chat, system, wanted, lambda: False)
    sized = chosen.sized(len(rows), len({row.ids[row.prompt :] for row in rows}), sum(len(row.ids) for row in rows))
    return Task(
        base=base,
        paths=paths,
        settings=settings,
        chat=chat,
        recipe=replace(sized, packing=False),
        rows=rows,
        # A large sample replays prompts several times; those that judge stay out of it.
        replayed=[row for row in kept[FORGETTING:] if row not in kept[:FORGETTING]],
        kept=kept[:FORGETTING],
        prompts=[chat.encode(row_files.messages(row["input_text"], given.model)) for row in asked],
        facts=[row["key_facts"] for row in asked],
        answer=ANSWER[given.model],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--model", default="unified", choices=tuple(ANSWER))
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--goal", type=float, default=0.8)
    parser.add_argument("--times", type=float, default=4.0)
    parser.add_argument("--preset", default="quality")
    parser.add_argument("--exposures", type=float, help="how often PZ2 sees each answer (default: as the preset says)")
    parser.add_argument("--alone", action="store_true", help="PZ2 without trl")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
