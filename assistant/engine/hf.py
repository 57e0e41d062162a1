"""transformers + peft: one base, many adapters. The live engine on a GPU; training's and evaluation's everywhere."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging as transformers_logging

from assistant.core.errors import ModelError
from assistant.core.paths import Paths
from assistant.core.values import Adapter, Sampling, Token
from assistant.engine import embedded
from assistant.engine.base import Base, Generated, Stop
from assistant.engine.networks import Networks, given
from assistant.engine.template import chat_format, save_tokenizer  # noqa: F401

transformers_logging.disable_progress_bar()

TOP = 5
# The router and the scores read so many texts together.
BATCH = 16
# Answers are written together, so many at most, and of so many tokens with their prompts: the keys and values of the embedded base
# are then 380 MB. 48 answers of 128 tokens were 1.8 times as fast as 16 (docs/LOG.md).
TOGETHER, TOGETHER_TOKENS = 48, 16_384
# Only the likeliest tokens are drawn from; the penalty on repetition looks so far back. Both as llama.cpp does.
MOST_LIKELY, REPEATED = 40, 64
# Answer tokens scored at once: 1,024 rows of logits over 49,152 tokens are 100 MB in bf16.
SCORED_TOKENS = 1024
# The router reads this much of a question, as the other engine does.
READER_TOKENS = 512
# Tokens of a prompt between two looks at whether the answer is still wanted.
READ_AT_ONCE = 256


class _Said(NamedTuple):
    """A token of an answer, its log-probability and the likeliest at its place."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


class HfEngine:
    """One base with any number of PEFT adapters; a call names the adapter, or None for the bare base."""

    name = "hf"

    def __init__(self, base: Base, context_tokens: int, paths: Paths) -> None:
        self.format = chat_format(base, paths)
        self.context_tokens = context_tokens
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._networks: Networks | None = Networks(load_base(base, paths).to(self.device).eval().requires_grad_(False))

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Make exactly these adapters resident."""
        wanted = {adapter.key: adapter for adapter in adapters}
        for key in [key for key in self._there.keys if key not in wanted]:
            self._there.drop(key)
        for key, adapter in wanted.items():
            if key not in self._there.keys:
                self._there.add(key, adapter.folder)

    def stream(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling, stop: Stop) -> Iterator[Token]:
        """The answer's tokens, one forward pass each."""
        if len(prompt) + sampling.max_tokens > self.context_tokens:
            raise ModelError(
                f"{len(prompt)} tokens of prompt and {sampling.max_tokens} of answer do not fit into the context of {self.context_tokens}.",
                "Ask something shorter, or raise chat.context_tokens in model_config.yaml.",
            )
        model, trained = self._there.select(adapter)
        generator = torch.Generator(device=self.device).manual_seed(sampling.seed)
        cache, seen, shown = DynamicCache(), list(prompt), ""
        pieces = [torch.tensor([list(prompt[at : at + READ_AT_ONCE])], device=self.device) for at in range(0, len(prompt), READ_AT_ONCE)]
        fresh, answer = [given(model, trained, pieces[0]), *({"input_ids": piece} for piece in pieces[1:])], []
        for _ in range(sampling.max_tokens):
            for inputs in fresh:
                if stop():
                    return
                with torch.inference_mode():
                    logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1].float()
            token, logprob, top = _choose(logits, seen, sampling, generator)
            if token in self.format.end_ids:
                return
            answer.append(token)
            seen.append(token)
            fresh = [{"input_ids": torch.tensor([[token]], device=self.device)}]
            text = self.format.decode(answer)
            # A character of several tokens shows as U+FFFD until its last one has come.
            piece = "" if text.endswith("\ufffd") else text[len(shown) :]
            shown += piece
            yield Token(token, piece, logprob, top)

    def batch(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling, scored: bool = True) -> list[Generated]:
        """Whole answers, decoded together in batches of prompts of like length; greedy unless the temperature is above 0.

        Without ``scored`` there are no log-probabilities.
        """
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        answers: list[Generated | None] = [None] * len(prompts)
        while order:
            # The longest come first, so that they decide how many fit.
            size = max(1, min(TOGETHER, TOGETHER_TOKENS // (len(prompts[order[0]]) + sampling.max_tokens)))
            chosen, order = order[:size], order[size:]
            for index, answer in zip(chosen, self._together([prompts[i] for i in chosen], adapter, sampling, scored), strict=True):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def embed(self, prompt: Sequence[int]) -> list[float]:
        """The bare base's last hidden state at the last token, scaled to length 1."""
        return self.states([prompt])[0].tolist()

    def states(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """``embed`` for many prompts at once: (prompts, hidden size), float32, each row of length 1."""
        network = self._there.inner()
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
        self._networks = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def _there(self) -> Networks:
        if self._networks is None:
            raise ModelError("The engine was released.", "This is a fault of PZ2; please report it.")
        return self._networks

    def _together(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling, scored: bool) -> list[Generated]:
        (model, trained), width, end = self._there.select(adapter), max(map(len, prompts)), self.format.end_ids
        ids = torch.full((len(prompts), width), end[0], device=self.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        # A draw for each row and place, whoever else is still writing.
        draws = torch.rand(sampling.max_tokens, len(prompts), generator=torch.Generator().manual_seed(sampling.seed)).to(self.device)
        said: list[list[_Said]] = [[] for _ in prompts]
        cache, rows = DynamicCache(), torch.arange(len(prompts), device=self.device)
        inputs = given(model, trained, ids, mask)
        seen, mask = torch.where(mask.bool(), ids, ids[:, -1:]), inputs["attention_mask"]
        with torch.inference_mode():
            for place in range(sampling.max_tokens):
                inputs |= {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)[:, -_width(inputs) :]}
                logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
                tokens = _chosen(logits, seen[:, -REPEATED:], sampling, draws[place, rows])
                for row, one in zip(rows.tolist(), _said(tokens, logits, scored), strict=True):
                    said[row].append(one)
                going = ~torch.isin(tokens, torch.tensor(end, device=self.device))
                if not bool(going.all()):
                    # Who has ended is computed no further.
                    cache.batch_select_indices(going.nonzero()[:, 0])
                    rows, mask, seen, tokens = rows[going], mask[going], seen[going], tokens[going]
                if not len(rows):
                    break
                mask, seen = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), torch.cat([seen, tokens[:, None]], dim=1)
                inputs = {"input_ids": tokens[:, None]}
        return [self._generated(one, end, scored) for one in said]

    def _generated(self, said: list[_Said], end: Sequence[int], scored: bool) -> Generated:
        """A row's tokens as an answer; a token that ends it is not part of it."""
        ended = bool(said) and said[-1].token in end
        said = said[:-1] if ended else said
        ids = tuple(one.token for one in said)
        logprobs, tops = (tuple(one.logprob for one in said), tuple(one.top for one in said)) if scored else ((), ())
        return Generated(self.format.decode(ids), ids, logprobs, "end" if ended else "length", tops)

    def _scored(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: str | None) -> list[tuple[float, ...]]:
        rows = [[*prompt, *answer] for prompt, answer in pairs]
        (model, trained), width = self._there.select(adapter), max(map(len, rows))
        kept = max(len(answer) for _, answer in pairs) + 1
        ids = torch.full((len(rows), width), self.format.end_ids[0])
        mask = torch.zeros_like(ids)
        # Padding stands in front, so that all answers end at the last place and few logits are kept.
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        with torch.inference_mode():
            inputs = given(model, trained, ids.to(self.device), mask.to(self.device))
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits
            found = []
            for place, (_, answer) in enumerate(pairs):
                if not answer:
                    found.append(())
                    continue
                logprobs = torch.log_softmax(logits[place, -len(answer) - 1 : -1].float(), dim=-1)
                chosen = torch.tensor(list(answer), device=self.device)[:, None]
                found.append(tuple(logprobs.gather(1, chosen)[:, 0].tolist()))
        return found


def load_base(base: Base, paths: Paths, **options: Any) -> Any:
    """The base's weights in bf16, or as ``options`` of ``from_pretrained`` say. Safetensors only; never remote code."""
    source = str(embedded.materialise(paths)) if base.gguf is not None else base.source
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The base {base.source} could not be loaded ({str(error).splitlines()[0]}).", "Check `base:` in model_config.yaml."
        ) from error
    if (head := model.get_output_embeddings()) is not None:
        head.register_forward_pre_hook(_in_one_piece)
    return model


def _in_one_piece(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The last states of several prompts are a view with gaps, for which torch copies the output layer once for each of them."""
    return (given[0].contiguous(), *given[1:])


def _top(logprobs: Any) -> tuple[tuple[int, float], ...]:
    values, ids = logprobs.topk(TOP)
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))


def _said(tokens: Any, logits: Any, scored: bool) -> list[_Said]:
    """What each row said, by tokens (rows) and logits (rows, words)."""
    if not scored:
        return [_Said(token) for token in tokens.tolist()]
    shares = torch.log_softmax(logits, dim=-1)
    found = shares.gather(1, tokens[:, None])[:, 0].tolist()
    return [_Said(*one) for one in zip(tokens.tolist(), found, map(_top, shares), strict=True)]


def _chosen(logits: Any, seen: Any, sampling: Sampling, draws: Any) -> Any:
    """The next token of each row, by ``_choose``'s rules.

    logits (rows, words), the last tokens (rows, at most ``REPEATED``), a draw from 0 to 1 for each row.
    """
    if sampling.repeat_penalty != 1.0:
        there = logits.gather(1, seen)
        logits = logits.scatter(1, seen, torch.where(there > 0, there / sampling.repeat_penalty, there * sampling.repeat_penalty))
    if sampling.temperature <= 0:
        return logits.argmax(-1)
    best, places = (logits / sampling.temperature).topk(MOST_LIKELY)
    share = torch.softmax(best, dim=-1)
    share = share * (share.cumsum(-1) - share < sampling.top_p)
    reached = share.cumsum(-1) < (draws * share.sum(-1))[:, None]
    return places.gather(1, reached.sum(-1, keepdim=True).clamp(max=MOST_LIKELY - 1))[:, 0]


def _width(inputs: dict[str, Any]) -> int:
    return next(inputs[name].shape[1] for name in ("inputs_embeds", "input_ids") if name in inputs)


def _choose(logits: Any, seen: list[int], sampling: Sampling, generator: Any) -> tuple[int, float, tuple[tuple[int, float], ...]]:
    """The next token, its log-probability under the model, and the most likely ones."""
    logprobs = torch.log_softmax(logits, dim=-1)
    top = _top(logprobs)
    scores = logits
    if sampling.repeat_penalty != 1.0:
        # Over the last 64 tokens, as llama.cpp does.
        recent = torch.tensor(sorted(set(seen[-REPEATED:])), device=logits.device)
        scores = logits.clone()
        scores[recent] = torch.where(scores[recent] > 0, scores[recent] / sampling.repeat_penalty, scores[recent] * sampling.repeat_penalty)
    if sampling.temperature <= 0:
        token = int(scores.argmax())
    else:
        best, places = (scores / sampling.temperature).topk(MOST_LIKELY)
        share = torch.softmax(best, dim=-1)
        kept = share.cumsum(0) - share < sampling.top_p
        token = int(places[torch.multinomial(share * kept, 1, generator=generator)])
    logprob = float(logprobs[token])
    return token, logprob if math.isfinite(logprob) else -100.0, top
