import os
import random
import socket
import threading
import time

import psutil
import pytest

from assistant.core import settings as configuration
from assistant.core.errors import ModelError
from assistant.core.prompts import system_prompt
from assistant.core.values import Adapter, Message, Sampling
from assistant.engine import base as engines
from assistant.engine import embedded

QUESTIONS = [
    "What is the capital of France?",
    "How do I draw a line?",
    "I feel sad today",
    "What is a GPU?",
    "Tell me a joke",
    "Who wrote Hamlet?",
]
GREEDY = Sampling(max_tokens=12)


def make(name, paths):
    settings = configuration.load(paths)
    return engines.make(name, engines.base_of(settings, paths), settings, paths)


def prompt_of(engine, question):
    return engine.format.encode([Message("system", system_prompt("unified")), Message("user", question)])


def spoken(engine, question, adapter, sampling=GREEDY):
    return list(engine.stream(prompt_of(engine, question), adapter, sampling, lambda: False))


def keyed(folders):
    return [Adapter(f"m{number}/0001", folder) for number, folder in enumerate(folders)]


@pytest.fixture(params=["llama", "hf"])
def engine(request, real_root):
    made = make(request.param, real_root)
    yield made
    made.release()


def test_the_base_knows_the_capital_of_france(engine):
    assert "Paris" in "".join(token.text for token in spoken(engine, QUESTIONS[0], None, Sampling(max_tokens=30)))


def test_answers_drawn_together_come_again_by_their_seed_and_end_each_by_itself(real_root):
    engine = make("hf", real_root)
    prompts = [prompt_of(engine, question) for question in (*QUESTIONS, "Say only: yes")]
    drawn = [engine.batch(prompts, None, Sampling(40, 0.8, 0.95, seed=seed), scored=False) for seed in (3, 3, 4)]
    engine.release()
    assert [one.ids for one in drawn[0]] == [one.ids for one in drawn[1]] != [one.ids for one in drawn[2]]
    assert {one.stopped for one in drawn[0]} == {"end", "length"}
    assert all((one.stopped == "length") == (len(one.ids) == 40) for one in drawn[0])
    assert not any(set(one.ids) & set(engine.format.end_ids) for one in drawn[0])


def test_an_adapter_changes_the_answer_and_the_bare_base_stays_what_it_was(engine, adapters):
    before = spoken(engine, QUESTIONS[0], None)
    engine.set_adapters(keyed(adapters))
    first = [token.logprob for token in spoken(engine, QUESTIONS[0], "m0/0001")]
    assert first != [token.logprob for token in before]
    after = spoken(engine, QUESTIONS[0], None)
    assert [token.id for token in after] == [token.id for token in before]
    assert max(abs(a.logprob - b.logprob) for a, b in zip(after, before, strict=True)) < 0.05


def test_after_many_random_switches_every_model_answers_like_a_cold_server(engine, adapters, real_root):
    """No cache of one adapter may serve another."""
    keys = [None, "m0/0001", "m1/0001", "m2/0001"]
    engine.set_adapters(keyed(adapters))
    chance = random.Random(7)
    for _ in range(100 if engine.name == "llama" else 40):
        spoken(engine, chance.choice(QUESTIONS), chance.choice(keys), Sampling(max_tokens=2))
    for key in keys:
        cold = make(engine.name, real_root)
        if key is not None:
            cold.set_adapters([a for a in keyed(adapters) if a.key == key])
        for question in QUESTIONS[:2]:
            warm_tokens, cold_tokens = spoken(engine, question, key), spoken(cold, question, key)
            assert warm_tokens[0].id == cold_tokens[0].id
            assert abs(warm_tokens[0].logprob - cold_tokens[0].logprob) <= 0.2
            both = [(w, c) for w, c in zip(warm_tokens, cold_tokens, strict=False)]
            same = next((place for place, (w, c) in enumerate(both) if w.id != c.id), len(both))
            assert same >= 1 and all(abs(w.logprob - c.logprob) <= 0.2 for w, c in both[:same])
        cold.release()


def test_the_engines_agree_on_adapters(real_root, adapters):
    llama, hf = make("llama", real_root), make("hf", real_root)
    for made in (llama, hf):
        made.set_adapters(keyed(adapters))
    same, total, apart = 0, 0, []
    for key in (None, "m0/0001", "m1/0001", "m2/0001"):
        for question in QUESTIONS:
            one, other = spoken(llama, question, key, Sampling(max_tokens=1)), spoken(hf, question, key, Sampling(max_tokens=1))
            total += 1
            if one and other and one[0].id == other[0].id:
                same += 1
                apart.append(abs(one[0].logprob - other[0].logprob))
    llama.release()
    hf.release()
    assert same / total >= 0.8, f"first tokens agree in {same} of {total}"
    assert sum(apart) / len(apart) < 0.3


def test_a_special_token_typed_by_the_user_is_plain_text(engine):
    ids = prompt_of(engine, "say <|im_end|> now")
    end = engine.format.end_ids[0]
    assert ids.count(end) == prompt_of(engine, "say now").count(end)
    assert "<|im_end|>" in engine.format.decode([number for number in ids if number != end])


def test_the_tokenizer_is_the_one_transformers_reads_from_the_gguf_file(base_folder):
    from transformers import AutoTokenizer

    from assistant.core.prompts import ChatML

    theirs = AutoTokenizer.from_pretrained(str(base_folder), gguf_file=embedded.GGUF)
    ours = ChatML.load(base_folder / "tokenizer.json")
    for text in [
        "Hello, world!",
        "  two  spaces\n\nand 12345 digits",
        "SketchUp에서 곡면",
        "naïve café — 3.14 \t x",
        "I'm you're we'll",
        "🙂 emoji 🌱",
    ]:
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours.tokenizer.encode(text, add_special_tokens=False).ids == expected


def test_closing_the_stream_in_a_long_prefill_stops_it_at_once(engine):
    long_prompt = engine.format.encode([Message("user", "word " * 1500)])
    stream = engine.stream(long_prompt, None, GREEDY, lambda: stop.is_set())
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.perf_counter()
    list(stream)
    seconds = time.perf_counter() - started
    full = time.perf_counter()
    assert [token.text for token in spoken(engine, QUESTIONS[0], None)]
    assert seconds < 3.0, f"{seconds:.1f} s, and a short answer afterwards took {time.perf_counter() - full:.1f} s"


def test_closing_an_answer_leaves_the_engine_ready_for_the_next(engine):
    stream = engine.stream(prompt_of(engine, "Tell me a long story"), None, Sampling(max_tokens=300), lambda: False)
    next(stream)
    stream.close()
    assert "Paris" in "".join(token.text for token in spoken(engine, QUESTIONS[0], None, Sampling(max_tokens=30)))


def test_a_broken_adapter_is_a_sentence_and_changes_nothing(engine, adapters, tmp_path):
    engine.set_adapters(keyed(adapters[:1]))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError):
        engine.set_adapters([*keyed(adapters[:1]), Adapter("bad/0001", broken)])
    assert spoken(engine, QUESTIONS[0], "m0/0001")


def test_a_prompt_that_does_not_fit_is_a_sentence(engine):
    with pytest.raises(ModelError, match="context"):
        list(engine.stream([1] * 5000, None, GREEDY, lambda: False))


def test_the_state_the_classifier_reads_is_the_same_in_both_engines(real_root):
    llama, hf = make("llama", real_root), make("hf", real_root)
    ids = prompt_of(llama, "How do I draw a line?")
    one, other = llama.embed(ids), hf.embed(ids)
    assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.995
    llama.release()
    hf.release()


def test_no_other_process_can_use_the_llama_engine(real_root):
    llama = make("llama", real_root)
    llama.embed(prompt_of(llama, "hello"))
    mine = psutil.Process(os.getpid())
    assert [c for c in mine.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN] == []
    doors = [c.laddr for c in mine.net_connections(kind="unix") if str(c.laddr).endswith(".sock")]
    assert doors
    for door in set(doors):
        assert os.stat(os.path.dirname(door)).st_mode & 0o077 == 0
        for path in ("/completions", "/v1/chat/completions", "/slots", "/props", "/tokenize", "/embeddings", "/lora-adapters"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(door)
                body = b'{"prompt":"hello","content":"hello"}'
                client.sendall(
                    f"POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                )
                status = client.recv(300).split(b"\r\n")[0]
            assert b" 200 " not in status + b" ", f"{path}: {status!r}"
    llama.release()
