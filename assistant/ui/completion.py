"""Tab completion: the chat's words, the fine-tuning commands with their flags and choices, names of models, runs and files."""

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from assistant.chat.commands import REGISTRY as CHAT
from assistant.chat.commands import model_names
from assistant.core.commands import Command, Param, Registry
from assistant.core.errors import UsageError
from assistant.core.paths import Paths
from assistant.core.store import Store


class CommandWords(Completer):
    """Completes one fine-tuning command line."""

    def __init__(self, registry: Registry, paths: Paths) -> None:
        self._registry = registry
        self._paths = paths

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What may stand at the cursor."""
        before, _, word = document.text_before_cursor.rpartition(" ")
        words = before.split()
        if not words:
            yield from _matching(word, [(command.name, command.summary) for command in self._registry.commands])
            return
        try:
            command = self._registry.find(words[0])
        except UsageError:
            return
        yield from _matching(word, self._next(command, words[1:], word))

    def _next(self, command: Command, words: list[str], word: str) -> list[tuple[str, str]]:
        flags = {f"--{param.name}": param for param in command.params if not param.positional}
        last = flags.get(words[-1]) if words else None
        if last is not None and last.kind != "flag":
            return self._values(last, words)
        given = [flag for flag in flags if flag in words]
        free = [(flag, param.help) for flag, param in flags.items() if flag not in given]
        if word.startswith("-"):
            return free
        place = sum(1 for item in words if not item.startswith("-")) - sum(1 for flag in given if flags[flag].kind != "flag")
        positional = [param for param in command.params if param.positional]
        values = self._values(positional[place], words) if place < len(positional) else []
        return values + free

    def _values(self, param: Param, words: list[str]) -> list[tuple[str, str]]:
        if param.choices:
            return [(choice, param.help if choice != param.default else f"{param.help} (default)") for choice in param.choices]
        store = Store(self._paths)
        match param.name:
            case "model":
                return [(name, "") for name in model_names(store)]
            case "key":
                # YAML is read only here; the first prompt does not wait for it.
                from assistant.chat.configure import keys

                return [(item.name, item.meaning) for item in keys(self._paths)]
            case "version":
                return [(version, "") for version in store.versions(words[0])] if words else []
            case "run":
                runs = [folder.name for folder in self._paths.runs.glob("*") if folder.is_dir()]
                return [(name, "") for name in sorted(runs, reverse=True)]
        return []


class ChatLine(Completer):
    """Completes a line of the chat. Only commands: a message is the user's own."""

    def __init__(self, registry: Registry, paths: Paths) -> None:
        self._store = Store(paths)
        self._words = CommandWords(registry, paths)
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        line = document.text_before_cursor
        if "\n" in line:
            return
        if " " not in line and ":" not in line:
            yield from self._names(line)
            return
        name, rest = _after_name(line)
        inner = Document(rest)
        if name == "ft":
            yield from self._words.get_completions(inner, complete_event)
        elif name == "model":
            yield from _matching(rest, [(model, "") for model in model_names(self._store)])
        elif name == "save":
            yield from self._files.get_completions(inner, complete_event)

    def _names(self, line: str) -> Iterator[Completion]:
        shown = "/{}" if line.startswith("/") else "{}: "
        if line:
            yield from _matching(line, [(shown.format(command.name), command.summary) for command in CHAT.commands])


def _after_name(line: str) -> tuple[str, str]:
    """A line's command word, without slash or colon, and what follows it."""
    slash = line.startswith("/")
    name, _, rest = line[1:].partition(" ") if slash else line.partition(":")
    return name.rstrip(":"), rest.lstrip()


def _matching(word: str, options: Iterable[tuple[str, str]]) -> Iterator[Completion]:
    for option, note in options:
        if option.startswith(word) and option != word:
            yield Completion(option, start_position=-len(word), display=option.strip(), display_meta=note)
