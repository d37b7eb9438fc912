"""Journal: what has been evaluated, kept in one sqlite file so that an interrupted search goes on where it stopped.

Not a cache of plans and not shared between scenarios: a journal names the code and the scenario it belongs to, and
one that is foreign or damaged is refused. A key is the hash of everything that an answer depends on.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from planner.errors import ForeignJournal, Problem, Where

APPLICATION_ID = 0x73706C6E
"""Marks the file as ours ("spln"); sqlite keeps it in the header."""
FORMAT = "1"


class Journal(Protocol):
    def get(self, key: str) -> Any | None: ...
    def put(self, key: str, value: Any) -> None: ...


class NoJournal:
    """Remembers nothing."""

    def get(self, key: str) -> Any | None:
        return None

    def put(self, key: str, value: Any) -> None:
        return None


class FileJournal:
    """Answers as JSON by key; each is durable once `put` returns. Made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def get(self, key: str) -> Any | None:
        row = self._connection.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        text = json.dumps(value, allow_nan=False)
        self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))
        self._connection.commit()

    @property
    def count(self) -> int:
        """Answers kept."""
        return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])


def key_of(content: Any) -> str:
    """sha256 of the canonical JSON of `content`."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def open_journal(path: Path | None, owner: str) -> Iterator[Journal]:
    """The journal at `path` (made if missing) for `owner` = code version and scenario; none for None.

    Raises ForeignJournal when the file is damaged, is no journal, or belongs to another owner.
    """
    if path is None:
        yield NoJournal()
        return
    connection = sqlite3.connect(path)
    try:
        _claim(connection, path, owner)
        yield FileJournal(connection)
    except sqlite3.DatabaseError as error:
        raise _foreign(path, f"the journal is damaged ({error})") from error
    finally:
        connection.close()


def _claim(connection: sqlite3.Connection, path: Path, owner: str) -> None:
    """Write the owner into a new journal, or compare it with the owner of an old one."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        _create(connection, owner)
        return
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or "owner" not in tables:
        raise _foreign(path, "this file is not a journal of serveplan")
    found_format, found_owner = connection.execute("SELECT format, owner FROM owner").fetchone()
    if (found_format, found_owner) != (FORMAT, owner):
        raise _foreign(path, "the journal was written by another version or for another scenario")
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise _foreign(path, "the journal is damaged")


def _create(connection: sqlite3.Connection, owner: str) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE owner (format TEXT, owner TEXT)")
    connection.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute("INSERT INTO owner VALUES (?, ?)", (FORMAT, owner))
    connection.commit()


def _foreign(path: Path, what: str) -> ForeignJournal:
    return ForeignJournal(Problem(what, Where(str(path)), "name a new file, or delete this one"))
