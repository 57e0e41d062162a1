"""The numbered fine-tuning menu in a terminal: type a number, choose with the arrows, or type a command with its words."""

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from assistant.core.commands import Context, Registry, split
from assistant.core.errors import PZ2Error
from assistant.core.events import Failed
from assistant.ui import command
from assistant.ui.ask import Terminal
from assistant.ui.completion import CommandWords
from assistant.ui.render import Screen

HEAD = "PZ2 fine-tuning"
BACK = "Back"
ASK = "Number: "


def menu(registry: Registry, context: Context, screen: Screen | None = None) -> int:
    """Show the menu until 0 is chosen; returns 0."""
    screen = screen or Screen()
    context.questions = context.questions or Terminal(screen)
    entries = [*((item.number, item.label) for item, _ in registry.menu()), (0, BACK)]
    prompt = _prompt(registry, context, entries)
    while True:
        try:
            typed = prompt.prompt(lambda: _message(entries, prompt)).strip()
        except (EOFError, KeyboardInterrupt):
            return 0
        if typed == "0":
            return 0
        if not typed:
            continue
        screen.say(f"{ASK}{typed}{_label(entries, typed)}")
        try:
            words = _words(registry, typed, context)
        except PZ2Error as error:
            screen.show(Failed(error.what, error.fix))
        except KeyboardInterrupt:
            continue
        else:
            command.run(screen, registry, words, context, "")
        screen.console.print()


def _words(registry: Registry, typed: str, context: Context) -> list[str]:
    """The command line a typed line stands for. A bare number asks which of a command's choices is meant."""
    words = split(typed)
    if not words[0].isdigit():
        return words
    chosen, rest = registry.numbered(int(words[0])), words[1:]
    found = registry.find(chosen[0])
    first = next((param for param in found.params if param.positional), None)
    if not rest and len(chosen) == 1 and first is not None and first.choices and not first.required and context.questions is not None:
        rest = [context.questions.choice(first.help, first.choices, first.default)]
    return [*chosen, *rest]


def _prompt(registry: Registry, context: Context, entries: list[tuple[int, str]]) -> PromptSession[str]:
    keys = KeyBindings()

    def move(event: KeyPressEvent, by: int) -> None:
        numbers = [str(number) for number, _ in entries]
        typed = event.current_buffer.text.strip()
        place = numbers.index(typed) + by if typed in numbers else (0 if by > 0 else len(numbers) - 1)
        event.current_buffer.text = numbers[place % len(numbers)]
        event.current_buffer.cursor_position = len(event.current_buffer.text)

    @keys.add("down")
    def _down(event: KeyPressEvent) -> None:
        move(event, 1)

    @keys.add("up")
    def _up(event: KeyPressEvent) -> None:
        move(event, -1)

    @keys.add("c-c")
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    completer = CommandWords(registry, context.paths)
    return PromptSession(key_bindings=keys, completer=completer, complete_while_typing=False, erase_when_done=True)


def _message(entries: list[tuple[int, str]], prompt: PromptSession[str]) -> StyleAndTextTuples:
    """The menu with the chosen line marked, and the question below it."""
    typed = prompt.default_buffer.text.strip()
    rows = prompt.app.output.get_size().rows
    lines: StyleAndTextTuples = [("bold", f"{HEAD}\n")]
    for number, label in entries:
        chosen = typed == str(number)
        lines.append(("reverse" if chosen else "", f"{'>' if chosen else ' '} {number:>2}  {label}"))
        lines.append(("", "\n"))
    if len(entries) + 3 > rows:
        # Too low a window for the whole list: the part around the chosen line.
        place = next((place for place, (number, _) in enumerate(entries) if typed == str(number)), 0)
        room = max(1, rows - 3)
        first = min(max(0, place - room // 2), len(entries) - room)
        lines = lines[1 + 2 * first : 1 + 2 * (first + room)]
    return [*lines, ("bold", ASK)]


def _label(entries: list[tuple[int, str]], typed: str) -> str:
    return next((f"  {label}" for number, label in entries if typed == str(number)), "")
