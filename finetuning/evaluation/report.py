"""What a person reads of an evaluation: documents in, titles and tables out."""

from dataclasses import dataclass
from typing import Any

from assistant.core.events import Block, Chart, Lines, Table


@dataclass(frozen=True, slots=True)
class Readable:
    """A title and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def of_generation(document: dict[str, Any]) -> Readable:
    """The report of a generation evaluation."""
    blocks: list[Block] = []
    held_out = document.get("held_out")
    if held_out:
        blocks.append(_figures(document, held_out))
        for key, head in (("by_category", "category"), ("by_difficulty", "difficulty")):
            if len(held_out[key]) > 1:
                blocks.append(_parts(head, held_out[key]))
    blocks += [_suite(one) for one in document["suites"].values()]
    title = f"{document['subject']} on {document['engine']}"
    if held_out:
        found = held_out["figures"]
        told = f"key-fact recall {percent(found['key_fact_recall'])}, " if found["key_fact_recall"] else ""
        title += f": {told}loss {found['loss']['mean']:.3f} on {held_out['rows']} held-out rows"
    return Readable(title, tuple(blocks))


def of_classification(document: dict[str, Any]) -> Readable:
    """The report of a classification evaluation."""
    found = document["classification"]
    classes = Table(
        ("category", "precision", "recall", "F1", "rows"),
        tuple(
            (name, *(f"{one[key]:.3f}" for key in ("precision", "recall", "f1")), str(one["support"]))
            for name, one in found["classes"].items()
        ),
    )
    heads = list(next(iter(found["confusion"].values())))
    confusion = Table(
        ("true ↓ read →", *heads),
        tuple((true, *(str(counts[head]) for head in heads)) for true, counts in found["confusion"].items()),
        "Confusion",
    )
    levels = tuple((level, value) for level, value in found["complexity_by_difficulty"].items() if value is not None)
    lines = (
        f"macro-F1 {found['macro_f1']:.3f}; {found['unsure']} of {found['rows']} unsure",
        f"{found['milliseconds_a_question']:.0f} ms a question on {document['engine']}",
    )
    blocks: tuple[Block, ...] = (classes, confusion, Lines("", lines))
    if levels:
        blocks = (*blocks, Chart("Mean complexity by difficulty", levels))
    title = f"{document['subject']}: category accuracy {percent(found['accuracy_interval'])} on {found['rows']} questions"
    return Readable(title, blocks)


def percent(interval: dict[str, float]) -> str:
    """A share with its interval."""
    return f"{interval['mean']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"


def _figures(document: dict[str, Any], held_out: dict[str, Any]) -> Table:
    found, speed = held_out["figures"], document.get("speed") or {}
    loss, facts = found["loss"], found["key_fact_recall"]
    rows = [
        ("held-out loss", f"{loss['mean']:.3f} ({loss['low']:.3f} to {loss['high']:.3f}), perplexity {found['perplexity']:.2f}"),
        ("key-fact recall", f"{percent(facts)} on {found['fact_rows']} rows" if facts else "no key facts in these rows"),
        ("right", f"{found['right']:.1%}" if found["right"] is not None else "–"),
        ("expert facts", f"{found['expert_fact_recall']:.1%}" if found["expert_fact_recall"] is not None else "–"),
        ("ROUGE-L, chrF, F1", f"{found['rouge_l']:.3f}, {found['chrf']:.3f}, {found['token_f1']:.3f}"),
        ("repetition", f"{found['repeats']:.1%} of answers; distinct word pairs {found['distinct_pairs']:.1%}"),
        ("length", f"{found['words']:.0f} words; {found['too_short']:.1%} too short, {found['too_long']:.1%} too long"),
        ("decoding", f"greedy, at most {held_out['decoding']['max_tokens']} tokens, seed {held_out['decoding']['seed']}"),
    ]
    if speed.get("first_token_seconds") is not None:
        rate = f", {speed['tokens_per_second']:.0f} tokens/s" if speed["tokens_per_second"] else ""
        rows.append(("speed", f"first token {speed['first_token_seconds']:.2f} s{rate}; {speed['memory_mb']:,} MB here"))
    if speed.get("switch_seconds") is not None:
        rows.append(("switch", f"{speed['switch_seconds'] * 1000:.0f} ms later after an answer of the base"))
    return Table(("figure", "value"), tuple(rows))


def _parts(head: str, parts: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, found in parts.items():
        facts = percent(found["key_fact_recall"]) if found["key_fact_recall"] else "–"
        rows.append((name, str(found["rows"]), f"{found['loss']['mean']:.3f}", facts, f"{found['rouge_l']:.3f}", f"{found['words']:.0f}"))
    return Table((head, "rows", "loss", "key-fact recall", "ROUGE-L", "words"), tuple(rows))


def _suite(one: dict[str, Any]) -> Table:
    rows = [("all", f"{one['right']} of {one['questions']}", percent(one["accuracy"]))]
    for name, part in one["groups"].items():
        rows.append((name, f"{part['right']} of {part['questions']}", f"{part['right'] / part['questions']:.0%}"))
    chance = f" (guessing: {one['chance']:.0%})" if one["chance"] else ""
    return Table(("group", "right", "share"), tuple(rows), f"{one['suite'].replace('_', ' ').capitalize()}{chance}")
