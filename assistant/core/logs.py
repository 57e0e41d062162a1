"""The log file: where tracebacks go; and what other libraries would say on the screen."""

import logging
import os
import warnings
from logging.handlers import RotatingFileHandler

from assistant.core.paths import Paths


def start(paths: Paths) -> None:
    """Write the program's log to ``logs/pz2.log`` (three files of at most 1 MB); a folder that cannot be written is no reason to stop."""
    _quiet()
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


def _quiet() -> None:
    """Keep notes of the machine learning libraries, which are for programmers, out of the middle of the screen."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
