"""Journal: what has been evaluated, kept in one sqlite file so that an interrupted search goes on where it stopped.

Not a cache of plans and not shared between scenarios: a journal names the code and the scenario it belongs to, and
one that is foreign or damaged is refused. A key is the hash of everything that an answer depends on.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from planner.errors import BadInput, ForeignJournal, Problem, Where

APPLICATION_ID = 0x73706C6E
"""Marks the file as ours ("spln"); sqlite keeps it in the header."""
FORMAT = "2"
MAGIC = b"SQLite format 3\x00"
"""How every sqlite file begins."""


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
    """Answers as JSON by key, each with a seal over both; durable once `put` returns. Made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection, path: Path):
        self._connection, self._path = connection, path

    def get(self, key: str) -> Any | None:
        row = self._connection.execute("SELECT value, seal FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(self._sealed(key, *row))

    def put(self, key: str, value: Any) -> None:
        self.put_texts({key: json.dumps(value, allow_nan=False)})

    def put_texts(self, texts: Mapping[str, str]) -> None:
        """Answers that are JSON already; all of them or none."""
        rows = [(key, text, _seal(key, text)) for key, text in texts.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    def texts(self) -> dict[str, str]:
        """All answers as they are stored."""
        rows = self._connection.execute("SELECT key, value, seal FROM answers ORDER BY key")
        return {key: self._sealed(key, text, seal) for key, text, seal in rows}

    @property
    def count(self) -> int:
        """Answers kept."""
        return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def _sealed(self, key: str, text: str, seal: str) -> str:
        """The text; sqlite itself does not notice when a disk changes what is inside a row."""
        if seal != _seal(key, text):
            raise _foreign(self._path, "the journal is damaged (an answer is not what was written)")
        return text


def key_of(content: Any) -> str:
    """sha256 of the canonical JSON of `content`."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def open_journal(path: Path | None, owner: str) -> Iterator[Journal]:
    """The journal at `path` (made if missing) for `owner` = code version and scenario; none for None."""
    if path is None:
        yield NoJournal()
        return
    with open_file(path, owner) as journal:
        yield journal


@contextmanager
def open_file(path: Path, owner: str) -> Iterator[FileJournal]:
    """The journal in a file (made if missing).

    Raises ForeignJournal when the file is damaged, is no journal, or belongs to another owner; BadInput when the disk
    does not let us keep a journal there.
    """
    with _connected(path) as connection:
        _claim(connection, path, owner)
        yield FileJournal(connection, path)


def owner_of(path: Path) -> str:
    """Whom an existing journal belongs to; raises as `open_file` does."""
    if not path.is_file():
        raise BadInput(Problem("no such journal", Where(str(path))))
    with _connected(path) as connection:
        return _found_owner(connection, path)


def _refuse_other_files(path: Path) -> None:
    """SQLite would take a file shorter than its own header for an empty one, and write over it."""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
        if head and head != MAGIC:
            raise _foreign(path, "this file is damaged, or no journal of evaluations")


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    connection = None
    _refuse_other_files(path)
    try:
        connection = sqlite3.connect(path)
        yield connection
    except sqlite3.OperationalError as error:
        raise BadInput(Problem(f"cannot keep a journal here: {error}", Where(str(path)))) from error
    except sqlite3.DatabaseError as error:
        raise _foreign(path, f"the journal is damaged ({error})") from error
    finally:
        if connection is not None:
            connection.close()


def _claim(connection: sqlite3.Connection, path: Path, owner: str) -> None:
    """Write the owner into a new journal, or compare it with the owner of an old one."""
    if not _tables(connection):
        _create(connection, owner)
    if _found_owner(connection, path) != owner:
        raise _foreign(path, "the journal was written by another version or for another scenario")


def _found_owner(connection: sqlite3.Connection, path: Path) -> str:
    """The owner in a journal that has the right marks and whose pages are whole."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or "owner" not in _tables(
        connection
    ):
        raise _foreign(path, "this file is not a journal of serveplan")
    found_format, owner = connection.execute("SELECT format, owner FROM owner").fetchone()
    if found_format != FORMAT:
        raise _foreign(path, "the journal was written by another version")
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise _foreign(path, "the journal is damaged")
    return str(owner)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _create(connection: sqlite3.Connection, owner: str) -> None:
    """All at once: a process that is killed, or another that begins too, never leaves or meets half a journal."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not _tables(connection):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("CREATE TABLE owner (format TEXT, owner TEXT)")
        connection.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, value TEXT NOT NULL, seal TEXT NOT NULL)")
        connection.execute("INSERT INTO owner VALUES (?, ?)", (FORMAT, owner))
    connection.commit()


def _seal(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\n{text}".encode()).hexdigest()


def _foreign(path: Path, what: str) -> ForeignJournal:
    return ForeignJournal(Problem(what, Where(str(path)), "name a new file, or delete this one"))
