"""Conversations in SQLite: each turn is saved when it is whole, so a crash loses none."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from assistant.core.errors import DataError
from assistant.core.values import Reply

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, started TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    said TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, reply TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS turns_by_session ON turns(session, id);
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished turn: ``said`` is what the user typed, ``reply`` the answer with its figures.

    ``draft`` is the answer it took over from, if there was one. ``signs`` are what the confidence reads of the answer, of all its
    tokens and of the first ones; they are not kept on disk.
    """

    said: str
    reply: Reply
    draft: Reply | None = None
    signs: tuple[tuple[float, ...], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """One conversation of the list."""

    id: int
    title: str
    started: str
    turns: int


class History:
    """All conversations of one root."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._database() as database:
            database.executescript(_SCHEMA)
            columns = [row[1] for row in database.execute("PRAGMA table_info(turns)")]
            if "draft" not in columns:
                # A history from before answers were handed over.
                database.execute("ALTER TABLE turns ADD COLUMN draft TEXT")

    def listed(self, most: int = 20) -> list[Listed]:
        """The newest conversations that hold a turn, newest first."""
        with self._database() as database:
            rows = database.execute(
                "SELECT s.id, s.title, s.started, COUNT(t.id) FROM sessions s JOIN turns t ON t.session = s.id"
                " GROUP BY s.id ORDER BY MAX(t.id) DESC LIMIT ?",
                (most,),
            )
            return [Listed(*row) for row in rows]

    def turns(self, session: int) -> list[Turn]:
        """A conversation's turns, oldest first; an unknown one is a DataError."""
        with self._database() as database:
            if not database.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone():
                raise DataError(f"There is no conversation {session}.", "`sessions:` lists them.")
            rows = database.execute("SELECT said, reply, draft FROM turns WHERE session = ? ORDER BY id", (session,))
            return [Turn(said, Reply(**json.loads(reply)), Reply(**json.loads(draft)) if draft else None) for said, reply, draft in rows]

    def add(self, session: int | None, turn: Turn) -> int:
        """Save a turn; a new conversation begins when ``session`` is None. Returns the conversation's number."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._database() as database:
            if session is None:
                title = " ".join(turn.said.split())[:60]
                session = database.execute("INSERT INTO sessions (title, started) VALUES (?, ?)", (title, now)).lastrowid
            reply = json.dumps(asdict(turn.reply), ensure_ascii=False)
            draft = json.dumps(asdict(turn.draft), ensure_ascii=False) if turn.draft else None
            database.execute(
                "INSERT INTO turns (session, said, question, answer, reply, at, draft) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (session, turn.said, turn.reply.question, turn.reply.answer, reply, now, draft),
            )
        assert session is not None
        return session

    def drop_last(self, session: int) -> None:
        """Take the last turn of a conversation away."""
        with self._database() as database:
            database.execute("DELETE FROM turns WHERE id = (SELECT MAX(id) FROM turns WHERE session = ?)", (session,))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection for one piece of work, which is saved as a whole or not at all."""
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA foreign_keys = ON")
                yield database
        except sqlite3.Error as error:
            raise DataError(
                f"The chat history {self._path} cannot be opened or written ({error}).",
                "Free some disk space; if the file is damaged, move it away: a new one is begun.",
            ) from error
