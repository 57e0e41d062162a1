"""Messages as token ids for any Hugging Face base: by its own chat template, or by PZ2's where it has none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer

from assistant.core.errors import ModelError
from assistant.core.paths import Paths
from assistant.core.prompts import SYSTEM, ChatFormat, ChatML
from assistant.core.values import Message
from assistant.engine import embedded
from assistant.engine.base import Base

MARKERS = ("<|im_start|>", "<|im_end|>")
# What an answer is replaced by, to see how the template ends one.
PLACE = "PZ2-ANSWER"


class TemplateFormat:
    """Messages as token ids by a chat template. ``borrowed`` says that the base has none and PZ2's is used."""

    def __init__(self, tokenizer: Any, borrowed: bool = False) -> None:
        self.tokenizer = tokenizer
        self.borrowed = borrowed
        self._takes_system = _takes_system(tokenizer)
        self._marks = tuple(dict.fromkeys((*_specials(tokenizer).values(), *MARKERS)))
        end = _end_of_turn(tokenizer)
        self.end_ids: tuple[int, ...] = tuple(dict.fromkeys((end, tokenizer.eos_token_id)))

    def encode(self, messages: Sequence[Message], answer: bool = True) -> list[int]:
        """The prompt of a conversation. Special tokens that a person typed are broken up so that they stay text."""
        if not messages or messages[0].role != "system":
            messages = [Message("system", SYSTEM["unified"]), *messages]
        if not self._takes_system:
            messages = _without_system(messages)
        plain = [{"role": message.role, "content": self._harmless(message.content)} for message in messages]
        return list(self.tokenizer.apply_chat_template(plain, add_generation_prompt=answer, return_dict=True)["input_ids"])

    def encode_answer(self, text: str) -> list[int]:
        """An answer's tokens and the end of the turn."""
        return [*self.tokenizer.encode(self._harmless(text), add_special_tokens=False), self.end_ids[0]]

    def encode_open(self, system: str) -> list[int]:
        """A conversation up to where its user begins to write: what follows is a question of the model's own."""
        messages = [Message("system", self._harmless(system)), Message("user", PLACE)]
        written = messages if self._takes_system else _without_system(messages)
        plain = [{"role": message.role, "content": message.content} for message in written]
        return self.tokenizer.encode(_written(self.tokenizer, plain).partition(PLACE)[0], add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _harmless(self, text: str) -> str:
        for special in self._marks:
            text = text.replace(special, f"{special[0]} {special[1:]}")
        return text


def chat_format(base: Base, paths: Paths) -> ChatFormat:
    """How this base's prompts are written."""
    if base.tokenizer_json is not None:
        return ChatML.load(base.tokenizer_json)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.source, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"The tokenizer of {base.source} could not be loaded ({first}).", "Check `base:` in model_config.yaml.") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {base.source} has no end token.", "Name its eos_token in tokenizer_config.json.")
    borrowed = tokenizer.chat_template is None
    if borrowed:
        ours = json.dumps(tokenizer.bos_token) if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else "''"
        tokenizer.chat_template = f"{{{{ {ours} }}}}{embedded.TEMPLATE}"
    return TemplateFormat(tokenizer, borrowed)


def save_tokenizer(base: Base, chat: ChatFormat, paths: Paths, folder: Path) -> None:
    """Write the tokenizer with its chat template beside the weights of a whole network."""
    if isinstance(chat, TemplateFormat):
        chat.tokenizer.save_pretrained(str(folder))
        return
    source = embedded.materialise(paths)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())


def _takes_system(tokenizer: Any) -> bool:
    """Whether the template knows a system message; some refuse it, some leave it out."""
    try:
        return PLACE in _written(tokenizer, [{"role": "system", "content": PLACE}, {"role": "user", "content": "Hi"}])
    except TemplateError:
        return False


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The system message put before the first question."""
    system, *turns = messages
    if not turns or turns[0].role != "user":
        return [Message("user", system.content), *turns]
    return [Message("user", f"{system.content}\n\n{turns[0].content}"), *turns[1:]]


def _end_of_turn(tokenizer: Any) -> int:
    """The special token that the template writes after an answer; the tokenizer's end token where it writes none."""
    try:
        written = _written(tokenizer, [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": PLACE}])
    except TemplateError:
        return tokenizer.eos_token_id
    rest = written.rpartition(PLACE)[2]
    specials = _specials(tokenizer)
    return next((token for token in tokenizer.encode(rest, add_special_tokens=False) if token in specials), tokenizer.eos_token_id)


def _specials(tokenizer: Any) -> dict[int, str]:
    """Every special token by its id; those that only a template knows (Llama 3's turns) have no name in the tokenizer."""
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return named | {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def _written(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False)
