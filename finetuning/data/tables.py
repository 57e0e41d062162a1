"""Parquet files and Hugging Face dataset folders as rows, batch by batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assistant.core.errors import DataError

BATCH_ROWS = 1000


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, or of all tables of a folder. Broken files and a missing library are DataErrors."""
    arrow = _library()
    try:
        for file in files_of(path) if path.is_dir() else [path]:
            for batch in _parquet(file) if file.suffix == ".parquet" else _arrow(file):
                yield from batch.to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name} cannot be read as a table ({str(error).splitlines()[0]}).", "Export it again, or give it as JSON Lines."
        ) from error


def files_of(folder: Path) -> list[Path]:
    """The tables of a dataset folder, as `save_to_disk` or the Hugging Face hub lays them out; a folder without any is a DataError."""
    files = sorted(path for kind in ("*.parquet", "*.arrow") for path in folder.rglob(kind) if not path.name.startswith(("cache-", ".")))
    if not files:
        raise DataError(
            f"The folder {folder} holds no .parquet and no .arrow file.", "Name one file, or a folder that `datasets` has saved."
        )
    return files


def _library() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise DataError(
            "Parquet and Arrow files need the package pyarrow, which comes with training.", "Run `./run_finetuning.sh setup` once."
        ) from error
    return pyarrow


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def _arrow(path: Path) -> Iterator[Any]:
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as file:
        try:
            yield from pyarrow.ipc.open_stream(file)
        except pyarrow.ArrowInvalid:
            table = pyarrow.ipc.open_file(file)
            yield from (table.get_batch(number) for number in range(table.num_record_batches))
