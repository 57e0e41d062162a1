"""What a training will do, in words and in the numbers of this dataset. Nothing is trained."""

from collections.abc import Iterator
from dataclasses import asdict

from assistant.core.events import Event, Lines, Report, Step, Table
from finetuning.training.recipe import Recipe
from finetuning.training.rows import Encoded, Row

SHOWN = ("method", "epochs", "learning_rate", "batch_size", "accumulation", "lora_r", "lora_alpha", "max_length", "schedule")


def run(base: str, encoded: Encoded, recipe: Recipe) -> Iterator[Event]:
    """Tell the steps of a training with this recipe on these rows."""
    yield Step("What the trainer will do")
    batches = -(-len(encoded.rows) // recipe.batch_size)
    steps = max(1, round(-(-batches // recipe.accumulation) * recipe.epochs))
    steps = min(steps, recipe.max_steps) if recipe.max_steps else steps
    warmup = round(steps * recipe.warmup_share)
    row = max(encoded.rows, key=_answer_share)
    lines = (
        f"1. The base {base} is loaded and frozen; {_trained(recipe)}.",
        f"2. {len(encoded.rows):,} rows are written in the chat template: {encoded.tokens:,} tokens. Only the answers count in the loss, "
        f"{encoded.trained:,} tokens ({encoded.trained / encoded.tokens:.0%}); in one row {row.trained} of {len(row.ids)}.",
        f"3. A step reads {recipe.batch_size * recipe.accumulation} rows, compares each token of their answers with what the model would "
        f"have said, and moves the trained weights a little against the difference. {recipe.epochs:g} epochs make {steps:,} steps.",
        f"4. The learning rate rises to {recipe.learning_rate:g} in {warmup:,} steps and then falls ({recipe.schedule}); a gradient longer "
        f"than {recipe.max_grad_norm:g} is shortened.",
        f"5. {recipe.validations} times on the way the loss on held-out rows is measured: when it rises while that on the trained rows "
        "falls, the model learns by heart.",
        f"6. At least every {recipe.checkpoint_steps} steps or {recipe.checkpoint_seconds} s a checkpoint is kept: a killed run goes on.",
        "7. The new version answers held-out questions beside the live one and the base. Only one that is better and has forgotten nothing "
        "goes live; `rollback` takes it back.",
    )
    values = asdict(recipe)
    table = Table(("field", "value"), tuple((name, f"{values[name]}") for name in SHOWN if name in values), "The recipe")
    data = {"base": base, "rows": len(encoded.rows), "tokens": encoded.tokens, "trained_tokens": encoded.trained, "steps": steps}
    yield Report("What the trainer does, step by step", {**data, "recipe": values, "lines": list(lines)}, (Lines("", lines), table))


def _trained(recipe: Recipe) -> str:
    match recipe.method:
        case "full":
            return "all of its weights are trained"
        case "ia3":
            return "small vectors that stretch its activations are trained beside it (IA3)"
        case "prompt_tuning":
            return "a few invented words before every prompt are trained (prompt tuning)"
    eight = {"qlora": ", the base in 4 bits", "lora_8bit": ", the base in 8 bits"}.get(recipe.method, "")
    return f"beside each linear layer two thin matrices of rank {recipe.lora_r} are trained ({recipe.method}{eight})"


def _answer_share(row: Row) -> float:
    return row.trained / len(row.ids)
