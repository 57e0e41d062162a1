"""The words of the scripts that train: their own flags, and behind them every flag of ``ft train``."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from assistant.core.commands import parse
from assistant.core.errors import UsageError
from finetuning.commands import REGISTRY


class Parser(argparse.ArgumentParser):
    """A parser whose wrong words are a UsageError."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(f"{message[0].upper()}{message[1:]}.", f"`{self.prog} --help` shows the flags.")


def parser(script: str, description: str) -> Parser:
    """A parser of a script's own flags, with --root and --json."""
    made = Parser(prog=script, description=f"{description} Every flag of `ft train` may follow.", allow_abbrev=False)
    made.add_argument("--root", help="keep datasets, models and logs there (default: PZ2_ROOT, else the project folder)")
    made.add_argument("--json", action="store_true", help="print one JSON document")
    return made


def train_flags(rest: Sequence[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of ``ft train`` in what a script did not take for itself; ``own`` are the script's, and stand where none was given."""
    train = REGISTRY.find("train")
    flags = parse(replace(train, params=tuple(param for param in train.params if param.name != "model")), rest)
    given = {name: value for name, value in flags.items() if value not in (None, False, []) and not _is_default(name, value)}
    return {**{name: value for name, value in own.items() if value is not None}, **given}


def _is_default(name: str, value: Any) -> bool:
    return any(param.name == name and param.default == value for param in REGISTRY.find("train").params)
