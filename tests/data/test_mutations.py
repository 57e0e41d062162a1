import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_room import dialogue

from assistant.core.errors import DataError
from finetuning.data import shapes
from finetuning.data.audit import Audit
from finetuning.data.checks import check_row
from finetuning.data.config import DataLimits
from finetuning.data.reader import read
from finetuning.data.sources import open_source

FILES = 5200
LIMITS = DataLimits()
WORDS = ["line", "arc", "wall", "roof", "벽", "선", "naïve", "x" * 40, "“quoted”", "1,000", 'a "b" c', "tab\there"]


def sound_rows(rng: random.Random) -> list[dict]:
    return [
        dialogue(f"Question {number} about {rng.choice(WORDS)}?", f"Answer {number}: {rng.choice(WORDS)}.")
        for number in range(rng.randint(2, 6))
    ]


def truncated(line: bytes, rng: random.Random) -> bytes:
    return line[: rng.randrange(1, len(line) - 1)]


def wrong_encoding(line: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(line))
    return line[:place] + bytes([rng.choice((0xE9, 0xFF, 0xC0, 0x80))]) + line[place:]


def wrong_type(line: bytes, rng: random.Random) -> bytes:
    row = json.loads(line)
    row[rng.choice(("input_text", "target_text"))] = rng.choice((5, None, True, [], ["a"], {}, {"a": 1}, 1.5))
    return json.dumps(row).encode()


def missing_field(line: bytes, rng: random.Random) -> bytes:
    row = json.loads(line)
    row.pop(rng.choice(("input_text", "target_text")))
    return json.dumps(row).encode()


def empty_field(line: bytes, rng: random.Random) -> bytes:
    row = json.loads(line)
    row[rng.choice(("input_text", "target_text"))] = rng.choice(("", " ", "\n\t"))
    return json.dumps(row).encode()


def huge(line: bytes, rng: random.Random) -> bytes:
    return json.dumps({**json.loads(line), "target_text": "word " * rng.randrange(1300, 9000)}).encode()


def raw_nuls(line: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(1, len(line))
    return line[:place] + b"\0" * rng.randrange(1, 9) + line[place:]


def nested(line: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((50, 2000, 60_000))
    return b'{"input_text": ' + b"[" * depth + b"]" * depth + b', "target_text": "x"}'


def duplicate_key(line: bytes, rng: random.Random) -> bytes:
    return line[:-1] + b', "target_text": "another"}'


def other_json(line: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"[]", b"null", b"3", b'"text"', b"[1, {}]", b"NaN", b"{}", b"9" * 6000))


def noise(line: bytes, rng: random.Random) -> bytes:
    return bytes(rng.choice(b'{}[]",:\\ \xff\x00abc') for _ in range(rng.randrange(1, 60))).replace(b"\n", b"") + b"!"


MUTATIONS = (truncated, wrong_encoding, wrong_type, missing_field, empty_field, huge, raw_nuls, nested, duplicate_key, other_json, noise)


def mutated(seed: int) -> tuple[bytes, set[int], list[dict]]:
    """A file with some broken lines: its bytes, the numbers of the broken lines, and the rows that are still good."""
    rng = random.Random(seed)
    rows = sound_rows(rng)
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    broken = set(rng.sample(range(len(lines)), rng.randint(1, len(lines) - 1)))
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    for place in broken:
        lines[place] = mutation(lines[place], rng)
    end = rng.choice((b"\n", b"\r\n"))
    return (
        end.join(lines) + rng.choice((b"", end)),
        {place + 1 for place in broken},
        [row for place, row in enumerate(rows) if place not in broken],
    )


def examined(path: Path) -> tuple[set[int], list[dict]]:
    """What the validator makes of a file: the lines with a fault, and the rows without."""
    faults, good, audit = set(), [], Audit(english=False)
    for line in read(path):
        found = [item for item in check_row(line.row, "dialogue", LIMITS) if not item.warning] if line.row is not None else [line]
        if found:
            faults.add(line.number)
            continue
        list(audit.add(path.name, line.number, line.row, "dialogue"))
        good.append(line.row)
    list(audit.results(LIMITS))
    return faults, good


def imported(path: Path) -> tuple[set[int], list[str]]:
    """What the importer makes of a file: the lines it rejects, and the answers it takes."""
    rejected, taken = set(), []
    for raw in open_source(path).rows():
        if raw.values is None:
            rejected.add(raw.line)
            continue
        try:
            made = list(shapes.records(raw.values, {"question": "input_text", "answer": "target_text"}))
        except shapes.Unusable:
            rejected.add(raw.line)
            continue
        taken += [record.answer for record in made]
    return rejected, taken


def seeds(first: int) -> Iterator[int]:
    return iter(range(first, FILES, 4))


@pytest.mark.parametrize("first", range(4))
def test_of_thousands_of_mutated_files_each_fault_is_located_and_no_good_row_is_lost(tmp_path: Path, first: int):
    path = tmp_path / "train.jsonl"
    for seed in seeds(first):
        content, broken, good = mutated(seed)
        path.write_bytes(content)
        faults, kept = examined(path)
        assert faults == broken, (seed, content)
        assert kept == good, (seed, content)


def test_the_importer_survives_the_same_files_and_takes_every_good_row(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    for seed in range(0, FILES, 7):
        content, broken, good = mutated(seed)
        path.write_bytes(content)
        try:
            rejected, taken = imported(path)
        except DataError as error:
            # Only where no encoding fits a file of a few lines, and then in a sentence.
            assert "encoding" in error.what, seed
            continue
        assert rejected <= broken, (seed, content)
        missing = [row["target_text"] for row in good if row["target_text"].strip() not in taken]
        assert not missing, (seed, content)


def test_mutated_tables_cost_only_the_mutated_records(tmp_path: Path):
    path = tmp_path / "rows.csv"
    for seed in range(600):
        rng = random.Random(seed)
        rows = [(f"Question {number}, {rng.choice(WORDS[:6])}?", f'Answer "{number}" here.') for number in range(rng.randint(3, 8))]
        lines = ["question,answer", *(",".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows)]
        place = rng.randrange(1, len(lines))
        lines[place] = rng.choice(
            (lines[place][:-1], lines[place] + ",extra", '"' + lines[place], "\udce9" + lines[place], "a\0b", '",",",')
        )
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
        taken = [
            (raw.values["question"], raw.values["answer"])
            for raw in open_source(path, "utf-8", ",").rows()
            if raw.values and "answer" in raw.values
        ]
        for number, row in enumerate(rows, 1):
            if number != place:
                assert row in taken, (seed, lines)


def test_a_line_of_many_megabytes_is_a_fault_and_the_next_row_is_read(tmp_path: Path):
    path = tmp_path / "train.jsonl"
    row = json.dumps(dialogue("What?", "That.")).encode()
    path.write_bytes(b'{"input_text": "' + b"x" * (17 << 20) + b'"}\n' + row + b"\n")
    assert [(line.number, line.code) for line in read(path)] == [(1, "line_length"), (2, "")]


def test_every_mutation_is_used():
    assert len({MUTATIONS[seed % len(MUTATIONS)] for seed in itertools.islice(seeds(0), 100)}) == len(MUTATIONS)
