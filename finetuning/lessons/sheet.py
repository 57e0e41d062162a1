"""Tables as CSV files that a spreadsheet opens with its letters right."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from assistant.core.files import atomic_writer


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows under column heads, in UTF-8 with a byte order mark, atomically; returns the path."""
    text = io.StringIO(newline="")
    sheet = csv.DictWriter(text, columns)
    sheet.writeheader()
    sheet.writerows(rows)
    with atomic_writer(path) as file:
        file.write(text.getvalue().encode("utf-8-sig"))
    return path
