"""Read the hand-written corpus, and name the line of everything wrong in it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assistant.core.errors import DataError
from assistant.core.facts import facts_present, normalise
from assistant.core.values import CATEGORIES
from finetuning.data.records import DIFFICULTIES, Dialogue, Entry, Question

_COMMON = {"id", "topic", "difficulty", "comment_ko"}
_ENTRY = _COMMON | {"phrasings", "answer"}
_OPTIONAL = {"more_phrasings"}
_EXPERT = {"expert_answer", "key_facts", "expert_facts"}
_DIALOGUE = _COMMON | {"category", "turns"}
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Corpus:
    """All entries, dialogues and bare questions, in the order of their files, and a hash of those files."""

    entries: tuple[Entry, ...]
    dialogues: tuple[Dialogue, ...]
    questions: tuple[Question, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class CorpusFault:
    """Something wrong with one entry."""

    source: str
    line: int
    id: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line} ({self.id}): {self.message}"


def load(folder: Path) -> Corpus:
    """The corpus; every entry that cannot be used is named in one DataError."""
    entries: list[Entry] = []
    dialogues: list[Dialogue] = []
    faults: list[CorpusFault] = []
    digest = hashlib.sha256()
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("*/*.yaml")):
        source = path.relative_to(folder).as_posix()
        digest.update(source.encode() + b"\0" + path.read_bytes())
        for line, block in _blocks(path, source):
            found = _structure(block, path.parent.name, source, line)
            name = str(block.get("id", "no id")) if isinstance(block, dict) else "no id"
            if name in seen:
                found.append(CorpusFault(source, line, name, f"the id is used before, in {seen[name]}."))
            seen[name] = f"{source}, line {line}"
            faults += found
            if found:
                continue
            if "turns" in block:
                dialogues.append(_dialogue(block, source, line))
            else:
                entries.append(_entry(block, path.parent.name, source, line))
    _refuse(faults)
    if not entries:
        raise DataError(f"The corpus folder {folder} holds no entries.", "Put YAML files under its folders qna, technical and general.")
    return Corpus(tuple(entries), tuple(dialogues), tuple(_questions(folder, digest)), digest.hexdigest())


def _questions(folder: Path, digest: Any) -> Iterator[Question]:
    """The bare questions: a line each, in ``questions/CATEGORY.txt``; empty lines and heads (``# …``) are for the reader."""
    for category in CATEGORIES:
        path = folder / "questions" / f"{category}.txt"
        if not path.is_file():
            continue
        source = path.relative_to(folder).as_posix()
        digest.update(source.encode() + b"\0" + path.read_bytes())
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"The corpus file {source} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
        yield from (Question(line.strip(), category, source) for line in lines if line.strip() and not line.startswith("#"))


def weaknesses(corpus: Corpus) -> list[CorpusFault]:
    """What can be used but teaches badly: facts that an answer lacks, repeated wordings, answers too short or too long."""
    faults: list[CorpusFault] = []
    asked: dict[str, str] = {}
    for entry in corpus.entries:

        def say(message: str, entry: Entry = entry) -> None:
            faults.append(CorpusFault(entry.source, entry.line, entry.id, message))

        for message in _weak(entry):
            say(message)
        for phrasing in entry.wordings:
            other = asked.setdefault(normalise(phrasing), entry.id)
            if other != entry.id:
                say(f"'{phrasing}' is also a phrasing of {other}.")
        if len({normalise(phrasing) for phrasing in entry.wordings}) < len(entry.wordings):
            say("two phrasings are the same but for case and punctuation.")
    for dialogue in corpus.dialogues:
        if not re.search(r"[가-힣]", dialogue.comment_ko):
            faults.append(CorpusFault(dialogue.source, dialogue.line, dialogue.id, "comment_ko holds no Korean."))
    return faults


def _weak(entry: Entry) -> Iterator[str]:
    if len(entry.phrasings) < 6:
        yield f"{len(entry.phrasings)} phrasings; write at least 6."
    if not 4 <= len(entry.answer.split()) <= 60:
        yield f"the answer has {len(entry.answer.split())} words; 4 to 60 are brief and enough."
    if not re.search(r"[가-힣]", entry.comment_ko):
        yield "comment_ko holds no Korean."
    if entry.category == "general":
        return
    if not 35 <= len(entry.expert_answer.split()) <= 80:
        yield f"the expert answer has {len(entry.expert_answer.split())} words; 35 to 80 are complete and learnable."
    for name, facts, answers in (
        ("key_facts", entry.key_facts, {"answer": entry.answer, "expert_answer": entry.expert_answer}),
        ("expert_facts", entry.expert_facts, {"expert_answer": entry.expert_answer}),
    ):
        if not 1 <= len(facts) <= 4:
            yield f"{name} holds {len(facts)} facts; 1 to 4."
        if any(len(fact.split()) > 5 for fact in facts):
            yield f"a fact of {name} has more than 5 words."
        for where, answer in answers.items():
            for fact in sorted(set(facts) - set(facts_present(answer, facts))):
                yield f"'{fact}' of {name} is not in {where}."
    for fact in facts_present(entry.answer, entry.expert_facts):
        yield f"'{fact}' of expert_facts is already in the brief answer."


def _blocks(path: Path, source: str) -> Iterator[tuple[int, Any]]:
    """Each block of a file with its line; a file that is not a YAML list is a DataError."""
    loader = yaml.CSafeLoader(path.read_bytes())
    try:
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.SequenceNode):
            raise DataError(f"The corpus file {source} is not a list of entries.", "Begin every entry with `- id: …`.")
        for node in root.value:
            line = node.start_mark.line + 1
            if isinstance(node, yaml.MappingNode):
                _no_key_twice(node, source)
            yield line, loader.construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DataError(
            f"The corpus file {source}, line {line}: not valid YAML ({error.problem}).", 'Correct the line; quote texts with "…".'
        ) from error
    except yaml.YAMLError as error:
        raise DataError(f"The corpus file {source} is not valid YAML in UTF-8 ({error}).", "Correct the file.") from error
    finally:
        loader.dispose()


def _no_key_twice(node: yaml.MappingNode, source: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise DataError(
                f"The corpus file {source}, line {key.start_mark.line + 1}: '{key.value}' stands twice in one entry.", "Keep one of them."
            )
        seen.add(key.value)


def _structure(block: Any, folder: str, source: str, line: int) -> list[CorpusFault]:
    if not isinstance(block, dict):
        return [CorpusFault(source, line, "no id", "is not an entry with keys.")]
    name = str(block.get("id", "no id"))
    category = block.get("category") if "turns" in block else folder
    wanted = _DIALOGUE if "turns" in block else _ENTRY | (set() if folder == "general" else _EXPERT)
    messages = [f"has no '{key}'." for key in sorted(wanted - set(block))]
    known = wanted if "turns" in block else wanted | _OPTIONAL
    messages += [f"has an unknown key '{key}'." for key in sorted(map(str, set(block) - known))]
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        messages.append("the id must be lower-case words with dashes.")
    if category not in CATEGORIES:
        messages.append(f"the category '{category}' is not one of {', '.join(CATEGORIES)}.")
    if block.get("difficulty") not in DIFFICULTIES:
        messages.append(f"the difficulty is {block.get('difficulty')!r}; use one of {', '.join(DIFFICULTIES)}.")
    for key in ("topic", "answer", "expert_answer", "comment_ko"):
        if key in block and not _is_text(block[key]):
            messages.append(f"'{key}' is not text; quote it.")
    for key in ("phrasings", "more_phrasings", "key_facts", "expert_facts"):
        if key in block and not (isinstance(block[key], list) and block[key] and all(map(_is_text, block[key]))):
            messages.append(f"'{key}' is not a list of texts; quote each.")
    if "turns" in block and not _are_turns(block["turns"]):
        messages.append("'turns' is not a list of at least two turns with 'user' and 'assistant', both text.")
    return [CorpusFault(source, line, name, message) for message in messages]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_turns(turns: Any) -> bool:
    if not isinstance(turns, list) or len(turns) < 2:
        return False
    return all(isinstance(turn, dict) and set(turn) == {"user", "assistant"} and all(map(_is_text, turn.values())) for turn in turns)


def _entry(block: dict[str, Any], category: str, source: str, line: int) -> Entry:
    return Entry(
        id=block["id"],
        topic=block["topic"],
        category=category,
        difficulty=block["difficulty"],
        phrasings=tuple(text.strip() for text in block["phrasings"]),
        answer=block["answer"].strip(),
        expert_answer=block.get("expert_answer", "").strip(),
        key_facts=tuple(block.get("key_facts", ())),
        expert_facts=tuple(block.get("expert_facts", ())),
        comment_ko=block["comment_ko"].strip(),
        source=source,
        line=line,
        more_phrasings=tuple(text.strip() for text in block.get("more_phrasings", ())),
    )


def _dialogue(block: dict[str, Any], source: str, line: int) -> Dialogue:
    return Dialogue(
        id=block["id"],
        topic=block["topic"],
        category=block["category"],
        difficulty=block["difficulty"],
        turns=tuple((turn["user"].strip(), turn["assistant"].strip()) for turn in block["turns"]),
        comment_ko=block["comment_ko"].strip(),
        source=source,
        line=line,
    )


def _refuse(faults: list[CorpusFault]) -> None:
    if not faults:
        return
    shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    raise DataError(f"The corpus has {len(faults)} faults:\n{shown}{more}", "Correct these entries; docs/data.md describes the format.")
