"""Measure the engines: first token, tokens/s beside bare llama.cpp and beside a training, switches, memory, agreement.

    python benchmarks/engine.py [--root DIR] [--json]

Everything is measured side by side in one run, because machines are noisy: read the ratios. Needs the training packages.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from assistant.core import paths as places  # noqa: E402
from assistant.core import settings as configuration  # noqa: E402
from assistant.core.prompts import system_prompt  # noqa: E402
from assistant.core.values import Adapter, Message, Sampling  # noqa: E402
from assistant.engine import base as engines  # noqa: E402
from assistant.engine import embedded, gguf_adapter  # noqa: E402

QUESTIONS = [
    "What is the capital of France?",
    "How do I draw a line in CAD software?",
    "I feel sad today",
    "Explain what a GPU does.",
    "Tell me about the moon.",
    "Why is the sky blue?",
    "What should I cook tonight?",
    "How does a bicycle stay upright?",
    "Who wrote Hamlet?",
    "What is recursion?",
]
LONG = Sampling(max_tokens=100)


def main() -> None:
    """Run every measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    root = places.resolve(given.root)
    places.prepare(root)
    embedded.materialise(root)
    with tempfile.TemporaryDirectory() as temporary:
        adapters = [random_adapter(root, Path(temporary) / f"a{number}", number) for number in range(3)]
        figures = {
            "first_token": first_token(root),
            **speeds(root, adapters),
            "switch": switches(root, adapters),
            "agreement": agreement(root, adapters),
            "beside_training": beside_training(root, adapters[0]),
        }
    print(json.dumps(figures, indent=2) if given.json else "\n".join(lines(figures)))


def first_token(root: places.Paths) -> dict[str, float]:
    """Seconds from process start to the first token of ``--ask``, and for ``--help``; medians of five."""

    def run(*words: str) -> float:
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(PROJECT / "main.py"), "--root", str(root.root), *words], stdout=subprocess.PIPE
        ) as child:
            child.stdout.read(1)
            return time.perf_counter() - started

    ask = [run("--ask", QUESTIONS[0]) for _ in range(6)][1:]
    show_help = [run("--help") for _ in range(6)][1:]
    return {"ask_seconds": statistics.median(ask), "help_seconds": statistics.median(show_help)}


def speeds(root: places.Paths, adapters: list[Adapter]) -> dict[str, Any]:
    """Decoding speed of bare llama.cpp and of both engines, taken in turns; memory of each."""
    import psutil

    settings = configuration.load(root)
    base = engines.base_of(settings, root)
    process = psutil.Process()
    memory = {"before": process.memory_info().rss}
    llama = engines.make("llama", base, settings, root)
    memory["llama_base"] = process.memory_info().rss
    llama.set_adapters(adapters)
    speak(llama, adapters[0].key, 0)
    memory["llama_three_adapters"] = process.memory_info().rss
    bare = bare_server(base)
    hf = engines.make("hf", base, settings, root)
    hf.set_adapters(adapters)
    found: dict[str, list[float]] = {"bare_llama_cpp": [], "llama": [], "llama_adapter": [], "hf": [], "hf_adapter": []}
    for number in range(5):
        found["bare_llama_cpp"].append(bare_speed(bare, prompt(llama, number)))
        found["llama"].append(speak(llama, None, number))
        found["llama_adapter"].append(speak(llama, adapters[0].key, number))
        found["hf"].append(speak(hf, None, number))
        found["hf_adapter"].append(speak(hf, adapters[0].key, number))
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratio = statistics.median(ours / theirs for ours, theirs in zip(found["llama"], found["bare_llama_cpp"], strict=True))
    batch_started = time.perf_counter()
    answers = hf.batch(
        [prompt(hf, number) for number in range(10)] + [prompt(hf, number) for number in range(6)], None, Sampling(max_tokens=60)
    )
    together = sum(len(answer.ids) for answer in answers) / (time.perf_counter() - batch_started)
    llama.release()
    hf.release()
    return {
        "tokens_per_second": {**medians, "hf_16_together": together},
        "llama_to_bare": ratio,
        "memory_mb": {k: v // 1_000_000 for k, v in memory.items()},
    }


def switches(root: places.Paths, adapters: list[Adapter]) -> dict[str, float]:
    """Seconds to a new adapter between turns, and what changing to a resident one adds to the first token."""
    settings = configuration.load(root)
    llama = engines.make("llama", engines.base_of(settings, root), settings, root)
    new = []
    for count in (1, 2, 3):
        started = time.perf_counter()
        llama.set_adapters(adapters[:count])
        new.append(time.perf_counter() - started)
    keys = [adapter.key for adapter in adapters]
    for key in keys:
        first(llama, key)
    same = [first(llama, keys[0]) for _ in range(12)][2:]
    other = [first(llama, keys[number % 3]) for number in range(12)][2:]
    llama.release()
    return {"new_adapter_seconds": statistics.median(new), "resident_ms": 1000 * (statistics.median(other) - statistics.median(same))}


def agreement(root: places.Paths, adapters: list[Adapter]) -> dict[str, float]:
    """How often both engines say the same first token, over the bare base and three adapters."""
    settings = configuration.load(root)
    base = engines.base_of(settings, root)
    llama, hf = (engines.make(name, base, settings, root) for name in ("llama", "hf"))
    same = total = 0
    for engine in (llama, hf):
        engine.set_adapters(adapters)
    for key in (None, *(adapter.key for adapter in adapters)):
        for number in range(len(QUESTIONS)):
            one, other = (list(engine.stream(prompt(llama, number), key, Sampling(max_tokens=1), lambda: False)) for engine in (llama, hf))
            total += 1
            same += [token.id for token in one] == [token.id for token in other]
    llama.release()
    hf.release()
    return {"first_token_share": same / total, "prompts": total}


def beside_training(root: places.Paths, adapter: Adapter) -> dict[str, float]:
    """The chat's tokens/s with an adapter, alone and while a real training runs; the run is cancelled and deleted afterwards."""

    def ft(*words: str) -> str:
        command = [sys.executable, str(PROJECT / "main.py"), "--root", str(root.root), "ft", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    if not (root.processed / "manifest.json").is_file():
        ft("generate")
    settings = configuration.load(root)
    llama = engines.make("llama", engines.base_of(settings, root), settings, root)
    llama.set_adapters([adapter])
    alone = [speak(llama, adapter.key, number) for number in range(8)]
    ft("train", "unified", "--detach")
    run = ""
    for _ in range(240):
        job = json.loads(ft("jobs", "--json"))[0]
        run = job["run"]
        if job["step"] >= 3:
            break
        time.sleep(1)
    beside = [speak(llama, adapter.key, number) for number in range(8)]
    ft("jobs", "cancel", run)
    ft("jobs", "delete", run)
    llama.release()
    speed = {"alone": statistics.median(alone), "beside": statistics.median(beside)}
    return {**speed, "ratio": speed["beside"] / speed["alone"]}


def prompt(engine: Any, number: int) -> list[int]:
    """A question as a prompt."""
    return engine.format.encode([Message("system", system_prompt("unified")), Message("user", QUESTIONS[number % len(QUESTIONS)])])


def speak(engine: Any, key: str | None, number: int) -> float:
    """Tokens a second of one answer, the first token left out."""
    times = []
    for _ in engine.stream(prompt(engine, number), key, LONG, lambda: False):
        times.append(time.perf_counter())
        if len(times) == 60:
            break
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 5 else speak(engine, key, number + 1)


def first(engine: Any, key: str) -> float:
    """Seconds to the first token of a cached prompt."""
    started = time.perf_counter()
    stream = engine.stream(prompt(engine, 1), key, Sampling(max_tokens=1), lambda: False)
    next(stream, None)
    seconds = time.perf_counter() - started
    stream.close()
    return seconds


def bare_server(base: Any) -> Any:
    """llama.cpp with nothing of ours around it."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(base.gguf)
    params.n_ctx, params.n_parallel, params.cache_ram_mib, params.verbosity, params.api_keys = 2048, 1, 0, -1, ["bench"]
    return xllamacpp.Server(params)


def bare_speed(server: Any, ids: list[int]) -> float:
    """llama.cpp's own count of tokens a second."""
    answer = server.handle_completions({"prompt": ids, "max_tokens": 60, "temperature": 0, "ignore_eos": True, "cache_prompt": False})
    return answer["timings"]["predicted_per_second"]


def random_adapter(root: places.Paths, folder: Path, seed: int) -> Adapter:
    """A rank-16 adapter with small random weights, in both forms."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(str(root.base), dtype=torch.bfloat16)
    model = get_peft_model(network, LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", init_lora_weights=False))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(0.2)
    model.save_pretrained(str(folder))
    gguf_adapter.write(folder, network.config.num_attention_heads, network.config.num_key_value_heads)
    return Adapter(f"random{seed}/0001", folder)


def lines(figures: dict[str, Any], before: str = "") -> list[str]:
    """The figures as plain lines."""
    found = []
    for name, value in figures.items():
        found += lines(value, f"{before}{name}.") if isinstance(value, dict) else [f"{before}{name:<40} {value:.3f}"]
    return found


if __name__ == "__main__":
    main()
