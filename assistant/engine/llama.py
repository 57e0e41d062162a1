"""llama.cpp through xllamacpp: the live engine where there is no GPU. No torch in this process.

Facts about xllamacpp 2026.10 that shape this file, each tried (docs/LOG.md):
the prompt cache is not keyed by adapter, so the first adapter has a slot of its own, the base and all others share one whose cache is
dropped when another of them speaks (a slot costs some 50 MB, an adapter 10; with one pool for all slots, words at a near tie depend on
what others said), and the shared RAM cache is off; a server opens an HTTP door, so it is a Unix socket in a private folder with a random
key (Windows: a loopback port with the key);
adapters are fixed when a server is made, so a new adapter means a new server over the same mapped weights.
"""

import json
import os
import queue
import secrets
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.core import spinning

os.environ.update(spinning.shortly(os.environ))

import xllamacpp

from assistant.core.errors import ModelError
from assistant.core.prompts import ChatML
from assistant.core.values import Adapter, Sampling, Token
from assistant.engine.base import Base, Generated, Stop

# Small, so that a long prefill can be interrupted within some 400 ms.
PREFILL_BATCH = 128
# The router reads a question's last hidden state; longer questions are cut from the front.
READER_TOKENS = 512
TOP = 5
SHARED_SLOT, OWN_SLOT = 0, 1


class LlamaEngine:
    """One mapped base; slot 0 is the bare base and every other adapter in turn, slot 1 the first adapter."""

    name = "llama"

    def __init__(self, base: Base, context_tokens: int) -> None:
        if base.gguf is None or base.tokenizer_json is None:
            raise ModelError(f"The base {base.name} has no GGUF file.", "Set `engine: hf` in model_config.yaml.")
        check_gguf(base.gguf)
        self.format = ChatML.load(base.tokenizer_json)
        self.context_tokens = context_tokens
        self._gguf = base.gguf
        self._adapters: list[str] = []
        # Who filled the cache of the shared slot: None is the base.
        self._sharing: str | None = None
        self._door = tempfile.mkdtemp(prefix="pz2-")
        self._server: Any = self._make([])
        self._reader: Any = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Make exactly these adapters resident."""
        keys = [adapter.key for adapter in adapters]
        if keys == self._adapters:
            return
        paths = [adapter.folder / "adapter.gguf" for adapter in adapters]
        for path in paths:
            check_gguf(path)
        server = self._make(paths)
        with self._lock:
            self._server, self._adapters, self._sharing = server, keys, None

    def stream(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling, stop: Stop) -> Iterator[Token]:
        """The answer's tokens. The request runs on a thread of its own: an interrupt inside its callback would be swallowed."""
        request = self._request(prompt, adapter, sampling)
        items: queue.Queue[Token | Exception | None] = queue.Queue()
        closing = threading.Event()
        worker = threading.Thread(target=self._work, args=(request, adapter, items, lambda: closing.is_set() or stop()), daemon=True)
        worker.start()
        try:
            while (item := _get(items)) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            closing.set()
            worker.join()

    def batch(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling, scored: bool = True) -> list[Generated]:
        """Whole answers, one after the other."""
        answers = []
        for prompt in prompts:
            tokens = list(self.stream(prompt, adapter, sampling, lambda: False))
            stopped = "length" if len(tokens) >= sampling.max_tokens else "end"
            text = "".join(token.text for token in tokens)
            ids, logprobs = tuple(t.id for t in tokens), tuple(t.logprob for t in tokens)
            answers.append(Generated(text, ids, logprobs, stopped, tuple(t.top for t in tokens)))
        return answers

    def embed(self, prompt: Sequence[int]) -> list[float]:
        """The bare base's last hidden state at the last token. A server of its own: an embedding wipes the slot it lands on."""
        # On a thread of its own, so that Ctrl-C is heard while a long question is read.
        items: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._read, args=(prompt, items), daemon=True).start()
        answer = _get(items)
        if isinstance(answer, Exception):
            raise answer
        _raise_on_error(answer)
        return answer["data"][0]["embedding"]

    def release(self) -> None:
        """Drop the servers and their private folder."""
        with self._lock:
            self._server = self._reader = None
        shutil.rmtree(self._door, ignore_errors=True)

    def _read(self, prompt: Sequence[int], items: "queue.Queue[Any]") -> None:
        try:
            with self._reading:
                if self._reader is None:
                    self._reader = self._make([], reader=True)
                # A prompt that fills the context to the last token is refused.
                items.put(self._reader.handle_embeddings({"input": list(prompt[-(READER_TOKENS - 1) :])}))
        except Exception as error:  # noqa: BLE001 - crosses a thread; the reader raises it
            items.put(error)

    def _work(self, request: dict[str, Any], adapter: str | None, items: "queue.Queue[Token | Exception | None]", stop: Stop) -> None:
        def receive(event: dict[str, Any]) -> bool:
            try:
                _raise_on_error(event)
                for token in _tokens(event, self.format.end_id):
                    items.put(token)
            except Exception as error:  # noqa: BLE001 - crosses a thread; the reader raises it
                # Whose words the shared slot holds is not known any more.
                self._sharing = ""
                items.put(error)
                return True
            return stop()

        try:
            with self._lock:
                if not stop():
                    self._server.handle_completions(self._cached(request, adapter), receive)
            items.put(None)
        except Exception as error:  # noqa: BLE001 - crosses a thread; the reader raises it
            self._sharing = ""
            items.put(ModelError(f"llama.cpp could not answer ({error}).", "Try again; if it stays, set `engine: hf`."))

    def _request(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling) -> dict[str, Any]:
        if adapter is not None and adapter not in self._adapters:
            raise ModelError(f"The adapter {adapter} is not loaded.", "This is a fault of PZ2; please report it.")
        if len(prompt) + sampling.max_tokens > self.context_tokens:
            raise ModelError(
                f"{len(prompt)} tokens of prompt and {sampling.max_tokens} of answer do not fit into the context of {self.context_tokens}.",
                "Ask something shorter, or raise chat.context_tokens in model_config.yaml.",
            )
        return {
            "prompt": list(prompt),
            "id_slot": OWN_SLOT if self._adapters and adapter == self._adapters[0] else SHARED_SLOT,
            # Every request names every adapter: what is not named keeps its last scale.
            "lora": [{"id": number, "scale": 1.0 if key == adapter else 0.0} for number, key in enumerate(self._adapters)],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 40,
            "min_p": 0.0,
            "repeat_penalty": sampling.repeat_penalty,
            "seed": sampling.seed,
            "n_probs": TOP,
            "cache_prompt": True,
            "return_progress": True,
            "stream": True,
        }

    def _cached(self, request: dict[str, Any], adapter: str | None) -> dict[str, Any]:
        """The request with the cache allowed only where the same speaker filled it. Called with the server held."""
        if request["id_slot"] != SHARED_SLOT:
            return request
        same, self._sharing = adapter == self._sharing, adapter
        return {**request, "cache_prompt": same}

    def _make(self, adapters: Sequence[Path], reader: bool = False) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self._gguf)
        params.n_parallel = 2 if adapters else 1
        params.n_ctx = READER_TOKENS if reader else self.context_tokens * params.n_parallel
        params.n_batch = params.n_ubatch = READER_TOKENS if reader else PREFILL_BATCH
        params.cache_ram_mib = 0
        params.fit_params = params.warmup = params.ui = False
        params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
        params.cors_origins = ""
        params.api_keys = [secrets.token_urlsafe(32)]
        params.n_threads_http = 1
        if os.name != "nt":
            params.hostnames = [os.path.join(self._door, f"{secrets.token_hex(4)}.sock")]
        params.verbosity = -1
        if reader:
            params.embedding = True
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
        try:
            server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            names = ", ".join(str(path) for path in adapters) or str(self._gguf)
            raise ModelError(
                f"llama.cpp could not load {names} ({error}).", "The file is damaged or belongs to another base; use another version."
            ) from error
        if not reader:
            # One token each: a server that has served nothing can deadlock when it is dropped.
            server.handle_completions({"prompt": [self.format.start_id], "max_tokens": 1, "cache_prompt": False, "id_slot": 0})
        return server


def check_gguf(path: Path) -> None:
    """Whether a file is there and begins like GGUF; llama.cpp's own errors give no reason."""
    if not path.is_file():
        raise ModelError(f"{path} does not exist.", "Use another version, or train the model again.")
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[:4] != b"GGUF" or struct.unpack("<I", head[4:])[0] not in (2, 3):
        raise ModelError(f"{path} is not a GGUF file.", "The file is damaged; use another version, or train the model again.")


def _get(items: "queue.Queue[Any]") -> Any:
    while True:
        try:
            # With a time-out, so that Ctrl-C is heard on Windows too.
            return items.get(timeout=0.2)
        except queue.Empty:
            continue


def _tokens(event: dict[str, Any], end_id: int) -> Iterator[Token]:
    choice = event["choices"][0]
    logprobs = choice.get("logprobs") or {}
    text = choice.get("text", "")
    for entry in logprobs.get("content") or []:
        if entry["id"] == end_id:
            continue
        top = tuple((other["id"], other["logprob"]) for other in entry["top_logprobs"])
        yield Token(entry["id"], text, entry["logprob"], top)
        text = ""
    if text:
        # The last bytes of a character that was held back come without a token of their own.
        yield Token(-1, text, 0.0)


def _raise_on_error(answer: Any) -> None:
    if isinstance(answer, str):
        answer = json.loads(answer)
    if isinstance(answer, dict) and (error := answer.get("error")):
        raise ModelError(
            f"llama.cpp refused the request: {error.get('message', error)}.", "Ask something shorter, or start a new chat with `new:`."
        )
