"""A training of two steps in the test's own process, on any base, without the proof that follows."""

from assistant.core import files, settings
from assistant.core.paths import Paths, prepare
from assistant.core.store import Store
from assistant.core.values import Adapter
from assistant.engine import base as engines
from finetuning.training import plan as plans
from finetuning.training import runs, session
from finetuning.training.plan import TrainingPlan
from finetuning.training.recipe import recipe

ROWS = [("How do I draw a line?", "Press L, then click two points."), ("What is a byte?", "A byte is eight bits.")] * 2
QUICK = {
    "max_steps": 2,
    "batch_size": 2,
    "warmup_share": 0.0,
    "schedule": "constant",
    "lora_r": 4,
    "validations": 0,
    "validation_rows": 2,
    "replay": 0.0,
    # Its own tests are in test_whitened; measuring takes longer than the two steps.
    "whitened": False,
}


def small_root(folder, base_folder):
    """A root over the shared base, with the small dataset."""
    paths = Paths(folder)
    prepare(paths)
    paths.base.symlink_to(base_folder, target_is_directory=True)
    write_rows(paths)
    return paths


def write_rows(paths, rows=ROWS):
    documents = [{"input_text": f"System: Be brief.\n\nUser: {question}\nAssistant:", "target_text": answer} for question, answer in rows]
    folder = paths.datasets / "small"
    folder.mkdir(parents=True)
    files.write_jsonl(folder / "train.jsonl", documents)
    files.write_jsonl(folder / "validation.jsonl", documents[:2])


def planned(paths, data=None, begins=("", ""), **changes):
    """The work of a new version, loaded; ``begins`` is the version that preferences begin with, and its hash."""
    configured = settings.load(paths)
    base = engines.base_of(configured, paths)
    chosen = recipe(paths, "balanced", "small", {**QUICK, **changes})
    data = data or plans.dataset(paths, "small")
    about = "small", base.name, configured.base, base.sha256, plans.parameters(base)
    plan = plans.sealed(TrainingPlan(*about, *data, "balanced", chosen, plans.SEED, *begins))
    version = Store(paths).reserve("small", plans.to_json(plan))
    run = runs.create(paths, "small", version, plan.hash, promote=False)
    said = []
    return session.load(paths, configured, run, said.append, lambda: False), said


def learned(paths, **changes):
    """A trained version as an adapter, its work, and what the training gave."""
    work, _ = planned(paths, **changes)
    outcome = session.learn(work)
    return Adapter(f"small/{work.run.version}", work.version), work, outcome
