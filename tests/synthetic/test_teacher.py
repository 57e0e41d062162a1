import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from assistant.core.errors import ModelError
from assistant.core.values import Message, Sampling
from finetuning.synthetic.teacher import KEY, Teacher
from tests.data_room import run_in

ASKED = [Message("user", "Hello?")]


@contextmanager
def server(*statuses, text="What do the tides have to do with the moon?", content=None):
    """An OpenAI-compatible server that answers with these statuses first, then well."""
    left, seen = list(statuses), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers.get("Authorization"), body))
            status = left.pop(0) if left else 200
            asks = body["messages"][0]["role"] == "user"
            said = f"{text} ({len(seen)})" if asks else "It is so because the moon draws the water to it."
            answer = content or json.dumps({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode() if status == 200 else b'{"error": "busy"}')

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_a_teacher_writes_the_rows(paths):
    with server() as (url, seen):
        ran = run_in(paths, "synthesize", "--stage", "raw", "--rows", 6, "--teacher", url, "--teacher_model", "big")
    assert ran.status == 0, ran.failure
    rows = json.loads((paths.datasets / "synthetic" / "raw" / "instructions_final_full.json").read_text())
    assert len(rows) == 6
    assert all(row["response"] == "It is so because the moon draws the water to it." for row in rows)
    assert {path for path, _, _ in seen} == {"/v1/chat/completions"}
    assert len({body["seed"] for _, _, body in seen}) == len(seen)


def test_a_busy_server_is_asked_again_after_longer_and_longer_waits():
    waits = []
    with server(429, 503) as (url, seen):
        said = Teacher(f"{url}/v1", "big", sleep=waits.append).ask(ASKED, Sampling(), 1)
    assert said.ended
    assert len(seen) == 3
    assert waits == [1.0, 2.0]


def test_a_server_that_is_down_is_a_clear_error_and_the_rows_stay(paths, monkeypatch):
    monkeypatch.setattr("finetuning.synthetic.teacher.WAIT_SECONDS", 0.0)
    ran = run_in(paths, "synthesize", "--stage", "raw", "--rows", 2, "--teacher", "http://127.0.0.1:9", "--teacher_model", "big")
    assert ran.status == 2
    assert "The teacher at http://127.0.0.1:9/v1/chat/completions does not answer" in ran.failure
    assert "it goes on where it stopped" in ran.failure


def test_a_refusal_is_not_tried_again(monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    with server(401) as (url, seen), pytest.raises(ModelError) as error:
        Teacher(url, "big").ask(ASKED, Sampling(), 1)
    assert "status 401" in error.value.what
    assert KEY in error.value.fix
    assert seen[0][1] == "Bearer secret"
    assert len(seen) == 1


def test_an_answer_of_another_form_is_named():
    with server(content="{}") as (url, _), pytest.raises(ModelError) as error:
        Teacher(url, "big").ask(ASKED, Sampling(), 1)
    assert "not of the OpenAI form" in error.value.what


def test_a_server_that_never_answers_runs_into_the_time_out():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ModelError) as error:
            Teacher(url, "big", seconds=0.2, tries=2, sleep=lambda _: None).ask(ASKED, Sampling(), 1)
    assert "timed out; tried 2 times" in error.value.what
