"""Which encoding a text file is in. What is certain is told as certain, what is guessed as a guess, and nothing else is assumed."""

import codecs
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from assistant.core.errors import DataError

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_LINES = 20_000
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
BLOCK = 1 << 20
_UNDECODED = re.compile("[\udc80-\udcff\ufffd]")
# Signs that hardly stand in Western text; many of them mean that another script was read as cp1252.
_RARE_1252 = "ƒ†‡ˆ‰‹›˜¡¢¤¥¦ª¬¯±³¶¸¹º¾¿×÷"


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file and why it is taken; ``guessed`` when another one would decode it as well."""

    name: str
    reason: str
    guessed: bool = False


def detect(path: Path) -> Encoding:
    """The encoding of a text file; a DataError when no rule fits."""
    with path.open("rb") as file:
        head = file.read(BLOCK)
    for mark, name in MARKS:
        if head.startswith(mark):
            return Encoding(name, "byte order mark")
    if wide := _without_mark(head):
        return Encoding(wide, "every second byte is NUL or of one script", guessed=True)
    lines = _lines_beyond_ascii(path)
    if not lines:
        return Encoding("utf-8", "plain ASCII")
    sound = sum(_decodes(line, "utf-8") for line in lines)
    if sound == len(lines):
        return Encoding("utf-8", "valid UTF-8")
    # JSON is UTF-8 by its standard, so one sound line there says more than broken ones.
    if sound >= len(lines) - sound or (sound and path.suffix.lower() in JSON_SUFFIXES):
        return Encoding("utf-8", f"UTF-8 except in {len(lines) - sound} of {len(lines)} lines beyond ASCII", guessed=True)
    return _legacy(path, lines)


def named(name: str) -> Encoding:
    """The encoding that the user names; an unknown name is a DataError."""
    try:
        return Encoding(codecs.lookup(name).name, "as you say")
    except LookupError as error:
        raise DataError(f"There is no encoding '{name}'.", "Use for example utf-8, utf-16, cp949, cp1252.") from error


def open_text(path: Path, encoding: Encoding) -> TextIO:
    """The file as text, its line ends untouched. Undecodable bytes stay in it as marks that ``undecoded`` finds."""
    wide = encoding.name.startswith(("utf-16", "utf-32"))
    return io.open(path, encoding=encoding.name, errors="replace" if wide else "surrogateescape", newline="")  # noqa: UP020


def undecoded(text: str) -> str:
    """The bytes of a text that its encoding could not decode, as ``0xe9``; "" when there are none."""
    if text.isascii() or not _UNDECODED.search(text):
        return ""
    if "\ufffd" in text:
        return "U+FFFD"
    return " ".join(f"0x{ord(letter) - 0xDC00:02x}" for letter in text if "\udc80" <= letter <= "\udcff")


def printable(text: str) -> str:
    """A text that may hold undecoded bytes in a form that can be written: each as ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if not _decodes_back(text) else text


def _decodes_back(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _without_mark(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: its ASCII letters leave NULs on one side, its line ends give the side for any script."""
    if len(head) < 4 or (len(head) % 2 and len(head) < BLOCK):
        return None
    for name, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        ends = head.count(b"\n\0" if name == "utf-16-le" else b"\0\n")
        if high.count(0) > 0.15 * len(high) and ends and _decodes(head[: len(head) // 2 * 2 - 2], name):
            return name
    return None


def _lines_beyond_ascii(path: Path) -> list[bytes]:
    lines: list[bytes] = []
    rest = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if block.isascii() and rest.isascii():
                rest = block[block.rfind(b"\n") + 1 :][-BLOCK:]
                continue
            whole = (rest + block).split(b"\n")
            rest = whole.pop()[-BLOCK:]
            lines += [line for line in whole if not line.isascii()]
            if len(lines) >= SAMPLE_LINES:
                return lines[:SAMPLE_LINES]
    return lines if rest.isascii() else [*lines, rest]


def _legacy(path: Path, lines: list[bytes]) -> Encoding:
    korean = [line.decode("cp949") for line in lines if _decodes(line, "cp949")]
    letters = "".join(korean)
    beyond = sum(not letter.isascii() for letter in letters)
    hangul = sum("가" <= letter <= "힣" for letter in letters)
    # Western text read as CP949 gives rare syllables and Chinese characters beside single Latin letters, and often does not decode.
    if len(korean) > 0.9 * len(lines) and hangul > 0.6 * beyond and _common_syllables(letters) > 0.6 * hangul:
        return Encoding("cp949", "Korean syllables in CP949 (EUC-KR)", guessed=True)
    western = [line.decode("cp1252") for line in lines if _decodes(line, "cp1252")]
    if len(western) > 0.9 * len(lines) and _looks_western("".join(western)):
        return Encoding("cp1252", "Western letters in cp1252", guessed=True)
    raise DataError(
        f"The encoding of {path.name} is not recognised.",
        "Name it with --encoding, for example --encoding cp932, or save the file as UTF-8.",
    )


def _common_syllables(text: str) -> int:
    """How many syllables are of KS X 1001's 2,350, which hold nearly every syllable of real text."""
    return sum(_in_ksx1001(letter) for letter in text if "가" <= letter <= "힣")


def _in_ksx1001(letter: str) -> bool:
    code = letter.encode("cp949")
    return 0xB0 <= code[0] <= 0xC8 and code[1] >= 0xA1


def _looks_western(text: str) -> bool:
    """Letters beyond ASCII stand among ASCII letters and are few; a text in another script read as cp1252 is full of them."""
    letters = sum(map(str.isalpha, text))
    beyond = sum(letter.isalpha() and not letter.isascii() for letter in text)
    rare = sum(letter in _RARE_1252 for letter in text)
    return beyond <= 0.25 * letters and rare <= 0.1 * max(1, letters)
