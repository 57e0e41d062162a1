"""Compare two readers of a question: the probe on the base's state, and label tokens that a LoRA says before its answer.

    python benchmarks/classifier.py [--root DIR] [--seconds 200] [--public DIR] [--rows N] [--probe FILE] [--json]

The probe is the live one of the root, or FILE. The label reader is a LoRA of rank 16 on the base, trained on
`classification_train.jsonl` for so many seconds to say one of three tokens under the unified model's prompt (0: it is left out).
Both are judged on the test splits and on questions of others (never trained on) in DIR; latency is measured in llama.cpp:
an embedding for the probe, two decode steps for the label (its token and the one that ends it).
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import spinning  # noqa: E402

os.environ.update(spinning.shortly(os.environ))

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

from assistant.core import files  # noqa: E402
from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.prompts import SYSTEM  # noqa: E402
from assistant.core.store import Store  # noqa: E402
from assistant.core.values import CATEGORIES, Adapter, Message, Sampling  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.engine import gguf_adapter, hf  # noqa: E402
from assistant.engine.llama import LlamaEngine  # noqa: E402
from assistant.router import classifier  # noqa: E402

LABELS = (" q", " t", " g")
BATCH, RATE, RANK = 16, 1e-3, 16
TIMED = 40
# Intents of CLINC that are small talk; the others ask a device to do something.
SMALL_TALK = {
    "who_made_you",
    "weather",
    "greeting",
    "goodbye",
    "tell_joke",
    "thank_you",
    "how_old_are_you",
    "meaning_of_life",
    "are_you_a_bot",
    "what_is_your_name",
    "what_are_your_hobbies",
    "do_you_have_pets",
    "where_are_you_from",
    "fun_fact",
    "what_can_i_ask_you",
    "who_do_you_work_for",
}

Questions = list[tuple[str, str]]
Reader = Callable[[Sequence[str]], list[str]]


def main() -> None:
    """Measure both and print the result."""
    given = arguments()
    torch.set_num_threads(2)
    root = places.resolve(given.root)
    settings = configuration.load(root)
    base = engines.base_of(settings, root)
    probe = classifier.load(Path(given.probe)) if given.probe else classifier.live(Store(root), base.name, base.sha256)[0]
    assert probe is not None, "this base has no probe; `train classifier` fits one"
    asked = questions(root, Path(given.public), given.rows)
    engine = hf.HfEngine(base, settings.chat.context_tokens, root)

    def by_probe(texts: Sequence[str]) -> list[str]:
        states = engine.states([engine.format.encode(classifier.reading(text)) for text in texts])
        judged = [probe.judge(state.tolist()).probabilities for state in states]
        return [max(one, key=one.__getitem__) for one in judged]

    result: dict[str, Any] = {"probe": {"accuracy": judge(by_probe, asked)}}
    engine.release()
    with tempfile.TemporaryDirectory() as folder:
        if given.seconds:
            reader, trained = label_reader(root, base, given.seconds, Path(folder))
            result["label"] = {**trained, "accuracy": judge(reader, asked)}
        result["latency_ms"] = latency(base, settings, [text for text, _ in asked["test"]][:TIMED], Path(folder) if given.seconds else None)
    print(json.dumps(result, indent=2) if given.json else table(result))


def arguments() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root")
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--public", default=str(PROJECT.parent / "shared" / "data"))
    parser.add_argument("--rows", type=int, default=200, help="questions of each kind, four times as many of the test split")
    parser.add_argument("--probe")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def questions(root: places.Paths, public: Path, rows: int) -> dict[str, Questions]:
    """By kind: questions with their category, a fixed random choice of each."""
    rng = random.Random(7)

    def some(kind: Questions) -> Questions:
        return rng.sample(kind, min(rows, len(kind)))

    def split(name: str) -> Questions:
        return [(row["text"], CATEGORIES[row["label"]]) for row in files.read_jsonl(root.processed / f"classification_{name}.jsonl")]

    test = split("test")
    found = {"test": rng.sample(test, min(4 * rows, len(test))), "test_phrasing": some(split("test_phrasing"))}
    if not public.is_dir():
        return found
    natural = files.read_jsonl(public / "knowledge" / "nq_open_first600.jsonl")
    science = files.read_jsonl(public / "knowledge" / "ARC-Easy-dev.jsonl")
    forum = files.read_json(public / "router" / "askubuntu_half.json")["sentences"]
    talk = [line.split("\t") for path in (public / "router").glob("clinc*.tsv") for line in path.read_text(encoding="utf-8").splitlines()]
    return found | {
        "natural questions": some([(row["question"], "qna") for row in natural]),
        "ARC stems": some([(row["question"]["stem"] if isinstance(row["question"], dict) else row["question"], "qna") for row in science]),
        "Ask-Ubuntu titles": some([(one["text"], "technical") for one in forum]),
        "CLINC small talk": some([(words[0], "general") for words in talk if words[1] in SMALL_TALK]),
    }


def judge(reader: Reader, asked: dict[str, Questions]) -> dict[str, float]:
    """Accuracy by kind."""
    figures = {}
    for kind, rows in asked.items():
        said = reader([text for text, _ in rows])
        figures[kind] = round(statistics.fmean(one == true for one, (_, true) in zip(said, rows, strict=True)), 3)
        print(f"{kind}: {figures[kind]} of {len(rows)}", file=sys.stderr, flush=True)
    return figures


def label_reader(root: places.Paths, base: engines.Base, seconds: float, folder: Path) -> tuple[Reader, dict[str, Any]]:
    """A LoRA trained to say a label token first, and what it was trained on; its adapter lies in ``folder`` in both forms."""
    torch.manual_seed(0)
    chat = hf.chat_format(base, root)
    tokens = [chat.encode_answer(label)[0] for label in LABELS]
    assert len(set(tokens)) == len(LABELS)
    config = LoraConfig(r=RANK, lora_alpha=RANK, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(hf.load_base(base, root), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    rows = [(prompt(chat, row["text"]), tokens[row["label"]]) for row in files.read_jsonl(root.processed / "classification_train.jsonl")]
    random.Random(0).shuffle(rows)
    trained = train(model, rows, seconds)
    print(f"label reader: {trained}", file=sys.stderr, flush=True)
    model.eval()
    model.save_pretrained(str(folder))
    shape = model.config
    gguf_adapter.write(folder, shape.num_attention_heads, shape.num_key_value_heads)

    def read(texts: Sequence[str]) -> list[str]:
        said = [""] * len(texts)
        prompts = [prompt(chat, text) for text in texts]
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            with torch.inference_mode():
                places = scores(model, [prompts[place] for place in chosen])[:, tokens].argmax(1).tolist()
            for place, label in zip(chosen, places, strict=True):
                said[place] = CATEGORIES[label]
        return said

    return read, trained


def prompt(chat: Any, text: str) -> list[int]:
    """The question under the unified model's prompt, cut like the probe's."""
    return chat.encode([Message("system", SYSTEM["unified"]), Message("user", text)])[-hf.READER_TOKENS :]


def train(model: Any, rows: list[tuple[list[int], int]], seconds: float) -> dict[str, Any]:
    """Learn the labels for so many seconds, at most one pass, the rate falling to 0."""
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=RATE)
    began, done, losses = time.perf_counter(), 0, []
    model.train()
    while done + BATCH <= len(rows) and (used := time.perf_counter() - began) < seconds:
        batch = rows[done : done + BATCH]
        left = 1 - max(used / seconds, done / len(rows))
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (done / BATCH + 1) / 10, left)
        wanted = torch.tensor([label for _, label in batch])
        loss = torch.nn.functional.cross_entropy(scores(model, [ids for ids, _ in batch]), wanted)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        done += BATCH
    last = losses[-10:]
    return {"rows": done, "of": len(rows), "seconds": round(time.perf_counter() - began), "last_loss": round(statistics.fmean(last), 3)}


def scores(model: Any, prompts: Sequence[list[int]]) -> torch.Tensor:
    """The logits after each prompt, (prompts, vocabulary)."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in prompts], batch_first=True)
    ends = torch.tensor([len(one) - 1 for one in prompts])
    mask = (torch.arange(ids.shape[1]) <= ends[:, None]).long()
    inner = model.get_base_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return inner.lm_head(states[torch.arange(len(prompts)), ends]).float()


def latency(base: engines.Base, settings: Any, texts: Sequence[str], folder: Path | None) -> dict[str, float]:
    """Milliseconds a decision, the median over questions, in llama.cpp."""
    engine = LlamaEngine(base, settings.chat.context_tokens)
    classifier.state(engine, "hello")
    found = {"probe": _median(lambda text: classifier.state(engine, text), texts)}
    if folder is not None:
        adapter = Adapter("label/0001", folder)
        engine.set_adapters([adapter])
        steps = []
        for text in texts[: TIMED // 2]:
            said = engine.stream(prompt(engine.format, text), adapter.key, Sampling(max_tokens=3), lambda: False)
            times = [time.perf_counter() for _ in said]
            if len(times) > 1:
                steps.append((times[-1] - times[0]) / (len(times) - 1) * 1000)
        found["label, two decode steps"] = round(2 * statistics.median(steps), 1) if steps else 0.0
        found["label, its own prefill"] = _median(
            lambda text: list(engine.stream(prompt(engine.format, text), adapter.key, Sampling(max_tokens=1), lambda: False)), texts
        )
    engine.release()
    return found


def _median(work: Callable[[str], Any], texts: Sequence[str]) -> float:
    times = []
    for text in texts:
        began = time.perf_counter()
        work(text)
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 1)


def table(result: dict[str, Any]) -> str:
    """The figures as lines."""
    label = result.get("label")
    lines = [f"{'accuracy':<22}{'probe':>8}{'label':>8}"]
    for kind, value in result["probe"]["accuracy"].items():
        lines.append(f"{kind:<22}{value:>8.3f}{label['accuracy'][kind] if label else float('nan'):>8.3f}")
    lines += [f"{name} (ms): {value}" for name, value in result["latency_ms"].items()]
    if label:
        lines.append(f"label reader: {label['rows']} of {label['of']} rows in {label['seconds']} s, last loss {label['last_loss']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
