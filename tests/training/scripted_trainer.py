"""A trainer that trains nothing: it writes the events a test asks for and waits to be ended. Run as a process of its own."""

import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import psutil

from assistant.core import files
from assistant.core.events import Finished, Notice, Progress, to_json
from assistant.core.paths import Paths
from assistant.core.store import Store
from assistant.core.values import ModelCard
from finetuning.training import runs


def main(root: str, name: str, script: str) -> None:
    paths = Paths(Path(root))
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    process = psutil.Process()
    run = dataclasses.replace(runs.read(paths, name), pid=process.pid, pid_created=process.create_time())
    runs.write(paths, run)

    def say(event):
        files.append_line(runs.events_file(paths, name), json.dumps(to_json(event)))

    for step in range(1, 4):
        say(Progress(step, 3 if script in ("finish", "held") else 1000, "steps", {"loss": 1.0 / step}))
    if script in ("finish", "held"):
        figures = {"gate": "held", "refusal": "It has forgotten: general ability."} if script == "held" else {}
        card = ModelCard(run.model, run.version, name, "lora", "Tiny", "", "d", "", "now", 3, 9, 1.0, 0.3, 10, ("hf",), "", figures)
        Store(paths).finish(card)
        say(Finished(0))
        return
    if script == "die":
        return
    while not asked:
        time.sleep(0.02)
    say(Notice("Cancelled."))
    say(Finished(130))


if __name__ == "__main__":
    main(*sys.argv[1:])
