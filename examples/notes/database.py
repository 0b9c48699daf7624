"""Notes in an SQLite database, their attachments in files beside it.

Everything here blocks, as databases do; endpoints call it through ``run_in_threadpool``.
"""

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    created TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now')),
    file_name TEXT,
    digest TEXT
)
"""


class NoteNotFound(Exception):
    """There is no note with this number."""

    def __init__(self, note_id: int) -> None:
        super().__init__(note_id)
        self.note_id = note_id

    def __str__(self) -> str:
        return f"There is no note {self.note_id}."


@dataclass(frozen=True)
class Note:
    """One note. ``digest`` is the SHA-256 of its attachment, once that has been computed."""

    id: int
    title: str
    text: str
    created: str
    file_name: str | None
    digest: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON API shows."""
        return asdict(self)


class Notebook:
    """All notes. One connection, used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self.attachments = directory / "attachments"
        self.attachments.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(directory / "notes.sqlite3", check_same_thread=False)
        self.connection.execute(SCHEMA)

    def close(self) -> None:
        with self.lock:
            self.connection.close()

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows."""
        with self.lock, self.connection:
            return self.connection.execute(statement, values).fetchall()

    def find(self, words: str, limit: int, offset: int = 0) -> list[Note]:
        """Return notes that contain the words, the newest first."""
        rows = self.execute(
            "SELECT * FROM notes WHERE instr(lower(title || ' ' || text), lower(?)) "
            "ORDER BY id DESC LIMIT ? OFFSET ?",
            words,
            limit,
            offset,
        )
        return [Note(*row) for row in rows]

    def get(self, note_id: int) -> Note:
        """Return one note. Raises: NoteNotFound."""
        # SQLite's integers end at 63 bits, those of a URL do not.
        rows = self.execute("SELECT * FROM notes WHERE id = ?", min(note_id, 2**63 - 1))
        if not rows:
            raise NoteNotFound(note_id)
        return Note(*rows[0])

    def add(
        self, title: str, text: str, file_name: str | None = None, file: BinaryIO | None = None
    ) -> Note:
        """Keep a note, and a copy of the file that comes with it."""
        rows = self.execute(
            "INSERT INTO notes (title, text, file_name) VALUES (?, ?, ?) RETURNING *",
            title,
            text,
            file_name,
        )
        note = Note(*rows[0])
        if file is not None:
            with self.attachment_path(note.id).open("wb") as copy:
                shutil.copyfileobj(file, copy)
        return note

    def delete(self, note_id: int) -> None:
        """Forget a note and its attachment. Raises: NoteNotFound."""
        note = self.get(note_id)
        self.execute("DELETE FROM notes WHERE id = ?", note.id)
        self.attachment_path(note.id).unlink(missing_ok=True)

    def attachment_path(self, note_id: int) -> Path:
        """Return where an attachment is kept: a name of ours, whatever the file was called."""
        return self.attachments / str(note_id)

    def compute_digest(self, note_id: int) -> None:
        """Fill in the digest of a note's attachment. Large files take a while."""
        try:
            with self.attachment_path(note_id).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:  # the note was deleted in the meantime
            return
        self.execute("UPDATE notes SET digest = ? WHERE id = ?", digest, note_id)

    def export(self) -> Iterator[Note]:
        """Yield all notes, the oldest first, without holding them all in memory."""
        last = 0
        while rows := self.execute("SELECT * FROM notes WHERE id > ? ORDER BY id LIMIT 100", last):
            for row in rows:
                yield Note(*row)
            last = rows[-1][0]
