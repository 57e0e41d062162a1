"""The log file: where tracebacks go; and what other libraries would say on the screen."""

import logging
import os
import warnings
from logging.handlers import RotatingFileHandler

from assistant.core.paths import Paths


def start(paths: Paths) -> None:
    """Write the program's log to ``logs/pz2.log`` (three files of at most 1 MB); a folder that cannot be written is no reason to stop."""
    quiet()
    logger = logging.getLogger("pz2")
    if logger.handlers:
        return
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        paths.logs.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingFileHandler(
            paths.logs / "pz2.log", maxBytes=1_000_000, backupCount=2, encoding="utf-8", delay=True
        )
    except OSError:
        handler = logging.NullHandler()
    # A line that cannot be written (a full disk) is no reason to show a traceback.
    logging.raiseExceptions = False
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logger.addHandler(handler)


def quiet() -> None:
    """Keep what the machine learning libraries say to programmers off the screen; called before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Its threads and a fork (of a data loader) would make it warn.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
