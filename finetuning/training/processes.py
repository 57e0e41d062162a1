"""Several processes of one training: who is the first, what all agree on, which rows are whose. torch only where there are several."""

import os
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is; the first one, 0, speaks and writes."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process speaks and writes."""
    return rank() == 0


def begin() -> None:
    """Join the others, before anything is agreed on."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def end() -> None:
    """Part from the others: from now on each decides alone."""
    if count() > 1:
        import torch.distributed

        torch.distributed.destroy_process_group()


def agree(flag: bool) -> bool:
    """Whether any process says yes; every process has to ask. Before the beginning and after the end each decides alone."""
    if count() == 1:
        return flag
    import torch
    import torch.distributed

    if not torch.distributed.is_initialized():
        return flag
    votes = torch.tensor(int(flag), device="cuda" if torch.cuda.is_available() else "cpu")
    torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
    return bool(votes)


def wait() -> None:
    """Wait until every process is here."""
    agree(False)


def share(items: Sequence[Item]) -> list[Item]:
    """This process's part of a batch."""
    return list(items[rank() :: count()])
