"""One command table for every door: the numbered menu, ``ft:`` in the chat, the shell, and the help."""

import argparse
import importlib
import logging
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

from assistant.core.errors import PZ2Error, UsageError, from_os_error
from assistant.core.events import Event, Failed, Finished
from assistant.core.paths import Paths
from assistant.core.text import closest

Kind = Literal["text", "int", "float", "seed", "flag"]
MOST_SEED = 2**32 - 1


def checked_seed(value: int | str) -> int:
    """A seed that every source of random numbers takes (numpy's is the narrowest: 32 bits); another one is a UsageError."""
    if not str(value).isdecimal() or int(value) > MOST_SEED:
        raise UsageError(f"The seed cannot be {value}.", f"Give a whole number from 0 to {MOST_SEED}.")
    return int(value)


_TYPES: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float, "seed": checked_seed}


@dataclass(frozen=True, slots=True)
class Param:
    """One word or flag of a command.

    A positional one stands by itself, any other as ``--name``. ``required`` ones are asked for in a terminal.
    ``rest`` takes everything that follows as one text; ``many`` takes several values. ``check`` is a ``package.module:function``
    of the paths and the value that refuses a wrong one before anything is installed. ``keys`` is one that names the keys of a
    parameter that takes KEY=VALUE, for advice when one of them is written as a flag.
    """

    name: str
    help: str
    kind: Kind = "text"
    positional: bool = False
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    many: bool = False
    rest: bool = False
    check: str = ""
    keys: str = ""


@dataclass(frozen=True, slots=True)
class MenuItem:
    """A line of the numbered menu: what it is called, and the words it stands for."""

    number: int
    label: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command, declared once. ``target`` is ``package.module:function``, imported when the command is first used.

    ``needs_torch`` says that training's packages must be there; a door may offer to install them.
    """

    name: str
    summary: str
    target: str
    params: tuple[Param, ...] = ()
    menu: tuple[MenuItem, ...] = ()
    aliases: tuple[str, ...] = ()
    needs_torch: bool = False


class Questions(Protocol):
    """How a command asks the person in front of it, when there is one."""

    def text(self, question: str, default: str = "") -> str:
        """A line of text."""

    def choice(self, question: str, options: Sequence[str], default: str | None = None) -> str:
        """One of the options."""

    def confirm(self, question: str, default: bool = False) -> bool:
        """Yes or no."""


@dataclass(slots=True)
class Context:
    """What a handler is given besides its own words.

    ``questions`` is None when nobody can be asked (a pipe, ``--json``); ``chat`` is the running conversation
    (assistant.chat.session.Session), if there is one.
    """

    paths: Paths
    questions: Questions | None = None
    chat: Any = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class Registry:
    """The commands of one door."""

    commands: tuple[Command, ...]

    def find(self, name: str) -> Command:
        """The command of that name or alias; an unknown one is a UsageError with the nearest right one."""
        for command in self.commands:
            if name == command.name or name in command.aliases:
                return command
        known = [command.name for command in self.commands]
        near = closest(name, known)
        hint = f"Did you mean `{near}`?" if near else f"Known commands: {', '.join(known)}."
        raise UsageError(f"There is no command '{name}'.", hint)

    def menu(self) -> list[tuple[MenuItem, Command]]:
        """The numbered menu, in order; a number whose part is not built is absent."""
        items = [(item, command) for command in self.commands for item in command.menu]
        return sorted(items, key=lambda pair: pair[0].number)

    def numbered(self, number: int) -> list[str]:
        """The words a menu number stands for; an unknown number is a UsageError."""
        for item, command in self.menu():
            if item.number == number:
                return [command.name, *item.words]
        numbers = ", ".join(str(item.number) for item, _ in self.menu())
        raise UsageError(f"{number} is not in the menu.", f"Choose one of {numbers}, or 0 to go back.")

    def run(self, words: Sequence[str], context: Context, before: Callable[[Command], Iterable[Event]] = lambda _: ()) -> Iterator[Event]:
        """Run one command line; the last event is Finished. ``before`` is what a door does once the words are known to be right."""
        return guarded(" ".join(words), self._events(words, context, before), context)

    def _events(self, words: Sequence[str], context: Context, before: Callable[[Command], Iterable[Event]]) -> Iterator[Event]:
        command = self.find(words[0])
        values = parse(command, words[1:], context.questions)
        for param in command.params:
            if param.check:
                _load(param.check)(context.paths, values[param.name])
        yield from before(command)
        yield from _load(command.target)(context, **values)


def guarded(line: str, events: Iterator[Event], context: Context) -> Iterator[Event]:
    """Events with every error as ``Failed`` and ``Finished`` at the end. This is the only place where an unexpected error is caught."""
    finished, log = False, logging.getLogger("pz2")
    try:
        for event in events:
            yield event
            finished = isinstance(event, Finished)
        if not finished:
            yield Finished(0)
    except PZ2Error as error:
        log.info("%s: %s", line, error.what)
        yield Failed(error.what, error.fix)
        yield Finished(2)
    except OSError as error:
        log.exception("%s", line)
        known = from_os_error(error)
        yield Failed(known.what, known.fix)
        yield Finished(2)
    except Exception as error:
        log.exception("%s", line)
        yield Failed(
            f"`{line.split(' ')[0]}` stopped on an unexpected error: {type(error).__name__}: {error}",
            f"Details are in {context.paths.logs / 'pz2.log'}.",
        )
        yield Finished(2)
    finally:
        # Whoever closes this stream stops the work behind it at once, not when it is collected.
        if isinstance(events, Generator):
            events.close()


def parse(command: Command, words: Sequence[str], questions: Questions | None = None) -> dict[str, Any]:
    """The values of a command's parameters from its words.

    Wrong words are a UsageError; a missing required one is asked for when ``questions`` is given, else a UsageError.
    """
    if command.params and command.params[0].rest:
        values = {command.params[0].name: " ".join(words)}
    else:
        known, unknown = _parser(command).parse_known_args(list(words))
        if unknown:
            raise UsageError(
                f"`{command.name}`: unrecognized arguments: {' '.join(unknown)}.",
                _advice(command, words, unknown) or f"Usage: {usage(command)}",
            )
        values = vars(known)
    for param in command.params:
        if values.get(param.name) in (None, "", []) and param.required:
            if questions is None:
                raise UsageError(f"`{command.name}` needs {_shown(param)} ({param.help}).", f"Usage: {usage(command)}")
            values[param.name] = _ask(param, questions)
    return values


def split(line: str) -> list[str]:
    """A typed line as words, quotes respected; an open quote is a UsageError."""
    try:
        return shlex.split(line.replace("\\", "\\\\"))
    except ValueError as error:
        raise UsageError(f"This line cannot be read ({error}).", "Close the quote.") from error


def usage(command: Command) -> str:
    """One line that shows a command's words and flags."""
    parts = [command.name]
    for param in command.params:
        shown = _shown(param) if param.kind == "flag" or param.positional else f"{_shown(param)} {value_shown(param)}"
        parts.append(shown if param.required else f"[{shown}]")
    return " ".join(parts)


def value_shown(param: Param) -> str:
    """What stands for a parameter's value in a usage line: its choices, N or X for a number, its name for a text."""
    shown = "|".join(param.choices) or {"int": "N", "seed": "N", "float": "X"}.get(param.kind, param.name.upper())
    return f"{shown} …" if param.many else shown


def _shown(param: Param) -> str:
    if param.positional:
        return "|".join(param.choices) if param.choices else param.name.upper()
    return f"--{param.name}"


def _ask(param: Param, questions: Questions) -> Any:
    if param.choices:
        return questions.choice(param.help, param.choices, param.default)
    text = questions.text(param.help, str(param.default or ""))
    if not text:
        raise UsageError(f"{param.help}: nothing was given.", "Type a value.")
    try:
        return _TYPES[param.kind](text)
    except ValueError as error:
        raise UsageError(f"'{text}' is not a number.", f"{param.help} is a whole number or a decimal.") from error


def _advice(command: Command, words: Sequence[str], unknown: Sequence[str]) -> str:
    """What was probably meant by each flag that a command does not have; "" where nothing is near."""
    flags = [param.name for param in command.params if not param.positional]
    keys = {key: param.name for param in command.params if param.keys for key in _load(param.keys)()}
    found = []
    for word in unknown:
        flag, _, value = word.partition("=")
        near = _nearest(flag.lstrip("-").replace("-", "_"), [*flags, *keys]) if word.startswith("-") else None
        if near in flags:
            found.append(f"Did you mean --{near}?")
        elif near:
            after = next(iter(words[words.index(word) + 1 :]), "-")
            found.append(f"Write `--{keys[near]} {near}={value or ('VALUE' if after.startswith('-') else after)}`.")
    return " ".join(found)


def _nearest(name: str, known: list[str]) -> str | None:
    """The known word that is spelt most like a name, else the first whose parts begin with its letters: lr is learning_rate."""
    initials = (word for word in known if name == "".join(part[:1] for part in word.split("_")))
    return closest(name, known) or next(initials, None)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"`{self.prog}`: {message}.", f"Usage: {self.usage}")


def _parser(command: Command) -> _Parser:
    parser = _Parser(prog=command.name, usage=usage(command), add_help=False, allow_abbrev=False)
    for param in command.params:
        extra: dict[str, Any] = {"default": param.default, "help": param.help}
        names = dict.fromkeys((f"--{param.name}", f"--{param.name.replace('_', '-')}"))
        if param.kind == "flag":
            parser.add_argument(*names, action="store_true", dest=param.name, help=param.help)
            continue
        extra["type"] = _TYPES[param.kind]
        if param.choices:
            extra["choices"] = param.choices
        # `--map a=b --map c=d` means both.
        if param.many and not param.positional:
            extra["action"] = "extend"
        if param.positional:
            parser.add_argument(param.name, nargs="*" if param.many else "?", **extra)
        else:
            parser.add_argument(*names, dest=param.name, nargs="+" if param.many else None, **extra)
    return parser


def _load(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)
