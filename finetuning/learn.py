"""A domain from a file in one go: import it, train it, prove it, make it live."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.core.commands import Context
from assistant.core.errors import UsageError
from assistant.core.events import Event, Finished, Notice
from assistant.core.files import sha256
from assistant.core.paths import Paths, find
from finetuning.data import domain, import_
from finetuning.data.folder import manifest_of
from finetuning.training import commands

# Hangul by the letters of the Revised Romanisation, without its changes between syllables.
_INITIAL = tuple("g kk n d tt r m b pp s ss - j jj ch k t p h".replace("-", "").split(" "))
_VOWEL = tuple("a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i".split(" "))  # noqa: SIM905
_FINAL = tuple("- k k ks n nj nh t l lk lm lb ls lt lp lh m p ps t t ng t t k t p t".replace("-", "").split(" "))


def run(
    context: Context,
    file: str,
    name: str | None = None,
    categories: Sequence[str] | None = None,
    map: Sequence[str] | None = None,
    **training: Any,
) -> Iterator[Event]:
    """Import a file and train the domain made of it; the name of a dataset that is there already trains that one."""
    paths = context.paths
    path = find(file, paths)
    known = _dataset(paths, path, file)
    if known:
        if name or categories or map:
            raise UsageError(
                f"{known} is imported already; --name, --categories and --map are for a file.", "Name the file, or leave them out."
            )
        yield Notice(f"{known} is a dataset here already; it is trained as it is.")
    else:
        known = name or name_of(path)
        if not name:
            yield Notice(f"The domain is called {known}, after its file; --name gives it another name.")
        refuse_other(paths, known, path)
        # Nobody is asked about columns here: what is not clear is wrong usage, with the words that make it clear.
        alone = replace(context, questions=None)
        for event in import_.run(alone, file, known, yes=True, map=map, categories=categories):
            yield event
            if isinstance(event, Finished) and event.status:
                return
    yield from commands.train(context, known, **training)


def name_of(path: Path) -> str:
    """A domain's name made of a file's: lower-case letters, digits and underscores, Hangul in Latin letters."""
    text = "".join(map(_latin, unicodedata.normalize("NFC", path.stem)))
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    slug = re.sub(r"^(?=\d)", "d", slug)[:40].rstrip("_")
    if not slug:
        raise UsageError(f"No name can be made of '{path.name}'.", "Give one with --name: lower-case letters, digits, underscores.")
    try:
        return domain.check_name(slug)
    except UsageError:
        return domain.check_name(f"my_{slug.removesuffix('_specialist').removesuffix('_cleaned')}"[:40])


def _dataset(paths: Paths, path: Path, typed: str) -> str:
    """The name of the domain that was meant, when it is one of this root, else ""."""
    folder = path if path.is_dir() else paths.datasets / typed
    inside = folder.parent.resolve() == paths.datasets.resolve()
    return folder.name if inside and not path.is_file() and (folder / "train.jsonl").is_file() else ""


def refuse_other(paths: Paths, name: str, path: Path) -> None:
    """A domain of that name that was made of another file is not replaced without a word."""
    manifest = manifest_of(paths.datasets / name)
    source = (manifest or {}).get("source") or {}
    if manifest is not None and not _is_made_of(source, path):
        raise UsageError(
            f"The domain {name} is there already, made of {source.get('path') or source.get('file') or 'something else'}.",
            "Choose another name with --name, or replace it with `import --yes`.",
        )


def _is_made_of(source: dict[str, Any], path: Path) -> bool:
    """Whether a manifest's source is this file: at the same place, or with the same contents. One that names no place goes by its name."""
    if "path" not in source:
        return source.get("file") == path.name
    return source["path"] == str(path.resolve()) or (path.is_file() and source.get("sha256") == sha256(path))


def _latin(letter: str) -> str:
    code = ord(letter) - 0xAC00
    if not 0 <= code < 11172:
        return letter
    return _INITIAL[code // 588] + _VOWEL[code % 588 // 28] + _FINAL[code % 28]
