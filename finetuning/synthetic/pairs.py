"""Preference pairs that can be made honestly: why the chosen answer is the better one is known, not guessed.

Most kinds come from curated rows: the answer against the base's own where that lacks the facts, whole against cut off, right against
wrong key facts, to the point against the answer to another question, and the answer against the same one said rudely, going round in
circles or with its words jumbled, and against a refusal. The last kind are the user's own picks.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.facts import is_right
from assistant.core.paths import Paths
from assistant.core.preferences import picks_file
from assistant.core.prompts import from_input_text
from assistant.core.values import Message

CUT, WRONG, OTHER, OWN, PICK = "cut off", "wrong fact", "another answer", "the base's own", "picked"
RUDE, CIRCLES, JUMBLED, REFUSED = "rude", "in circles", "jumbled", "refused"
# Shorter answers cannot be cut so that it shows.
CUT_WORDS = 8
_NUMBER = re.compile(r"\d+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
# What makes an answer rude: words before it, after it, or both.
_BEFORE = (
    "Look, ", "Obviously, ", "Ugh, fine. ", "As anyone with half a brain knows, ", "I can't believe you have to ask this. ", "Seriously? ",
    "If you had paid attention, you would know: ", "For the last time: ", "Not that you would understand it, but ",
    "What a silly question. ", "Let me spell it out for you, since you clearly need it: ", "How can you not know this? ",
    "Well, duh: ", "Oh, come on. ",
)  # fmt: skip
_AFTER = (
    " Was that so hard?", " Now stop wasting my time.", " Anyone could have told you that.", " Try to remember it this time.",
    " Get over it.", " Even a child knows that.", " But you will forget it anyway.", " Next time look it up yourself.",
)  # fmt: skip
_REFUSALS = (
    "I'm sorry, but I can't help with that.", "I am not able to answer this question.", "Sorry, I don't know anything about that.",
    "I'd rather not answer that. Please ask somebody else.", "I'm afraid this is beyond what I can do for you.", "I don't know.",
    "That is hard to say. It depends on many things.", "There are many answers to this question, and all of them are important.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same messages, the better one chosen; ``source`` says what makes it better."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str

    def row(self, when: str) -> dict[str, Any]:
        """As a line of a preference file, the same form as ``picks.jsonl``."""
        prompt = [asdict(message) for message in self.prompt]
        return {"prompt": prompt, "chosen": self.chosen, "rejected": self.rejected, "source": self.source, "when": when}


def one_a_question(path: Path, seed: int) -> list[dict[str, Any]]:
    """The rows of a dialogue file, one wording an entry, shuffled by the seed."""
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(files.read_jsonl(path)):
        found.setdefault(str(row.get("id", number)), row)
    rows = list(found.values())
    random.Random(f"{seed}/pairs").shuffle(rows)
    return rows


def curated(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> Iterator[Pair]:
    """About ``count`` pairs of the kinds that need no model, in equal parts; each row serves one pair."""
    kinds: dict[str, Callable[..., Pair | None]] = {
        WRONG: _wrong,
        CUT: _cut,
        OTHER: _other,
        RUDE: _rude,
        CIRCLES: _circles,
        JUMBLED: _jumbled,
        REFUSED: _refused,
    }
    made = Counter[str]()
    for place, row in enumerate(rows):
        if made.total() == count:
            return
        draw = random.Random(f"{seed}/pair/{place}")
        # The kind with the fewest pairs comes first; a row that it cannot use may do for the next.
        found = (kinds[name](row, rows, draw) for name in sorted(kinds, key=lambda name: made[name]))
        pair = next((pair for pair in found if pair), None)
        if pair:
            made[pair.source] += 1
            yield pair


def own(rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> Iterator[Pair]:
    """The curated answer against the base's own, where that one lacks key facts."""
    for row, answer in zip(rows, answers, strict=True):
        if answer.strip() and is_right(answer, row.get("key_facts") or []) is False:
            yield Pair(prompt_of(row), row["target_text"], answer.strip(), OWN)


def picked(paths: Paths) -> list[Pair]:
    """What users of this root have picked."""
    path = picks_file(paths)
    if not path.is_file():
        return []
    return [of_row(row, PICK) for row in files.read_jsonl(path)]


def of_row(row: Mapping[str, Any], source: str = "") -> Pair:
    """A line of a preference file as a pair."""
    messages = tuple(Message(message["role"], message["content"]) for message in row["prompt"])
    return Pair(messages, row["chosen"], row["rejected"], source or str(row.get("source", "")))


def prompt_of(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a dialogue row."""
    return tuple(from_input_text(row["input_text"]))


def _cut(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    words = row["target_text"].split(" ")
    if len(words) < CUT_WORDS:
        return None
    kept = " ".join(words[: int(len(words) * draw.uniform(0.3, 0.7))]).rstrip(" .,;:!?")
    return Pair(prompt_of(row), row["target_text"], kept, CUT) if kept else None


def _wrong(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    """One key fact replaced by another row's of the same kind, so that only the fact tells the answers apart."""
    facts, answer = row.get("key_facts") or [], row["target_text"]
    there = [fact for fact in facts if fact in answer]
    if not there:
        return None
    fact = draw.choice(there)
    for _ in range(20):
        other = draw.choice(rows)
        for rival in other.get("key_facts") or []:
            if rival.casefold() != fact.casefold() and rival not in answer and _alike(fact, rival) and other["category"] == row["category"]:
                wrong = answer.replace(fact, rival)
                if is_right(wrong, facts) is False:
                    return Pair(prompt_of(row), answer, wrong, WRONG)
    return None


def _other(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    other = draw.choice(rows)
    if other["target_text"] == row["target_text"] or other["input_text"] == row["input_text"]:
        return None
    return Pair(prompt_of(row), row["target_text"], other["target_text"], OTHER)


def _rude(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    answer = row["target_text"]
    before, after = draw.choice([(True, False), (False, True), (True, True)])
    said = draw.choice(_BEFORE) if before else ""
    # Behind a comma or a colon the sentence goes on with a small letter, where it begins with an ordinary word.
    goes_on = said.rstrip().endswith((",", ":", "but")) and answer[1:2].islower() and not answer.startswith("I ")
    answer = said + (answer[0].lower() + answer[1:] if goes_on else answer) + (draw.choice(_AFTER) if after else "")
    return Pair(prompt_of(row), row["target_text"], answer, RUDE)


def _circles(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    """A sentence of the answer said again and again, in the place of what comes after it."""
    sentences = _SENTENCE.split(row["target_text"])
    upto = draw.randint(1, len(sentences))
    return Pair(prompt_of(row), row["target_text"], " ".join([*sentences[:upto], *[sentences[upto - 1]] * draw.randint(1, 4)]), CIRCLES)


def _jumbled(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    """Some neighbouring words change places."""
    words = row["target_text"].split(" ")
    if len(words) < CUT_WORDS:
        return None
    for place in draw.sample(range(len(words) - 1), max(2, len(words) // 4)):
        words[place], words[place + 1] = words[place + 1], words[place]
    return Pair(prompt_of(row), row["target_text"], " ".join(words), JUMBLED)


def _refused(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], draw: random.Random) -> Pair | None:
    return Pair(prompt_of(row), row["target_text"], draw.choice(_REFUSALS), REFUSED)


def _alike(fact: str, rival: str) -> bool:
    return bool(_NUMBER.search(fact)) == bool(_NUMBER.search(rival)) and fact[:1].isupper() == rival[:1].isupper()
