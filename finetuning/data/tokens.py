"""Rows as the tokens of the chosen base, through the same encoding that trains and answers."""

from pathlib import Path
from typing import Any

from assistant.core import settings
from assistant.core.errors import ModelError
from assistant.core.paths import Paths, find
from assistant.core.prompts import ChatML
from finetuning.training.rows import Row, encode_row

# Longer than any row: nothing is cut when a row is only measured.
UNCUT = 1 << 30


def tokenizer_file(paths: Paths) -> Path | None:
    """The ``tokenizer.json`` of the chosen base; None when it is not on this machine."""
    base = settings.load(paths).base
    folder = paths.base if base == "embedded" else find(base, paths)
    path = folder / "tokenizer.json"
    return path if path.is_file() else None


def load(paths: Paths) -> ChatML:
    """The chat format of the chosen base; a ModelError when its tokenizer is not on this machine."""
    path = tokenizer_file(paths)
    if path is None:
        raise ModelError("The tokenizer of the base is not installed.", "Run `./run_finetuning.sh` once; it installs the base.")
    return ChatML.load(path)


def encode(row: dict[str, Any], chat: ChatML, most: int = UNCUT) -> Row:
    """A row of ``input_text`` and ``target_text`` as training sees it."""
    return encode_row(row, chat, "unified", most)[0]


class Measure:
    """Finds rows that are longer than the base may take. Short ones are passed without tokenising: a token has at least one byte."""

    # The frame of a message costs a few tokens more than its text.
    FRAME = 64

    def __init__(self, chat: ChatML, most: int) -> None:
        self._chat = chat
        self._most = most

    def too_long(self, row: dict[str, Any]) -> Row | None:
        """The row's tokens when there are too many of them, else None."""
        prompt, answer = row.get("input_text"), row.get("target_text")
        if not isinstance(prompt, str) or not isinstance(answer, str):
            return None
        text = prompt + answer
        if len(text) * (1 if text.isascii() else 4) + self.FRAME <= self._most:
            return None
        if len(self._chat.tokenizer.encode(text, add_special_tokens=False)) + self.FRAME <= self._most:
            return None
        encoded = encode(row, self._chat)
        return encoded if len(encoded.ids) > self._most else None
