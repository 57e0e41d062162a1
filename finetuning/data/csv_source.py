"""Read delimited text that anyone may have written, record by record; one broken record costs no other."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.core.errors import DataError
from finetuning.data.encodings import Encoding, open_text

DELIMITERS = (",", "\t", ";", "|", "^", "~", "\x1f", "\x01")
SAMPLE_RECORDS = 60
MOST_LINE_CHARACTERS = 4 << 20
# A quoted field may run over so many lines; an opening quote without an end within them is taken for a slip.
MOST_LINES_A_RECORD = 400


@dataclass(frozen=True, slots=True)
class Record:
    """One record with the number of its first line. ``fault`` says why it has no fields."""

    line: int
    fields: tuple[str, ...]
    fault: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields are kept apart. ``backslash`` when quotes inside quotes are written with a backslash."""

    delimiter: str
    backslash: bool = False

    def parse(self, text: str, strict: bool) -> list[str]:
        """The fields of one record; csv.Error when it is not one."""
        escape = {"escapechar": "\\", "doublequote": False} if self.backslash else {}
        rows = list(csv.reader([text], delimiter=self.delimiter, strict=strict, **escape))  # type: ignore[call-overload]
        return rows[0] if rows else []


def sniff(path: Path, encoding: Encoding) -> Dialect:
    """The delimiter that divides the first records most evenly; a DataError when the file holds one column only."""
    csv.field_size_limit(MOST_LINE_CHARACTERS * 2)
    with open_text(path, encoding) as file:
        sample = [file.readline(MOST_LINE_CHARACTERS) for _ in range(SAMPLE_RECORDS * 3)]
    backslash = sum('\\"' in line for line in sample) > sum('""' in line for line in sample)
    scores = {delimiter: _evenness(sample, Dialect(delimiter, backslash)) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best] <= 0:
        raise DataError(
            f"{path.name} has no columns: no delimiter divides its lines.",
            "Name the delimiter with --delimiter, or give a file with two columns.",
        )
    return Dialect(best, backslash)


def read(path: Path, encoding: Encoding, dialect: Dialect) -> Iterator[Record]:
    """The records, the head among them; blank lines are passed over."""
    csv.field_size_limit(MOST_LINE_CHARACTERS * 2)
    with open_text(path, encoding) as file:
        yield from _records(_lines(file), dialect)


def _lines(file) -> Iterator[tuple[int, str]]:  # type: ignore[no-untyped-def]
    number, text = 0, ""
    while text := file.readline(MOST_LINE_CHARACTERS):
        number += 1
        if len(text) == MOST_LINE_CHARACTERS and not text.endswith(("\n", "\r")):
            while (more := file.readline(1 << 20)) and not more.endswith(("\n", "\r")):
                pass
            text = ""
        yield number, text


def _records(lines: Iterator[tuple[int, str]], dialect: Dialect) -> Iterator[Record]:
    waiting: list[tuple[int, str]] = []
    width = 0
    while True:
        number, text = waiting.pop(0) if waiting else next(lines, (0, ""))
        if number == 0:
            return
        if not text:
            yield Record(number, (), f"the line is longer than {MOST_LINE_CHARACTERS:,} characters")
            continue
        bare = text.rstrip("\r\n")
        if not bare.strip():
            continue
        if '"' not in bare and not (dialect.backslash and "\\" in bare):
            record = Record(number, tuple(bare.split(dialect.delimiter)))
        else:
            record = _quoted(number, text, lines, waiting, dialect, width)
        width = width or len(record.fields)
        yield record


def _quoted(
    number: int, text: str, lines: Iterator[tuple[int, str]], waiting: list[tuple[int, str]], dialect: Dialect, width: int
) -> Record:
    """A record whose line holds a quote, with the lines that its quoted fields run over."""
    try:
        return Record(number, tuple(dialect.parse(text, strict=True)))
    except csv.Error as error:
        if "unexpected end of data" not in str(error):
            return _loose(number, text, dialect)
    taken: list[tuple[int, str]] = []
    whole = text
    while len(taken) < MOST_LINES_A_RECORD:
        following = waiting.pop(0) if waiting else next(lines, (0, ""))
        if following[0] == 0:
            break
        taken.append(following)
        whole += following[1]
        if '"' not in following[1]:
            continue
        try:
            fields = tuple(dialect.parse(whole, strict=True))
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                continue
            break
        if width and len(fields) != width:
            break
        return Record(number, fields)
    waiting[:0] = taken
    # In tab-separated files a quote is often just a character.
    if dialect.delimiter == "\t" and text.count("\t") + 1 == width:
        return Record(number, tuple(text.rstrip("\r\n").split("\t")))
    return Record(number, (), "a quote opens here and never closes", text.rstrip("\r\n")[:1000])


def _loose(number: int, text: str, dialect: Dialect) -> Record:
    """A line with quotes inside a field, such as ``5" pipe``, which the csv rules do not foresee."""
    try:
        fields = dialect.parse(text, strict=False)
    except csv.Error as error:
        return Record(number, (), f"not a record ({error})", text.rstrip("\r\n")[:1000])
    return Record(number, tuple(fields))


def _evenness(sample: Sequence[str], dialect: Dialect) -> float:
    """The share of records with the most frequent number of fields, zero for a single field."""
    widths: Counter[int] = Counter()
    for record in _records(iter(list(enumerate(sample, 1))), dialect):
        if record.fields:
            widths[len(record.fields)] += 1
        if sum(widths.values()) >= SAMPLE_RECORDS:
            break
    if not widths:
        return 0.0
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    # A head of two fields with ragged lines below still beats a delimiter that never occurs.
    return count / sum(widths.values()) + 0.01 * min(width, 10) if width > 1 else 0.0
