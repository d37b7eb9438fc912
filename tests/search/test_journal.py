"""The journal keeps answers over restarts and refuses files that are foreign or damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from planner.errors import ForeignJournal
from planner.search.journal import FileJournal, NoJournal, key_of, open_journal


def test_answers_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "search.journal"
    with open_journal(path, "me") as journal:
        journal.put("a", {"capacity": 1.25})
    with open_journal(path, "me") as journal:
        assert journal.get("a") == {"capacity": 1.25}
        assert journal.get("b") is None
        assert isinstance(journal, FileJournal)
        assert journal.count == 1


def test_an_interrupted_run_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "search.journal"

    def interrupted() -> None:
        with open_journal(path, "me") as journal:
            journal.put("a", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with open_journal(path, "me") as journal:
        assert journal.get("a") == 1


def test_a_short_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text("{")
    with pytest.raises(ForeignJournal, match=r"notes\.json.*no journal"), open_journal(path, "me"):
        pass
    assert path.read_text() == "{"


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as one" * 20, b"\x00" * 4096])
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.journal"
    path.write_bytes(content)
    with pytest.raises(ForeignJournal, match=r"broken\.journal"), open_journal(path, "me"):
        pass


def test_a_torn_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "torn.journal"
    with open_journal(path, "me") as journal:
        for i in range(200):
            journal.put(key_of(i), "x" * 100)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * 8192 + data[12288:])
    with pytest.raises(ForeignJournal, match="damaged"):
        _read_all(path)


def _read_all(path: Path) -> None:
    with open_journal(path, "me") as journal:
        for i in range(200):
            journal.get(key_of(i))


def test_other_owner_and_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.journal"
    with open_journal(path, "version 1, scenario a"):
        pass
    with pytest.raises(ForeignJournal, match="another"), open_journal(path, "version 2, scenario a"):
        pass
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (x)")
    connection.close()
    with pytest.raises(ForeignJournal, match="not a journal"), open_journal(other, "me"):
        pass


def test_keys_depend_on_content_not_on_order() -> None:
    assert key_of({"a": 1, "b": [1.5]}) == key_of({"b": [1.5], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_no_journal_remembers_nothing() -> None:
    with open_journal(None, "me") as journal:
        journal.put("a", 1)
        assert journal.get("a") is None
        assert isinstance(journal, NoJournal)
