"""The offline half of the command table: names, words and targets. Imports nothing heavy."""

from typing import Any

from assistant.core.commands import Command, MenuItem, Param, Registry

# As `finetuning.training.recipe` knows them; this table imports nothing of a room.
METHODS = ("lora", "dora", "qlora", "lora_8bit", "ia3", "prompt_tuning", "full")

# The words of every training.
_TRAINING = (
    Param("preset", "how thoroughly", choices=("fast", "balanced", "quality", "memory_efficient"), default="balanced"),
    Param("max_steps", "stop after so many steps", "int"),
    Param("epochs", "passes over the rows", "float"),
    Param("learning_rate", "size of a step", "float"),
    Param("batch_size", "rows a step", "int"),
    Param("max_length", "longest row in tokens, the rest is cut", "int"),
    Param("method", "what is trained (docs/training.md)", choices=METHODS),
    Param("lora_r", "rank of the adapter", "int"),
    Param("packing", "join short rows into long ones", "flag"),
    Param("neftune_alpha", "noise on the words while training, 5 is usual", "float"),
    Param("gradient_checkpointing", "less memory for more time", "flag"),
    Param("liger", "Liger kernels, where a CUDA GPU has them", "flag"),
    Param("flash_attention", "FlashAttention 2, where a CUDA GPU has it", "flag"),
    Param("set", "any other field of training_config.yaml, as lora_alpha=32 …", many=True, keys="finetuning.training.recipe:names"),
    Param("processes", "train on so many processes or GPUs together", "int"),
    Param("accelerate_config", "a file of `accelerate config`: FSDP, DeepSpeed, several machines"),
    Param("report_to", "TensorBoard files are always written; wandb (offline) and mlflow when asked", many=True),
    Param("seed", "the number that fixes every choice", "seed"),
    Param("promote", "make it live when it is done, without asking", "flag"),
    Param("detach", "return at once and let it run", "flag"),
)


def _training(*names: str) -> tuple[Param, ...]:
    """Those of them that another command takes as well."""
    return tuple(param for param in _TRAINING if param.name in names)


def _trainable(text: str, check: str, **more: Any) -> Param:
    return Param("model", text, positional=True, check=f"finetuning.training.plan:{check}", **more)


COMMANDS: tuple[Command, ...] = (
    Command(
        "generate",
        "write the English training files from the corpus",
        "finetuning.data.generate:run",
        (
            Param("size", "how many unified training rows to write (default: what the corpus gives)", "int"),
            Param("seed", "the number that fixes every choice", "seed", default=42),
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
                "what to show (default: stats)",
                positional=True,
                choices=("stats", "preview", "search", "mask", "compare", "export"),
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
            Param("name", "what to call it: lower-case letters, digits, underscores", required=True),
            Param("yes", "take the guessed columns, and replace a domain of that name", "flag"),
            Param("map", "which column is what, as question=COLUMN answer=COLUMN category=COLUMN …", many=True),
            Param("encoding", "the encoding of the file, when the guess is wrong"),
            Param("delimiter", "what divides the columns, when the guess is wrong"),
            Param("categories", "only rows of these categories", many=True),
            Param("difficulty", "only rows of these difficulties", many=True),
            Param("system", "another system prompt: TEXT for all rows, or CATEGORY=TEXT", many=True),
            Param("seed", "the number that fixes the split", "seed", default=42),
        ),
        (MenuItem(4, "Import your own CSV, JSON, JSON Lines or Parquet file"),),
    ),
    Command(
        "train",
        "train a model, prove it, and make it live",
        "finetuning.training.commands:train",
        (
            _trainable("unified, qna, technical, classifier, reward, or a domain of yours", "check_word", required=True),
            *_TRAINING,
            Param("begin_with", "train this version of it further, or live (default: begin anew)"),
            Param("judge", "reward only: train nothing, say how often it puts the pairs of this file in the right order"),
        ),
        (
            MenuItem(5, "Train the classifier", ("classifier",)),
            MenuItem(6, "Train the qna specialist", ("qna",)),
            MenuItem(7, "Train the technical specialist", ("technical",)),
            MenuItem(8, "Train the unified model", ("unified",)),
            MenuItem(9, "Train the unified model, quick", ("unified", "--preset", "fast")),
        ),
        needs_torch=True,
    ),
    Command(
        "evaluate",
        "judge a model: held-out rows, suites, speed, or its classifier",
        "finetuning.evaluation.run:evaluate",
        (
            Param("model", "base, a model, MODEL/VERSION or a folder (default: unified)", positional=True),
            Param("version", "its version (default: the live one)", positional=True),
            Param("type", "what is judged", choices=("generation", "classification"), default="generation"),
            Param("split", "which held-out rows (default: unseen wordings)", choices=("test", "test_phrasing", "validation")),
            Param("limit", "at most so many rows, 0 for all (default: 200)", "int"),
            Param("suite", "none, all, names, or a .yaml or .jsonl file of yours (default: general_ability)", many=True),
            Param("engine", "what answers (default: the engine of the chat)", choices=("auto", "llama", "hf"), default="auto"),
            Param("fresh", "answer everything anew, use nothing kept from earlier", "flag"),
            Param("harness", "public benchmarks from your disk instead: ifeval=FILE arc=FILE truthfulqa=FILE …", many=True),
        ),
        (MenuItem(10, "Evaluate a model"),),
        needs_torch=True,
    ),
    Command(
        "calibrate",
        "fit the confidence of a version again, so that 70% means 70%",
        "finetuning.evaluation.calibrate:command",
        (
            Param("model", "base, a model, MODEL/VERSION or a folder (default: the base and everything live)", positional=True),
            Param("version", "its version (default: the live one)", positional=True),
            Param("limit", "at most so many rows (default: all that may be fitted on)", "int"),
        ),
    ),
    Command(
        "compare",
        "judge systems on the same questions, with intervals and a verdict",
        "finetuning.evaluation.compare:compare",
        (
            Param(
                "models",
                "base, models, MODEL/VERSION or folders, the first is the measure (default: all live)",
                positional=True,
                many=True,
            ),
            Param("on", "whose held-out rows are asked (default: the compared model's, else the unified model's)"),
            Param("split", "which held-out rows (default: unseen wordings)", choices=("test", "test_phrasing", "validation")),
            Param("limit", "at most so many rows, 0 for all (default: 100)", "int"),
            Param("suite", "none, all, names, or a .yaml or .jsonl file of yours (default: general_ability)", many=True),
            Param("engine", "what answers (default: the engine of the chat)", choices=("auto", "llama", "hf"), default="auto"),
            Param("show", "how many questions to show side by side (default: 3, blind 10)", "int"),
            Param("gate", "exit status 1 unless the last system is better than the first", "flag"),
            Param("fresh", "answer everything anew, use nothing kept from earlier", "flag"),
            Param("systems", "ways of answering instead of models", choices=("hybrid", "separate", "unified"), many=True),
            Param("blind", "you pick the better answers without their names; picks become preference pairs", "flag"),
            Param("repeat", "ask some questions so many times and say how far the answers agree", "int"),
        ),
        (MenuItem(11, "Compare models"),),
        needs_torch=True,
    ),
    Command(
        "report",
        "everything on disk as pages, figures, CSV and JSON",
        "finetuning.evaluation.reports.command:run",
        (
            Param("name", "what to call it: its folder under logs/reports (default: project)", positional=True),
            Param("out", "another folder for it"),
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
        "history",
        "every version with its figures: method, rows, minutes, loss, recall, gate",
        "finetuning.versions:history",
        (Param("model", "only this model's versions, with what the gate said", positional=True),),
    ),
    Command(
        "delete",
        "delete a version of a model",
        "finetuning.versions:delete",
        (
            Param("model", "which model", positional=True, required=True),
            Param("version", "its version, for example 0002", positional=True, required=True),
            Param("yes", "do not ask", "flag"),
        ),
    ),
    Command(
        "export",
        "give a trained model to other programs: merged, as an adapter, or GGUF",
        "finetuning.training.export:run",
        (
            Param("model", "which model", positional=True, required=True),
            Param("version", "its version (default: the live one)", positional=True),
            Param("to", "the folder to write (default: models/exports/MODEL_VERSION_FORMAT)"),
            Param("format", "the form", choices=("merged", "adapter", "gguf"), default="merged"),
        ),
        needs_torch=True,
    ),
    Command(
        "synthesize",
        "let a model write training data itself, and keep the good rows",
        "finetuning.synthetic.command:run",
        (
            Param("stage", "only this stage (default: all)", choices=("all", "raw", "filtered", "preference", "files"), default="all"),
            Param("rows", "how many raw rows to write; more than are there: it goes on", "int", default=1500),
            Param("pairs", "how many preference pairs to make, where there is a reward model", "int", default=600),
            Param("reward", "another reward model than that of `train reward`: a folder or an id"),
            Param("force", "score with a reward model that is right too seldom", "flag"),
            Param("seed", "the number that fixes every choice", "seed", default=42),
            Param("teacher", "a stronger model instead of the base: an OpenAI-compatible address, as http://127.0.0.1:8000"),
            Param("teacher_model", "what the teacher calls its model"),
            Param("fresh", "throw away what the stage, and those after it, wrote before (all: everything)", "flag"),
            Param("yes", "do not ask before --fresh throws rows away", "flag"),
        ),
        (MenuItem(15, "Synthesize: training data that a model writes itself"),),
        needs_torch=True,
    ),
    Command(
        "prefer",
        "train a version further on pairs of a better and a worse answer (DPO)",
        "finetuning.training.commands:prefer",
        (
            _trainable("unified, qna, technical, or a domain of yours", "check_model", default="unified"),
            Param("version", "the version it begins with, or base (default: the live one)", positional=True),
            Param("pairs", "picks, synthetic, curated or files (default: picks and synthetic, else curated)", many=True),
            Param("beta", "how close it stays to the version it begins with: higher is closer", "float"),
            *_training(
                "preset",
                "max_steps",
                "epochs",
                "learning_rate",
                "batch_size",
                "max_length",
                "set",
                "report_to",
                "seed",
                "promote",
                "detach",
            ),
        ),
        (MenuItem(16, "Prefer: learn from pairs of answers (DPO)"),),
        needs_torch=True,
    ),
    Command(
        "methods",
        "train the same rows by several methods, compare them, and write the report",
        "finetuning.training.series:run",
        (
            Param("model", "unified, qna, technical, or a domain of yours", positional=True, default="unified"),
            Param("methods", "lora, prompt_tuning, ia3, dpo (the default), dora, qlora, lora_8bit, full", many=True),
            Param("name", "what to call the report: its folder under logs/reports", default="methods"),
            Param("limit", "at most so many held-out rows are asked, 0 for all (default: 100)", "int"),
            *_training("preset", "max_steps", "epochs", "set", "seed"),
        ),
        needs_torch=True,
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
    Command(
        "settings",
        "show and change every setting of the models, the chat and the router",
        "assistant.chat.configure:settings",
        (
            Param("key", "which one, for example router.confidence", positional=True),
            Param("value", "its new value, or `default`", positional=True),
            Param("forget", "forget which models tend to come next", "flag"),
        ),
        (MenuItem(18, "Settings"),),
    ),
)

LEARN = Command(
    "learn",
    "a domain from a file in one go: import, train, prove, make it live",
    "finetuning.learn:run",
    (
        Param("file", "a CSV, JSON, JSON Lines or Parquet file, or a domain that is there", positional=True, required=True),
        Param("name", "what to call the domain (default: after the file)"),
        Param("categories", "only rows of these categories", many=True),
        Param("map", "which column is what, as question=COLUMN answer=COLUMN …", many=True),
        *_TRAINING,
    ),
    needs_torch=True,
)
TEST = Command(
    "test",
    "run the test cases of each category; status 1 when one does not pass",
    "finetuning.evaluation.cases:test",
    (
        Param("categories", "only these: qna, technical, general, or domains of yours (default: all)", many=True),
        Param("limit", "at most so many cases of a kind in each category", "int", default=5),
        Param("show", "how many failed cases to show", "int", default=3),
    ),
)
SPEED = Command(
    "speed",
    "how fast a model answers here: first token, tokens a second, memory",
    "finetuning.evaluation.speed:run",
    (
        Param("model", "auto, base, unified, qna, technical, or a domain of yours", positional=True, default="auto"),
        Param("questions", "how many questions are asked", "int", default=5),
    ),
)

REGISTRY = Registry((*COMMANDS, LEARN, TEST, SPEED))
