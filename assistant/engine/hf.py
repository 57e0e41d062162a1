"""transformers + peft: one base, many adapters. The live engine on a GPU; training's and evaluation's everywhere."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
# Its note on an optional kernel would land in the middle of the screen.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from assistant.core import files  # noqa: E402
from assistant.core.errors import ModelError  # noqa: E402
from assistant.core.paths import Paths  # noqa: E402
from assistant.core.prompts import SYSTEM, ChatFormat, ChatML  # noqa: E402
from assistant.core.values import Adapter, Message, Sampling, Token  # noqa: E402
from assistant.engine import embedded  # noqa: E402
from assistant.engine.base import Base, Generated, Stop  # noqa: E402

transformers_logging.disable_progress_bar()

TOP = 5
# Prompts of one batch decoded together; 16 reached 420 tokens/s on 2 cores (docs/LOG.md).
BATCH = 16
# Answer tokens scored at once: 1,024 rows of logits over 49,152 tokens are 100 MB in bf16.
SCORED_TOKENS = 1024
# The router reads this much of a question, as the other engine does.
READER_TOKENS = 512


class HfEngine:
    """One base with any number of PEFT adapters; a call names the adapter, or None for the bare base."""

    name = "hf"

    def __init__(self, base: Base, context_tokens: int, paths: Paths) -> None:
        self.format = chat_format(base, paths)
        self.context_tokens = context_tokens
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._plain: Any = load_base(base, paths).to(self.device).eval().requires_grad_(False)
        self._model: Any = self._plain
        self._names: dict[str, str] = {}

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Make exactly these adapters resident."""
        wanted = {adapter.key: adapter for adapter in adapters}
        for key in [key for key in self._names if key not in wanted]:
            self._drop(key)
        for key, adapter in wanted.items():
            if key not in self._names:
                self._add(key, adapter.folder)

    def stream(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling, stop: Stop) -> Iterator[Token]:
        """The answer's tokens, one forward pass each."""
        if len(prompt) + sampling.max_tokens > self.context_tokens:
            raise ModelError(
                f"{len(prompt)} tokens of prompt and {sampling.max_tokens} of answer do not fit into the context of {self.context_tokens}.",
                "Ask something shorter, or raise chat.context_tokens in model_config.yaml.",
            )
        model = self._select(adapter)
        generator = torch.Generator(device=self.device).manual_seed(sampling.seed)
        cache, seen, shown = DynamicCache(), list(prompt), ""
        fresh, answer = torch.tensor([list(prompt)], device=self.device), []
        for _ in range(sampling.max_tokens):
            if stop():
                return
            with torch.inference_mode():
                logits = model(input_ids=fresh, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1].float()
            token, logprob, top = _choose(logits, seen, sampling, generator)
            if token in self.format.end_ids:
                return
            answer.append(token)
            seen.append(token)
            fresh = torch.tensor([[token]], device=self.device)
            text = self.format.decode(answer)
            # A character of several tokens shows as U+FFFD until its last one has come.
            piece = "" if text.endswith("\ufffd") else text[len(shown) :]
            shown += piece
            yield Token(token, piece, logprob, top)

    def batch(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling) -> list[Generated]:
        """Whole answers, decoded together in batches of prompts of like length; greedy unless the temperature is above 0."""
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        answers: list[Generated | None] = [None] * len(prompts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for index, answer in zip(chosen, self._together([prompts[i] for i in chosen], adapter, sampling), strict=True):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def embed(self, prompt: Sequence[int]) -> list[float]:
        """The bare base's last hidden state at the last token, scaled to length 1."""
        return self.states([prompt])[0].tolist()

    def states(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """``embed`` for many prompts at once: (prompts, hidden size), float32, each row of length 1."""
        network = _inner(self._select(None))
        cut = [list(prompt[-READER_TOKENS:]) for prompt in prompts]
        order = sorted(range(len(cut)), key=lambda index: len(cut[index]))
        rows = torch.zeros(len(cut), network.config.hidden_size)
        for start in range(0, len(order), 2 * BATCH):
            chosen = order[start : start + 2 * BATCH]
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(cut[index]) for index in chosen], batch_first=True)
            ends = torch.tensor([len(cut[index]) - 1 for index in chosen])
            mask = (torch.arange(ids.shape[1]) <= ends[:, None]).long()
            with torch.inference_mode():
                states = network(input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False).last_hidden_state
            rows[chosen] = torch.nn.functional.normalize(states[torch.arange(len(chosen)), ends].float().cpu(), dim=1)
        return rows

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: str | None) -> list[tuple[float, ...]]:
        """The natural log-probability of every token of an answer after its prompt, in the order of the (prompt, answer) pairs."""
        order = sorted(range(len(pairs)), key=lambda index: -len(pairs[index][1]))
        scores: list[tuple[float, ...]] = [()] * len(pairs)
        while order:
            # Logits are kept for the longest answer of a batch, so long answers come few at a time.
            count = max(1, min(BATCH, len(order), SCORED_TOKENS // (len(pairs[order[0]][1]) + 1)))
            chosen, order = order[:count], order[count:]
            for index, logprobs in zip(chosen, self._scored([pairs[i] for i in chosen], adapter), strict=True):
                scores[index] = logprobs
        return scores

    def release(self) -> None:
        """Drop the weights."""
        self._model = self._plain = None
        self._names = {}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _add(self, key: str, folder: Path) -> None:
        if not (folder / "adapter_model.safetensors").is_file():
            raise ModelError(f"{folder} holds no adapter_model.safetensors.", "Use another version, or train the model again.")
        name = key.replace("/", "_").replace(".", "_")
        try:
            if isinstance(self._model, PeftModel):
                self._model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
            else:
                self._model = PeftModel.from_pretrained(self._plain, str(folder), adapter_name=name, is_trainable=False)
        except (SafetensorError, RuntimeError, ValueError, OSError, KeyError) as error:
            raise ModelError(
                f"The adapter in {folder} could not be loaded ({str(error).splitlines()[0]}).", "It is damaged or belongs to another base."
            ) from error
        self._model.eval().requires_grad_(False)
        self._names[key] = name

    def _drop(self, key: str) -> None:
        name = self._names.pop(key)
        if self._names:
            self._model.set_adapter(next(iter(self._names.values())), inference_mode=True)
            self._model.delete_adapter(name)
        else:
            self._model = self._plain = self._model.unload()

    def _select(self, adapter: str | None) -> Any:
        if adapter is None:
            if isinstance(self._model, PeftModel):
                self._model.base_model.disable_adapter_layers()
            return self._model
        if adapter not in self._names:
            raise ModelError(f"The adapter {adapter} is not loaded.", "This is a fault of PZ2; please report it.")
        self._model.base_model.enable_adapter_layers()
        # inference_mode: without it set_adapter turns gradients on.
        self._model.set_adapter(self._names[adapter], inference_mode=True)
        return self._model

    def _together(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling) -> list[Generated]:
        model, width, end = self._select(adapter), max(map(len, prompts)), self.format.end_ids
        ids = torch.full((len(prompts), width), end[0], device=self.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        torch.manual_seed(sampling.seed)
        choice: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            choice = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 40}
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=list(end),
                pad_token_id=end[0],
                repetition_penalty=sampling.repeat_penalty,
                output_logits=True,
                return_dict_in_generate=True,
                **choice,
            )
        answers = []
        for row in range(len(prompts)):
            tokens = out.sequences[row, width:].tolist()
            length = next((place for place, token in enumerate(tokens) if token in end), len(tokens))
            shares = [torch.log_softmax(out.logits[place][row].float(), dim=-1) for place in range(length)]
            logprobs = tuple(float(share[token]) for share, token in zip(shares, tokens, strict=False))
            stopped = "end" if length < len(tokens) else "length"
            answers.append(
                Generated(self.format.decode(tokens[:length]), tuple(tokens[:length]), logprobs, stopped, tuple(map(_top, shares)))
            )
        return answers

    def _scored(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: str | None) -> list[tuple[float, ...]]:
        rows = [[*prompt, *answer] for prompt, answer in pairs]
        model, width = self._select(adapter), max(map(len, rows))
        kept = max(len(answer) for _, answer in pairs) + 1
        ids = torch.full((len(rows), width), self.format.end_ids[0])
        mask = torch.zeros_like(ids)
        # Padding stands in front, so that all answers end at the last place and few logits are kept.
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
        with torch.inference_mode():
            logits = model(**{name: value.to(self.device) for name, value in given.items()}, use_cache=False, logits_to_keep=kept).logits
            found = []
            for place, (_, answer) in enumerate(pairs):
                if not answer:
                    found.append(())
                    continue
                logprobs = torch.log_softmax(logits[place, -len(answer) - 1 : -1].float(), dim=-1)
                chosen = torch.tensor(list(answer), device=self.device)[:, None]
                found.append(tuple(logprobs.gather(1, chosen)[:, 0].tolist()))
        return found


class TemplateFormat:
    """Messages as token ids by the base's own chat template, for a base that is not the embedded one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.end_ids: tuple[int, ...] = (tokenizer.eos_token_id,)

    def encode(self, messages: Sequence[Message], answer: bool = True) -> list[int]:
        """The prompt of a conversation. Special tokens that a person typed are broken up so that they stay text."""
        if not messages or messages[0].role != "system":
            messages = [Message("system", SYSTEM["unified"]), *messages]
        plain = [{"role": message.role, "content": self._harmless(message.content)} for message in messages]
        return list(self.tokenizer.apply_chat_template(plain, add_generation_prompt=answer, return_dict=True)["input_ids"])

    def encode_answer(self, text: str) -> list[int]:
        """An answer's tokens and the end of the turn."""
        return [*self.tokenizer.encode(self._harmless(text), add_special_tokens=False), self.tokenizer.eos_token_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def _harmless(self, text: str) -> str:
        for special in self.tokenizer.all_special_tokens:
            text = text.replace(special, f"{special[0]} {special[1:]}")
        return text


def chat_format(base: Base, paths: Paths) -> ChatFormat:
    """How this base's prompts are written."""
    if base.tokenizer_json is not None:
        return ChatML.load(base.tokenizer_json)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The tokenizer of {base.source} could not be loaded ({str(error).splitlines()[0]}).", "Check `base:` in model_config.yaml."
        ) from error
    if tokenizer.chat_template is None:
        embedded_template = files.read_json(embedded.materialise(paths) / "tokenizer_config.json")["chat_template"]
        tokenizer.chat_template = embedded_template
    return TemplateFormat(tokenizer)


def load_base(base: Base, paths: Paths, **options: Any) -> Any:
    """The base's weights in bf16, or as ``options`` of ``from_pretrained`` say. Safetensors only; never remote code."""
    source = str(embedded.materialise(paths)) if base.gguf is not None else base.source
    try:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The base {base.source} could not be loaded ({str(error).splitlines()[0]}).", "Check `base:` in model_config.yaml."
        ) from error


def _top(logprobs: Any) -> tuple[tuple[int, float], ...]:
    values, ids = logprobs.topk(TOP)
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))


def _choose(logits: Any, seen: list[int], sampling: Sampling, generator: Any) -> tuple[int, float, tuple[tuple[int, float], ...]]:
    """The next token, its log-probability under the model, and the most likely ones."""
    logprobs = torch.log_softmax(logits, dim=-1)
    top = _top(logprobs)
    scores = logits
    if sampling.repeat_penalty != 1.0:
        # Over the last 64 tokens, as llama.cpp does.
        recent = torch.tensor(sorted(set(seen[-64:])), device=logits.device)
        scores = logits.clone()
        scores[recent] = torch.where(scores[recent] > 0, scores[recent] / sampling.repeat_penalty, scores[recent] * sampling.repeat_penalty)
    if sampling.temperature <= 0:
        token = int(scores.argmax())
    else:
        best, places = (scores / sampling.temperature).topk(40)
        share = torch.softmax(best, dim=-1)
        kept = share.cumsum(0) - share < sampling.top_p
        token = int(places[torch.multinomial(share * kept, 1, generator=generator)])
    logprob = float(logprobs[token])
    return token, logprob if math.isfinite(logprob) else -100.0, top


def _inner(model: Any) -> Any:
    """The network below the output layer, adapters (switched off) included."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).model
