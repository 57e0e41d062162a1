"""How good an answer is, as one number: by the reward model of this root, or by any of Hugging Face with a single output."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from assistant.core.errors import ModelError
from assistant.core.paths import Paths
from assistant.core.prompts import ChatFormat, ChatML
from assistant.core.values import Message
from assistant.engine import embedded, hf
from assistant.engine.base import Base

# Longer conversations are judged by their end.
MOST_TOKENS = 768
BATCH = 16

Encoded = dict[str, list[int]]
Judged = tuple[Sequence[Message], str]


class Scorer:
    """A network with one output; higher is better, and only differences between answers to the same messages mean something."""

    def __init__(self, name: str, model: Any, encode: Callable[[Sequence[Message], str], Encoded], pad: int) -> None:
        self.name = name
        self._encode, self._pad = encode, pad
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = model.to(self._device).eval()

    def score(self, judged: Sequence[Judged]) -> list[float]:
        """The reward of each (messages, answer)."""
        encoded = [self._encode(messages, answer) for messages, answer in judged]
        order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]["input_ids"]))
        rewards = [0.0] * len(encoded)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            inputs = self._padded([encoded[place] for place in chosen])
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16):
                logits = self._model(**inputs).logits.float()
            # Of two classes the second one is "good".
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            for place, value in zip(chosen, values.tolist(), strict=True):
                rewards[place] = value
        return rewards

    def release(self) -> None:
        """Drop the weights."""
        self._model = None

    def _padded(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        width = max(len(row["input_ids"]) for row in rows)
        inputs = {}
        for name in rows[0]:
            fill = self._pad if name == "input_ids" else 0
            inputs[name] = torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in rows], device=self._device)
        return inputs


def trained(base: Base, paths: Paths, chat: ChatFormat, folder: Path, name: str) -> Scorer:
    """A reward model of this root."""
    model = network(base, paths)
    pad = padding(chat)
    model.config.pad_token_id = pad
    try:
        return of_network(name, PeftModel.from_pretrained(model, str(folder)), chat, pad)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name} could not be loaded ({str(error).splitlines()[0]}).", "Train another one: `train reward`.") from error


def of_network(name: str, model: Any, chat: ChatFormat, pad: int) -> Scorer:
    """A scorer over a network that was trained on this base's chat form."""
    return Scorer(name, model, lambda messages, answer: _ids(encoded(chat, messages, answer)), pad)


def foreign(source: str) -> Scorer:
    """Any sequence-classification model with one or two outputs, by folder or id; safetensors only, never remote code."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(source, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"The reward model {source} could not be loaded ({first}).", "Name a folder or an id of a sequence-classification model."
        ) from error
    if model.config.num_labels > 2:
        raise ModelError(f"{source} has {model.config.num_labels} outputs; a reward model has one.", "Name another one.")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad

    def encode(messages: Sequence[Message], answer: str) -> Encoded:
        if tokenizer.chat_template:
            turns = [{"role": message.role, "content": message.content} for message in (*messages, Message("assistant", answer))]
            return _ids(list(tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]))
        question = "\n".join(message.content for message in messages if message.role != "system")
        return {name: values[:MOST_TOKENS] for name, values in tokenizer(question, answer).items()}

    return Scorer(source, model, encode, pad)


def network(base: Base, paths: Paths) -> Any:
    """The base with a scalar head in place of its words."""
    source = str(embedded.materialise(paths)) if base.gguf is not None else base.source
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=1, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"The base {base.source} cannot be a reward model ({first}).", "Name one with --reward.") from error


def encoded(chat: ChatFormat, messages: Sequence[Message], answer: str) -> list[int]:
    """A conversation with its answer and the end of the turn, as the reward model reads it."""
    return [*chat.encode(messages), *chat.encode_answer(answer)][-MOST_TOKENS:]


def padding(chat: ChatFormat) -> int:
    """A token that ends no turn: the head reads the last token that is no padding, and that shall be the end of the answer."""
    if isinstance(chat, ChatML):
        known = [chat.tokenizer.token_to_id(name) for name in ("<|endoftext|>", "<pad>", "<unk>")]
    else:
        known = [getattr(chat.tokenizer, f"{name}_token_id", None) for name in ("pad", "unk", "bos")]  # type: ignore[attr-defined]
    return next((token for token in known if token is not None and token not in chat.end_ids), 0)


def chat_of(base: Base, paths: Paths) -> ChatFormat:
    """How this base's conversations are written."""
    return hf.chat_format(base, paths)


def _ids(ids: list[int]) -> Encoded:
    return {"input_ids": ids[-MOST_TOKENS:], "attention_mask": [1] * len(ids[-MOST_TOKENS:])}
