"""The offline half of the command table: names, words and targets. Imports nothing heavy."""

from assistant.core.commands import Command, MenuItem, Param, Registry

COMMANDS: tuple[Command, ...] = (
    Command(
        "generate",
        "write the English training files from the corpus",
        "finetuning.data.generate:run",
        (
            Param("size", "how many unified training rows to write (default: what the corpus gives)", "int"),
            Param("seed", "the number that fixes every choice", "int", default=42),
            Param("categories", "only these categories", choices=("qna", "technical", "general"), many=True),
            Param("out", "another folder than datasets/processed_english"),
        ),
        (MenuItem(1, "Generate the English datasets"),),
    ),
    Command(
        "validate",
        "check the datasets and name the file and line of every fault",
        "finetuning.data.validate:run",
        (
            Param("path", "a dataset folder or file (default: datasets/processed_english)", positional=True),
            Param("fix", "write a cleaned copy and say what was dropped", "flag"),
            Param("strict", "warnings count as faults too", "flag"),
        ),
        (MenuItem(2, "Validate the datasets"),),
    ),
    Command(
        "data",
        "statistics, a preview, a search, the loss mask, a comparison, an export",
        "finetuning.data.look:run",
        (
            Param(
                "view",
                "what to show",
                positional=True,
                choices=("stats", "preview", "search", "mask", "compare", "export"),
                default="stats",
            ),
            Param("words", "the dataset; for search the words; for compare two datasets", positional=True, many=True),
            Param("name", "the dataset", default="processed_english"),
            Param("file", "one file of it"),
            Param("row", "the row to begin with, counted from 1", "int", default=1),
            Param("rows", "how many rows a preview shows at once", "int", default=5),
            Param("format", "the form of an export", choices=("conversations", "prompt_completion", "text"), default="conversations"),
            Param("out", "the folder of an export"),
        ),
        (MenuItem(3, "Look at the data: statistics, preview, loss mask"),),
    ),
    Command(
        "import",
        "make a domain of your own CSV, JSON, JSON Lines or Parquet file",
        "finetuning.data.import_:run",
        (
            Param("file", "the file, or a folder that `datasets` has saved", positional=True, required=True),
            Param("name", "what to call it: lower-case letters, digits, dashes", required=True),
            Param("yes", "take the guessed columns, and replace a domain of that name", "flag"),
            Param("map", "which column is what, as question=COLUMN answer=COLUMN category=COLUMN …", many=True),
            Param("encoding", "the encoding of the file, when the guess is wrong"),
            Param("delimiter", "what divides the columns, when the guess is wrong"),
            Param("categories", "only rows of these categories", many=True),
            Param("difficulty", "only rows of these difficulties", many=True),
            Param("system", "another system prompt: TEXT for all rows, or CATEGORY=TEXT", many=True),
            Param("seed", "the number that fixes the split", "int", default=42),
        ),
        (MenuItem(4, "Import your own CSV, JSON, JSON Lines or Parquet file"),),
    ),
    Command(
        "train",
        "train a model, prove it, and make it live",
        "finetuning.training.commands:train",
        (
            Param("model", "which model: unified, qna, technical, or a domain of yours", positional=True, required=True),
            Param("preset", "how thoroughly", choices=("fast", "balanced", "quality", "memory_efficient"), default="balanced"),
            Param("max_steps", "stop after so many steps", "int"),
            Param("epochs", "passes over the rows", "float"),
            Param("learning_rate", "size of a step", "float"),
            Param("batch_size", "rows a step", "int"),
            Param("seed", "the number that fixes every choice", "int"),
            Param("promote", "make it live when it is done, without asking", "flag"),
            Param("detach", "return at once and let it run", "flag"),
        ),
        (
            MenuItem(6, "Train the qna specialist", ("qna",)),
            MenuItem(7, "Train the technical specialist", ("technical",)),
            MenuItem(8, "Train the unified model", ("unified",)),
            MenuItem(9, "Train the unified model, quick", ("unified", "--preset", "fast")),
        ),
        needs_torch=True,
    ),
    Command("status", "what is trained, live and recommended next", "assistant.chat.models:status", (), (MenuItem(12, "Status"),)),
    Command(
        "switch",
        "pin the model that answers, make a version live, or return to auto",
        "assistant.chat.models:switch",
        (
            Param("model", "auto, base, unified, qna, technical, or a domain of yours", positional=True, required=True),
            Param("version", "the version to make live, for example 0002", positional=True),
        ),
        (MenuItem(13, "Switch the live model, or back to auto"),),
    ),
    Command(
        "rollback",
        "put the version before back",
        "assistant.chat.models:rollback",
        (Param("model", "which model", positional=True, required=True),),
        (MenuItem(14, "Roll a model back"),),
    ),
    Command(
        "jobs",
        "training runs: list, follow, resume, cancel or delete",
        "finetuning.training.commands:jobs",
        (
            Param("action", "what to do", positional=True, choices=("list", "follow", "resume", "cancel", "delete"), default="list"),
            Param("run", "which run (default: the newest)", positional=True),
        ),
        (MenuItem(17, "Jobs: follow, resume, cancel"),),
    ),
)

REGISTRY = Registry(COMMANDS)
