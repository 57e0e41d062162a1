"""After the training: try the version, prove it, write its report and its card, and make it live when it may be."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import torch

from assistant.core import files
from assistant.core.errors import DataError, ModelError
from assistant.core.events import Checked, Lines, Report, Step, Switched, Table
from assistant.core.prompts import system_prompt
from assistant.core.store import Store
from assistant.core.values import Adapter, ModelCard
from assistant.engine import base as engines
from finetuning.evaluation import suites
from finetuning.evaluation.proof import Proof, prove
from finetuning.training import rows as row_files
from finetuning.training import scope, trial
from finetuning.training.trial import Trial
from finetuning.training.work import Outcome, Work

# Prompts on which the engines are compared.
TRIAL_PROMPTS = 8
# In the run's checkpoints: what is done after the last step, so that a killed run goes on behind it.
OUTCOME, TRIALS = "outcome.json", "trials.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a proof: whether the version goes live, and the sentence against it ("" when there is none)."""

    live: bool
    refusal: str
    words: tuple[str, ...]
    figures: dict[str, Any]


def keep(work: Work, outcome: Outcome) -> None:
    """Remember that the training is over: from now on the run goes on behind it."""
    files.write_json(work.kept / OUTCOME, {**asdict(outcome), "adapter": _weights(work)})


def kept(work: Work) -> Outcome | None:
    """What the training of this run gave, when it is over and its weights are here."""
    names = {item.name for item in fields(Outcome)}
    try:
        document = files.read_json(work.kept / OUTCOME)
        whole = document["adapter"] == _weights(work) and bool(document["adapter"])
        return Outcome(**{key: value for key, value in document.items() if key in names}) if whole else None
    except (OSError, DataError, KeyError, TypeError):
        return None


def on_the_live_base(work: Work, outcome: Outcome) -> Outcome:
    """The validation losses again, on the base the version will live on; in training it stood on a quantised one."""
    if not work.judged:
        return outcome
    work.say(Step("Measuring the new version on the base it will live on, which is not quantised"))
    engine = engines.make("hf", work.base, work.settings, work.paths)
    try:
        adapter = Adapter(f"{work.plan.model}/{work.run.version}", work.version)
        engine.set_adapters([adapter])
        pairs = [(row.ids[: row.prompt], row.ids[row.prompt :]) for row in work.judged]
        before, after = (_loss(engine.score(pairs, key)) for key in (None, adapter.key))  # type: ignore[attr-defined]
    finally:
        engine.release()
    work.say(Checked("validation loss, not quantised", True, f"{before:.3f} (base) → {after:.3f}"))
    return replace(outcome, validation_before=before, validation_after=after)


def finish(work: Work, outcome: Outcome) -> bool:
    """Prove the version and write its card last; False when the run was asked to stop on the way (it goes on here)."""
    trials = _tried(work)
    scope.make(work)
    if work.stop():
        return False
    proof = _proved(work)
    if proof is None:
        return False
    judged = _verdict(work, proof)
    report = _report(work, outcome, trials, judged)
    files.write_json(work.version / "report.json", report)
    store, plan, version = Store(work.paths), work.plan, work.run.version
    store.finish(_card(work, outcome, trials, report))
    before = store.make_live(plan.model, version) if judged.live else None
    blocks = (_table(report), Lines("", (_told(judged), f"It lies in {work.version}")))
    work.say(Report(f"{plan.model} {version} is trained", report, blocks))
    if before is not None:
        work.say(Switched(plan.model, version, before.version))
    shutil.rmtree(work.kept, ignore_errors=True)
    return True


def _tried(work: Work) -> list[Trial]:
    """Try the version on every engine it has to run on; once a run."""
    path = work.kept / TRIALS
    if path.is_file():
        return [Trial(**{**item, "first": tuple(item["first"])}) for item in files.read_json(path)]
    adapter = Adapter(f"{work.plan.model}/{work.run.version}", work.version)
    longest = work.settings.chat.context_tokens - trial.ANSWER.max_tokens
    prompts = [list(row.ids[: row.prompt])[-longest:] for row in (work.judged or work.rows.rows)[:TRIAL_PROMPTS]]
    trials = []
    for name in trial.engines_to_try(work.settings, work.base, (work.version / "adapter.gguf").is_file()):
        work.say(Step(f"Trying the new version on the {name} engine"))
        trials.append(trial.attempt(name, work.base, work.settings, work.paths, adapter, prompts))
        work.say(Checked(f"answers on {name}", True, f"“{' '.join(trials[-1].said.split())}”"))
    files.write_json(path, [asdict(item) for item in trials])
    return trials


def _proved(work: Work) -> Proof | None:
    """The proof, said aloud; None when it was asked to stop. What was answered until then is kept."""
    recipe, model, version = work.plan.recipe, work.plan.model, work.run.version
    adapter = Adapter(f"{model}/{version}", work.version)
    pairs = [(row.ids[: row.prompt], row.ids[row.prompt :], row.rejected) for row in work.judged] if recipe.prefers else []
    learned = {row.entry for row in work.rows.rows if row.entry} if recipe.share < 1 else ()
    steps = prove(
        *(work.paths, work.settings, work.base, model, version, adapter),
        rows=recipe.proof_rows,
        questions=recipe.proof_general,
        pairs=pairs,
        learned=learned,
        system=_system(work),
    )
    try:
        while True:
            work.say(next(steps))
            if work.stop():
                steps.close()
                return None
    except StopIteration as end:
        return end.value


def _verdict(work: Work, proof: Proof) -> Verdict:
    """Whether the version goes live: by the gate, or because that was asked for. What went live meanwhile was not compared."""
    refusal, model = proof.refusal, work.plan.model
    try:
        now = Store(work.paths).current(model).version
    except ModelError:
        now = proof.live
    if not refusal and now != proof.live:
        refusal = f"Meanwhile {f'{model} {now}' if now else 'the base'} went live, and it was not compared with that."
    held_out = proof.document.get("held_out", {}).get("figures", {})
    general = proof.document["suites"].get(suites.GENERAL, {})
    recall = held_out.get("key_fact_recall")
    figures = {
        "held_out_loss": held_out["loss"]["mean"] if held_out else None,
        "key_fact_recall": recall["mean"] if recall else None,
        "general": general["accuracy"]["mean"] if general else None,
        **({"preference": proof.document["preference"]["accuracy"]} if "preference" in proof.document else {}),
        "gate": "passed" if not refusal else "overruled" if work.run.promote else "held",
        "refusal": refusal,
    }
    return Verdict(not refusal or work.run.promote, refusal, proof.verdict, figures)


def _told(judged: Verdict) -> str:
    if not judged.refusal:
        return "It is better, has forgotten nothing, and goes live."
    return "It goes live because that was asked for; the gate would have held it." if judged.live else "It is held."


def _card(work: Work, outcome: Outcome, trials: list[Trial], report: dict[str, Any]) -> ModelCard:
    plan = work.plan
    shown = ("validation_loss_before", "validation_loss_after", "tokens_per_second", "first_token_agreement", "memory_mb", "rows")
    return ModelCard(
        model=plan.model,
        version=work.run.version,
        run=work.run.run,
        method=plan.method,
        base=plan.base,
        base_sha256=plan.base_sha256,
        dataset=plan.dataset,
        dataset_sha256=plan.train.sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=outcome.steps,
        trained_tokens=outcome.trained_tokens,
        seconds=outcome.seconds,
        final_loss=round(outcome.final_loss, 4),
        adapter_bytes=sum(path.stat().st_size for path in work.version.glob("*.safetensors")),
        engines=tuple(item.engine for item in trials),
        system=_system(work),
        figures={"preset": plan.preset, **{key: report[key] for key in shown}, **report["gate"]},
    )


def _system(work: Work) -> str:
    """The system prompt the version is asked with: that of its rows, or of the version it began with."""
    plan = work.plan
    if plan.begins_with and plan.recipe.prefers:
        return Store(work.paths).card(plan.model, plan.begins_with).system
    if plan.recipe.prefers:
        return system_prompt(plan.model)
    return row_files.system(work.paths.datasets / plan.train.path, plan.model)


def _report(work: Work, outcome: Outcome, trials: list[Trial], judged: Verdict) -> dict[str, Any]:
    return {
        "run": work.run.run,
        "model": work.plan.model,
        "version": work.run.version,
        "plan": work.plan.hash,
        "preset": work.plan.preset,
        "steps": outcome.steps,
        "rows": len(work.rows.rows) - work.rows.replayed,
        "replayed_rows": work.rows.replayed,
        "tokens": outcome.tokens,
        "trained_tokens": outcome.trained_tokens,
        "seconds": outcome.seconds,
        "cpu_seconds": outcome.cpu_seconds or None,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "tokens_per_second": round(outcome.tokens / outcome.seconds, 1) if outcome.seconds else None,
        "memory_mb": outcome.peak_mb,
        "loss_first": round(outcome.first_loss, 4),
        "loss_last": round(outcome.final_loss, 4),
        "validation_rows": len(work.judged),
        "validation_loss_before": _rounded(outcome.validation_before),
        "validation_loss_after": _rounded(outcome.validation_after),
        "best_step": outcome.best_step,
        "ended_early_at": outcome.ended_at,
        "first_token_agreement": trial.agreement(trials),
        "trials": [{"engine": item.engine, "said": item.said, "effect": round(item.effect, 4)} for item in trials],
        "gate": judged.figures,
        "verdict": list(judged.words),
        "live": judged.live,
        "torch": torch.__version__,
    }


def _table(report: dict[str, Any]) -> Table:
    before, after = report["validation_loss_before"], report["validation_loss_after"]
    lines = [
        ("steps", f"{report['steps']:,}"),
        ("time", f"{report['seconds']:,.0f} s, {report['tokens_per_second'] or 0:,.0f} tokens/s"),
        ("memory", f"{report['memory_mb']:,} MB at most"),
        ("loss", f"{report['loss_first']:.3f} → {report['loss_last']:.3f}"),
        ("validation loss", f"{before:.3f} → {after:.3f}" if before is not None and after is not None else "no validation rows"),
        ("engines", ", ".join(item["engine"] for item in report["trials"])),
    ]
    if report["ended_early_at"]:
        lines.append(("ended early", f"at step {report['ended_early_at']:,}: the validation loss fell no more"))
    if report["best_step"]:
        lines.append(("weights of", f"step {report['best_step']:,}, the lowest validation loss"))
    if report["first_token_agreement"] is not None:
        lines.append(("same first word", f"{report['first_token_agreement']:.0%} of {TRIAL_PROMPTS} prompts on both engines"))
    return Table(("figure", "value"), tuple(lines))


def _loss(scores: Sequence[Sequence[float]]) -> float:
    return -sum(sum(row) for row in scores) / sum(len(row) for row in scores)


def _weights(work: Work) -> dict[str, str]:
    """The version's weights by name and hash; the card's own files are not there yet."""
    return {path.name: files.sha256(path) for path in sorted(work.version.iterdir()) if path.suffix in (".safetensors", ".gguf")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
