"""What all stages share: their folders, their manifests, and whether what lies there can be gone on with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.core import files
from assistant.core.errors import DataError
from assistant.core.paths import Paths
from finetuning.data.folder import MANIFEST

NAME = "synthetic"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its folder and what it writes there."""

    name: str
    folder: Path

    @classmethod
    def of(cls, paths: Paths, name: str) -> "Stage":
        """A stage's folder under ``datasets/synthetic``."""
        return cls(name, paths.datasets / NAME / name)

    def file(self, name: str) -> Path:
        """A file of the stage."""
        return self.folder / f"{name}.json"

    def manifest(self) -> dict[str, Any]:
        """What the stage has noted; empty when it was never begun."""
        path = self.folder / MANIFEST
        document = files.read_json(path) if path.is_file() else {}
        return document if isinstance(document, dict) else {}

    def note(self, status: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Write the manifest: what decided the rows, how far it is, and the statistics; files with their hashes when it is done."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        document: dict[str, Any] = {"stage": self.name, "status": status, "settings": dict(settings), "when": now}
        if status == "done":
            written = [path for path in sorted(self.folder.glob("*.json")) if path.name != MANIFEST]
            document["files"] = {path.name: {"sha256": files.sha256(path)} for path in written}
        document |= more
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(self.folder / MANIFEST, document)
        return document

    def clear(self) -> None:
        """Take away what the stage wrote."""
        for path in self.folder.glob("*.json"):
            path.unlink()

    def told(self) -> str:
        """The stage and how many rows lie there, in words; "" when it wrote nothing."""
        if not any(self.folder.glob("*.json")):
            return ""
        try:
            rows = self.manifest().get("rows")
        except DataError:
            rows = None
        return f"{self.name} ({rows:,} rows)" if rows else self.name

    def done(self) -> dict[str, Any]:
        """The manifest of a finished stage; an unfinished one is a DataError."""
        manifest = self.manifest()
        if manifest.get("status") != "done":
            raise DataError(f"The stage {self.name} is not done ({self.folder}).", f"Run `synthesize --stage {self.name}` first.")
        return manifest

    def check(self, settings: Mapping[str, Any]) -> None:
        """Rows of other settings are not mixed with these: a DataError names what differs."""
        before = self.manifest().get("settings")
        if before is None or before == dict(settings):
            return
        names = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        told = ", ".join(f"{name} {before.get(name)!r}, now {settings.get(name)!r}" for name in names)
        raise DataError(
            f"{self.folder} holds rows that were written otherwise: {told}.",
            f"Go on with those settings, or throw these rows away and begin anew: `--stage {self.name} --fresh`.",
        )
