"""Batches in parts: the same step in less memory, and a way back when the memory runs out in the middle of a run."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from assistant.core import files
from assistant.core.errors import TrainingError
from assistant.core.events import Event, Notice
from finetuning.training import memory, order
from finetuning.training.memory import rows_at_once

# Beside the checkpoints: what a run does since its memory ran out; a resumed one begins with it.
RETREAT = "retreat.json"
# Left for everything else on the machine.
RESERVE_BYTES = 200_000_000


class InParts:
    """Makes a trainer compute a batch in parts of at most ``at_once`` tokens, added up before the step: the same gradient."""

    at_once = 0
    # How many tokens all rows begin with.
    shared = 0

    def prepare_parts(self, recipe: Any, folder: Path, say: Callable[[Event], None]) -> None:
        """Take the limit of the plan, or what an earlier attempt of this run had to come to."""
        trainer: Any = self
        self._retreat_file, self._say, self._recipe = folder / RETREAT, say, recipe
        self._of_step: list[tuple[Any, Any]] = []
        self._step = -1
        self._live = 0
        self._told = False
        self._shape = memory.of_network(trainer.model)
        self.at_once = recipe.tokens_at_once or (0 if torch.cuda.is_available() else memory.CPU_TOKENS)
        if self._retreat_file.is_file():
            earlier = files.read_json(self._retreat_file)
            self.at_once = earlier["tokens_at_once"]
            if earlier["gradient_checkpointing"]:
                self._compute_twice()

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One batch forward and backward. Where the memory runs out, the step begins again in smaller parts, and says so."""
        trainer: Any = self
        if trainer.state.global_step != self._step:
            self._step, self._of_step = trainer.state.global_step, []
        self._of_step.append((inputs, num_items_in_batch))
        todo = self._of_step[-1:]
        while True:
            try:
                return [self._in_parts(model, *batch) for batch in todo][-1]
            except (MemoryError, RuntimeError) as error:
                if trainer.accelerator.num_processes > 1 or not out_of_memory(error):
                    raise
            # Outside of the except clause, whose traceback holds what filled the memory.
            model.zero_grad(set_to_none=True)
            self._retreat()
            todo = self._of_step

    def _in_parts(self, model: Any, inputs: dict[str, Any], count: Any) -> Any:
        trainer: Any = self
        if trainer.accelerator.num_processes > 1 or count is None:
            return super().training_step(model, inputs, count)  # type: ignore[misc]
        rows, width = inputs["input_ids"].shape
        size = self._size(rows, width)
        losses = [
            super(InParts, self).training_step(model, part(inputs, start, start + size, trainer.shared), count)  # type: ignore[misc]
            for start in range(0, rows, size)
        ]
        return torch.stack(losses).sum()

    def _size(self, rows: int, width: int) -> int:
        """How many rows at once: what the limit allows, and what the free memory of a CPU's machine does."""
        size = rows_at_once(rows, width, self.at_once)
        if torch.cuda.is_available():
            return size
        taken = psutil.Process().memory_info().rss
        self._live = self._live or taken + memory.state_bytes(self._shape, self._recipe)
        room = taken + memory.free_bytes() - RESERVE_BYTES - self._live
        allowed = size
        while allowed > 1 and self._needed(allowed, width) > room:
            allowed = -(-allowed // 2)
        if allowed < size:
            # What earlier batches left in pieces becomes room for this one.
            let_go()
            if not self._told:
                self._say(Notice("Little memory is free: long batches are computed in parts, with the same result.", "warning"))
            self._told = True
        return allowed

    def _needed(self, rows: int, width: int) -> float:
        return memory.MARGIN * memory.part_bytes(self._shape, self._recipe, memory.Batch(rows, width, rows * width))

    def _retreat(self) -> None:
        """Half the rows at once; from one row on activations are computed twice; when that is done as well, an error."""
        trainer: Any = self
        step = trainer.state.global_step + 1
        let_go()
        together = [(rows_at_once(*batch["input_ids"].shape, self.at_once), batch["input_ids"].shape[1]) for batch, _ in self._of_step]
        rows, width = max(together, key=lambda item: item[0] * item[1])
        if rows > 1:
            self.at_once = rows // 2 * width
            how = f"batches are computed in parts of at most {self.at_once:,} tokens from now on, with the same result"
        elif not trainer.model.is_gradient_checkpointing:
            self._compute_twice()
            how = "activations are computed twice instead of kept from now on: the same result, a third slower"
        else:
            raise TrainingError(
                f"There is not enough memory at step {step}, even for one row of {width} tokens at a time.",
                "Close other programs and `jobs resume`, or train again with a smaller --max_length or a smaller base.",
            )
        self._say(Notice(f"The memory ran out at step {step}: {how}.", "warning"))
        document = {"tokens_at_once": self.at_once, "gradient_checkpointing": bool(trainer.model.is_gradient_checkpointing)}
        files.write_json(self._retreat_file, document)

    def _compute_twice(self) -> None:
        trainer: Any = self
        # Reentrant checkpointing needs inputs with a gradient, which a frozen embedding does not give.
        trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def part(inputs: dict[str, Any], start: int, end: int, shared: int = 0) -> dict[str, Any]:
    """Some rows of a batch, as wide as the longest of them asks for (order.py); all rows share their first ``shared`` tokens."""
    rows = len(inputs["input_ids"])
    if start == 0 and end >= rows:
        return inputs
    chosen = {name: tensor[start:end] for name, tensor in inputs.items()}
    if "attention_mask" in chosen:
        width = order.width(int(chosen["attention_mask"].sum(1).max()), shared)
        chosen = {name: tensor[:, :width] if tensor.dim() > 1 else tensor for name, tensor in chosen.items()}
    return chosen


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The last two are oneDNN's: it names no reason when it gets no memory.
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "memory object", "create a primitive")
    return any(words in str(error).lower() for words in signs)


def let_go() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        # glibc keeps freed memory to itself otherwise: several GB after a training.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
