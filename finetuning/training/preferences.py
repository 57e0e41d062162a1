"""Preference pairs: where they come from, the two files a run is trained and judged on, and the pairs as token ids. No torch."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths, find
from assistant.core.preferences import picks_file
from assistant.core.prompts import ChatFormat, system_prompt
from assistant.core.values import Message
from finetuning.synthetic import pairs as pairing
from finetuning.synthetic.pairs import Pair
from finetuning.training import plan as plans
from finetuning.training.plan import DatasetFile
from finetuning.training.rows import FAULTS_NAMED, Encoded, Row, about_tokens

PICKS, SYNTHETIC, CURATED = "picks", "synthetic", "curated"
# Curated pairs, where no others were asked for: as many as the published pipeline has.
CURATED_PAIRS = 600
JUDGED_SHARE = 0.2
_FIELDS = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Gathered:
    """The pairs of a run, divided: how many come from where, how many were left out for two equal answers, and the files."""

    counts: dict[str, int]
    equal: int
    train: DatasetFile
    validation: DatasetFile


def gather(paths: Paths, model: str, wanted: Sequence[str], seed: int) -> Gathered:
    """Collect the pairs of the named sources (none: your picks and synthetic pairs, or curated ones where there is no pair of either).

    They are divided by their questions, a fifth to judge, and written where their content names them: the same pairs are the same
    files, and a run that is resumed later finds its own.
    """
    sources = {name: _of(paths, model, name, seed) for name in wanted} or _usual(paths) or {CURATED: _of(paths, model, CURATED, seed)}
    counts: dict[str, int] = {}
    found: list[Pair] = []
    equal = 0
    for name, pairs in sources.items():
        told = [_with_system(pair, model) for pair in pairs if pair.chosen.strip() != pair.rejected.strip()]
        counts[name] = len(told)
        equal += len(pairs) - len(told)
        found += told
    questions = list(dict.fromkeys(pair.prompt for pair in found))
    if len(questions) < 2:
        raise DataError(
            f"Preferences need pairs of two different answers to at least two questions; there is {len(questions)} ({', '.join(sources)}).",
            "Pick answers (`compare --blind`, `good:`, `bad:`), or name a file of pairs with --pairs FILE.",
        )
    random.Random(f"{seed}/preferences").shuffle(questions)
    judged = set(questions[: max(1, round(len(questions) * JUDGED_SHARE))])
    parts = [pair for pair in found if pair.prompt not in judged], [pair for pair in found if pair.prompt in judged]
    train, validation = (_written(paths, model, name, part) for name, part in zip(("train", "validation"), parts, strict=True))
    return Gathered(counts, equal, train, validation)


def encode(path: Path, chat: ChatFormat, model: str, max_length: int) -> Encoded:
    """Every pair of a file as token ids; an answer that is cut at ``max_length`` is counted."""
    rows, cut = [], 0
    for pair in load(path):
        prompt = chat.encode(list(pair.prompt))[: max_length - 1]
        chosen, rejected = (list(chat.encode_answer(text)) for text in (pair.chosen, pair.rejected))
        room = max_length - len(prompt)
        cut += max(len(chosen), len(rejected)) > room
        rows.append(Row((*prompt, *chosen[:room]), len(prompt), tuple(rejected[:room])))
    if not rows:
        raise DataError(f"{path} holds no pairs.", "Start a new run with `prefer`.")
    return Encoded(tuple(rows), cut)


def estimated(path: Path, model: str, max_length: int) -> Encoded:
    """Pairs of about the right lengths, for a base whose tokenizer needs transformers."""
    rows = []
    for pair in load(path):
        prompt = min(max_length - 1, sum(about_tokens(message.content) + 5 for message in pair.prompt))
        chosen, rejected = (min(about_tokens(text) + 2, max_length - prompt) for text in (pair.chosen, pair.rejected))
        rows.append(Row((0,) * (prompt + chosen), prompt, (0,) * rejected))
    return Encoded(tuple(rows))


def load(path: Path) -> list[Pair]:
    """The pairs of a file of JSON lines or of one JSON array; the first faults are named in one DataError with their places."""
    if not path.is_file():
        raise DataError(f"{path} does not exist.", "Name a file of pairs, or make some: `synthesize`, `compare --blind`.")
    found, faults = [], []
    for number, row in enumerate(_rows(path), 1):
        pair, fault = _pair(row)
        if pair is None:
            faults.append(f"{path.name}, pair {number}: {fault}")
        else:
            found.append(pair)
    if faults:
        more = f" And {len(faults) - FAULTS_NAMED} more." if len(faults) > FAULTS_NAMED else ""
        fix = 'A pair is {"prompt": a question or messages, "chosen": the better answer, "rejected": the other one}.'
        raise DataError(" ".join(faults[:FAULTS_NAMED]) + more, fix)
    return found


def weights(folder: Path) -> str:
    """The hash of a version's adapter, "" where there is none."""
    path = folder / "adapter_model.safetensors"
    return files.sha256(path) if path.is_file() else ""


def _usual(paths: Paths) -> dict[str, list[Pair]]:
    """Your picks and the synthetic pairs, where there are any."""
    there = {name: path for name in (PICKS, SYNTHETIC) if (path := _file(paths, name)).is_file()}
    return {name: pairs for name, path in there.items() if (pairs := load(path))}


def _of(paths: Paths, model: str, name: str, seed: int) -> list[Pair]:
    if name == CURATED:
        _, train, _ = plans.sources(paths, model)
        if not train.is_file():
            raise DataError(f"{train} does not exist, so no pairs can be made of it.", "Write the training files first: `generate`.")
        return list(pairing.curated(pairing.one_a_question(train, seed), CURATED_PAIRS, seed))
    found = load(_file(paths, name))
    if not found:
        raise DataError(f"{_file(paths, name)} holds no pairs.", "Make some: `synthesize`, `compare --blind`.")
    return found


def _file(paths: Paths, name: str) -> Path:
    known = {PICKS: picks_file(paths), SYNTHETIC: paths.datasets / "synthetic" / "preference" / "dpo_data.json"}
    return known.get(name) or find(name, paths)


def _rows(path: Path) -> Iterable[Any]:
    if path.suffix == ".json":
        document = files.read_json(path)
        if not isinstance(document, list):
            raise DataError(f"{path} holds no list of pairs.", "Write a JSON array, or one pair a line in a .jsonl file.")
        return document
    return files.read_jsonl(path)


def _pair(row: Any) -> tuple[Pair | None, str]:
    """A pair, or what is wrong with it."""
    if not isinstance(row, dict):
        return None, "not a JSON object."
    prompt = row.get("prompt", row.get("question", row.get("instruction")))
    if isinstance(prompt, str) and prompt.strip():
        more = row.get("input")
        asked = f"{prompt.strip()}\n{more.strip()}" if isinstance(more, str) and more.strip() else prompt.strip()
        row = {**row, "prompt": [{"role": "user", "content": asked}]}
    elif not isinstance(prompt, list) or not prompt or not all(_is_message(message) for message in prompt):
        return None, "'prompt' is neither a question nor a list of messages with role and content."
    # Where only the rejected answer is called so, the answer of the row is the chosen one.
    row = {**row, "chosen": row.get("chosen", row.get("output"))}
    for name in _FIELDS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            return None, f"'{name}' is missing or empty."
    return pairing.of_row(row), ""


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("system", "user", "assistant") and isinstance(message.get("content"), str)


def _with_system(pair: Pair, model: str) -> Pair:
    if pair.prompt[0].role == "system":
        return pair
    return replace(pair, prompt=(Message("system", system_prompt(model)), *pair.prompt))


def _written(paths: Paths, model: str, name: str, pairs: Sequence[Pair]) -> DatasetFile:
    lines = [json.dumps({"prompt": [asdict(one) for one in pair.prompt], **_answers(pair)}, ensure_ascii=False) for pair in pairs]
    text = "".join(f"{line}\n" for line in lines)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = paths.datasets / "preference" / f"{model}_{digest[:8]}_{name}.jsonl"
    if not path.is_file() or files.sha256(path) != digest:
        files.write_text(path, text)
    return DatasetFile(path.relative_to(paths.datasets).as_posix(), digest)


def _answers(pair: Pair) -> dict[str, str]:
    return {"chosen": pair.chosen, "rejected": pair.rejected, "source": pair.source}
