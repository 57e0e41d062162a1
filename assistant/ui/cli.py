"""Arguments → the chat, the menu, one command, or one answer."""

import argparse
import io
import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NoReturn

from assistant.core import logs
from assistant.core.commands import Command, Context, Registry, usage, value_shown
from assistant.core.errors import PZ2Error, UsageError, from_os_error
from assistant.core.events import Event, Failed, Finished
from assistant.core.paths import Paths, prepare, resolve
from assistant.ui import modes
from assistant.ui.plain import PlainPrinter

DESCRIPTION = """\
PZ2: a private assistant on your own machine, and the tools that make it better.

  python main.py                       the chat
  python main.py ft [COMMAND …]        the fine-tuning menu, or one command
  python main.py --ask "…" [--json]    one answer, then exit
  python main.py --ask-file FILE       one answer for every line, as JSON Lines
"""


def main(words: Sequence[str], fine_tuning: Registry) -> int:
    """Run PZ2 with the words of a command line; returns the exit status. ``fine_tuning`` holds the commands after ``ft``."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # What cannot be read or shown becomes a question mark, not an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return _run(list(words), fine_tuning)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(from_os_error(error))
    except PZ2Error as error:
        return _refuse(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}.", "`python main.py --help` shows how to call PZ2.")


def _run(words: list[str], fine_tuning: Registry) -> int:
    root, as_json, words = _common(words)
    in_mode = modes.words_of(words)
    words = words if in_mode is None else in_mode
    if words and words[0] == "ft":
        return _fine_tuning(fine_tuning, words[1:], root, as_json)
    parser = _Parser(prog="main.py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--ask", metavar="QUESTION", help="answer one question and exit (greedy)")
    parser.add_argument("--ask-file", metavar="FILE", help="answer every line of FILE (plain text, or JSON Lines with a question)")
    parser.add_argument("--out", metavar="OUT.jsonl", help="with --ask-file: write there, and go on where an earlier run stopped")
    parser.add_argument("--route-only", action="store_true", help="with --ask-file: decide who would answer, without answering")
    parser.add_argument("--model", metavar="NAME", default="auto", help="auto, base, unified, qna, technical, or a domain of yours")
    parser.add_argument(
        "--mode",
        metavar="MODE",
        help="for scripts: interactive (the chat), train (--dataset_path FILE and the flags of `ft train`), or test (the test cases)",
    )
    parser.add_argument("--category", metavar="NAME", help="use that category's system prompt (qna, technical, general)")
    parser.add_argument(
        "--root", metavar="DIR", help="keep datasets, models and logs under DIR (default: PZ2_ROOT, else the project folder)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(words)
    _check(given, as_json)
    paths = _paths(root)
    if given.ask_file is not None:
        from assistant.ui.ask_file import ask_file

        return show(ask_file(paths, given.ask_file, sys.stdout, given.out, given.model, given.category, given.route_only), as_json=True)
    if given.ask is not None:
        from assistant.ui.ask_once import ask

        events = ask(paths, given.ask, given.model, given.category)
        if as_json or not sys.stdout.isatty():
            return show(events, as_json)
        from assistant.ui.render import Screen

        screen = Screen()
        screen.think()
        return screen.follow(events)
    if _terminal():
        from assistant.ui.app import chat

        return chat(paths, given.model, fine_tuning)
    from assistant.ui.pipe import chat_lines

    return chat_lines(paths, sys.stdin, given.model, fine_tuning)


def _terminal() -> bool:
    """Whether a person sits in front of this process; Ctrl-C is then heard, also when a script started it with the signal switched off."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return True


def _check(given: argparse.Namespace, as_json: bool) -> None:
    """Flags that need another flag."""
    asks = given.ask is not None or given.ask_file is not None
    if asks and given.mode:
        raise UsageError("--mode does not go with --ask and --ask-file.", "Give one of them.")
    if given.ask is not None and given.ask_file is not None:
        raise UsageError("--ask and --ask-file do not go together.", "Give one of them.")
    if not asks and (as_json or given.category):
        raise UsageError(
            f"{'--json' if as_json else '--category'} goes with --ask, --ask-file or ft.", 'For example: `python main.py --ask "…" --json`.'
        )
    if given.ask_file is None and (given.out or given.route_only):
        raise UsageError(
            f"{'--out' if given.out else '--route-only'} goes with --ask-file.",
            "For example: `python main.py --ask-file questions.txt --out answers.jsonl`.",
        )


def _fine_tuning(registry: Registry, words: list[str], root: str | None, as_json: bool) -> int:
    if {"--help", "-h"} & set(words) or words[:1] == ["help"]:
        named = [word for word in words if word not in ("--help", "-h", "help")]
        print(command_help(registry.find(named[0])) if named else ft_help(registry))
        return 0
    paths = _paths(root)
    terminal = _terminal()
    if words:
        return _command(registry, words, paths, as_json, terminal)
    if terminal:
        from assistant.ui.menu import menu

        return menu(registry, Context(paths))
    from assistant.ui.pipe import menu_lines

    return menu_lines(registry, Context(paths), sys.stdin)


def _command(registry: Registry, words: list[str], paths: Paths, as_json: bool, terminal: bool) -> int:
    context = Context(paths, json=as_json)
    if terminal and not as_json:
        from assistant.ui import command
        from assistant.ui.ask import Terminal
        from assistant.ui.render import Screen

        screen = Screen()
        context.questions = Terminal(screen)
        started_by_script = os.path.basename(sys.argv[0]) == "setup_environment.py"
        return command.run(screen, registry, words, context, "./run_finetuning.sh " if started_by_script else "python main.py ft ")
    return show(registry.run(words, context), as_json)


def show(events: Iterator[Event], as_json: bool = False) -> int:
    """Print a command's events as plain text or JSON; returns its exit status."""
    printer, status = PlainPrinter(as_json=as_json), 0
    try:
        for event in events:
            printer.show(event)
            if isinstance(event, Finished):
                status = event.status
    except KeyboardInterrupt:
        events.close()  # type: ignore[attr-defined]
        print("Interrupted.", file=sys.stderr)
        return 130
    return status


def ft_help(registry: Registry) -> str:
    """The help of ``main.py ft``: the commands with their words, and the menu's numbers."""
    lines = ["python main.py ft [COMMAND …]: the numbered menu, or one command.", ""]
    for command in registry.commands:
        lines += textwrap.wrap(usage(command), 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        lines.append(f"      {command.summary}")
    lines += ["", "Menu numbers (a pipe reads them from standard input, one a line):"]
    lines += [f"  {item.number:>2}  {item.label}" for item, _ in registry.menu()]
    lines += [
        "   0  Back",
        "A number takes flags behind it, as `8 --preset fast`.",
        "",
        "--root DIR and --json stand before or after a command.",
        "Exit status: 0 done, 1 a check said no, 2 wrong usage, 130 interrupted.",
    ]
    return "\n".join(lines)


def command_help(command: Command) -> str:
    """The help of one command: its words and flags, each with what it means."""
    line = f"Usage: python main.py ft {usage(command)}"
    lines = [
        f"{command.summary[:1].upper()}{command.summary[1:]}.",
        *textwrap.wrap(line, 80, subsequent_indent="    ", break_on_hyphens=False),
    ]
    for param in command.params:
        shown = value_shown(param) if param.positional else f"--{param.name}" + (f" {value_shown(param)}" if param.kind != "flag" else "")
        default = f" (default: {param.default})" if param.default not in (None, False) else ""
        lines += [f"  {shown}", *textwrap.wrap(param.help + default, 80, initial_indent="      ", subsequent_indent="      ")]
    return "\n".join(lines)


def _common(words: list[str]) -> tuple[str | None, bool, list[str]]:
    """``--root DIR`` and ``--json`` taken out, wherever they stand."""
    rest: list[str] = []
    root, as_json, place = None, False, 0
    while place < len(words):
        word = words[place]
        if word == "--json":
            as_json = True
        elif word == "--root":
            place += 1
            if place == len(words):
                raise UsageError("--root needs a folder.", "Usage: --root DIR")
            root = words[place]
        elif word.startswith("--root="):
            root = word.removeprefix("--root=")
        else:
            rest.append(word)
            # What --ask is given is a question, even when it reads like a flag.
            if word == "--ask" and place + 1 < len(words):
                place += 1
                rest.append(words[place])
        place += 1
    return root, as_json, rest


def _paths(root: str | None) -> Paths:
    paths = resolve(root)
    prepare(paths)
    logs.start(paths)
    return paths


def _refuse(error: PZ2Error) -> int:
    printer = PlainPrinter()
    printer.show(Failed(error.what, error.fix))
    return 2
