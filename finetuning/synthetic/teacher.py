"""A stronger model behind an OpenAI-compatible address (``/v1/chat/completions``): time-outs, retries, a clear error when it is down."""

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.core.errors import ModelError, UsageError
from assistant.core.values import Message, Sampling

KEY = "PZ2_TEACHER_KEY"
# The first wait before a new try; each further one is twice as long.
WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
# Too many requests, and faults of the server that may pass.
_PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Said:
    """What a teacher answered, and whether it came to an end by itself."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model at an address. ``url`` may name the server, its ``/v1``, or the whole path."""

    url: str
    model: str
    seconds: float = 60.0
    tries: int = 4
    at_once: int = 4
    sleep: Callable[[float], None] = time.sleep

    @property
    def address(self) -> str:
        """Where requests go."""
        url = self.url.rstrip("/")
        if url.endswith("/chat/completions"):
            return url
        return f"{url}/chat/completions" if url.endswith("/v1") else f"{url}/v1/chat/completions"

    def ask_all(self, conversations: Sequence[Sequence[Message]], sampling: Sampling) -> list[Said]:
        """The answers in order, several asked for at once; each has a seed of its own. The first error ends it."""
        left = deque(enumerate(conversations))
        said: dict[int, Said] = {}
        failed: list[Exception] = []

        def work() -> None:
            while left and not failed:
                try:
                    place, messages = left.popleft()
                    said[place] = self.ask(messages, sampling, sampling.seed + place)
                except IndexError:
                    return
                except Exception as error:  # noqa: BLE001 - crosses the thread's end: raised again below
                    failed.append(error)

        # Daemons: whoever presses Ctrl-C does not wait for a server that hangs.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self.at_once, len(conversations)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            left.clear()
        if failed:
            raise failed[0]
        return [said[place] for place in range(len(conversations))]

    def ask(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Said:
        """One answer; what does not pass is a ModelError."""
        body = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stream": False,
        }
        why = ""
        for attempt in range(self.tries):
            if attempt:
                self.sleep(min(WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS))
            try:
                return self._read(self._send(body))
            except urllib.error.HTTPError as error:
                why = f"status {error.code}: {_detail(error)}"
                if error.code not in _PASSING:
                    raise ModelError(f"The teacher at {self.address} refused a request ({why}).", self._fix(error.code)) from error
            except (OSError, http.client.HTTPException) as error:
                why = str(getattr(error, "reason", "") or error) or type(error).__name__
        tried = f"tried {self.tries} times" if self.tries > 1 else "tried once"
        raise ModelError(
            f"The teacher at {self.address} does not answer ({why}; {tried}).",
            "Start the server or correct --teacher, then run the command again: it goes on where it stopped.",
        )

    def _send(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.seconds) as answer:
            return answer.read()

    def _read(self, content: bytes) -> Said:
        try:
            choice = json.loads(content)["choices"][0]
            return Said(str(choice["message"]["content"] or ""), choice.get("finish_reason") != "length")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(
                f"What {self.address} answered is not of the OpenAI form ({type(error).__name__}).", "Name the address of a chat server."
            ) from error

    def _fix(self, status: int) -> str:
        if status in (401, 403):
            return f"Put the server's key into the environment variable {KEY}."
        return "Check --teacher and --teacher_model."


def check_url(url: str) -> str:
    """An address that can be asked; anything but http and https is a UsageError."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"'{url}' is not an address.", "Write for example --teacher http://127.0.0.1:8000.")
    return url


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(500).decode("utf-8", "replace")
    except OSError:
        return str(error.reason)
    return " ".join(text.split())[:200] or str(error.reason)
