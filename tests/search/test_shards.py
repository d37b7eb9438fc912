"""A search in shards gives the bytes of one in a piece; a killed one goes on; journals that do not fit are refused."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import BadInput, ForeignJournal
from planner.search.admit import admit
from planner.search.evaluate import evaluate, evaluate_families, families_of
from planner.search.journal import FileJournal, open_file
from planner.search.setting import Setting
from planner.search.shards import Shard, merge
from planner.search.space import enumerate_pools
from planner.search.workers import Serial
from planner.testing import TINY_YAML

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]
SCENARIO = TINY_YAML.replace("engine:", "    - {name: l40s, node: aws-g6e.xlarge, count: 4}\nengine:")


def silent(done: int, total: int, what: str) -> None:
    return None


class Idle:
    """An executor that must not be given work."""

    def map(self, function: Any, items: Any) -> Any:
        assert list(items) == []
        return iter(())


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "1/2/3", "-1/2", "1 / 2", "a/b", "1/2\n"])
def test_words_that_are_no_shard(text: str) -> None:
    with pytest.raises(BadInput, match="is no shard"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_shards_divide_the_families_among_them(small: Callable[..., Setting], count: int) -> None:
    families = families_of(small(), admit(enumerate_pools(small()), small()))
    parts = [Shard(i + 1, count).of(families) for i in range(count)]
    assert sorted(map(id, families)) == sorted(id(one) for part in parts for one in part)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_search_with_joined_journals_simulates_nothing(small: Callable[..., Setting], tmp_path: Path) -> None:
    setting = small()
    judged = tuple(admit(enumerate_pools(setting), setting))
    families = families_of(setting, judged)
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        with open_file(part, "me") as journal:
            evaluate_families(Shard(number, 3).of(families), setting, Serial(), journal, silent)
    assert merge(parts, tmp_path / "all") == len(families)
    with open_file(tmp_path / "all", "me") as journal, open_file(tmp_path / "one", "me") as fresh:
        assert evaluate(judged, setting, Idle(), journal, silent) == evaluate(judged, setting, Serial(), fresh, silent)
        assert journal.texts() == fresh.texts()


def written(path: Path, owner: str = "me", **answers: int) -> Path:
    with open_file(path, owner) as journal:
        for key, value in answers.items():
            journal.put(key, value)
    return path


def test_merging_twice_or_into_a_part_changes_nothing(tmp_path: Path) -> None:
    parts = [written(tmp_path / "a", x=1), written(tmp_path / "b", y=2, x=1)]
    assert merge(parts, tmp_path / "c") == merge([*parts, tmp_path / "c"], tmp_path / "a") == 2
    with open_file(tmp_path / "a", "me") as journal:
        assert (journal.get("x"), journal.get("y")) == (1, 2)


def damaged(path: Path) -> None:
    written(path, x=1234567)
    data = path.read_bytes()
    assert data.count(b"1234567") == 1
    path.write_bytes(data.replace(b"1234567", b"1234568"))


def torn(path: Path) -> None:
    with open_file(path, "me") as journal:
        for i in range(300):
            journal.put(str(i), "x" * 100)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE owner (format TEXT, owner TEXT)")
    connection.close()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another scenario": (lambda path: written(path, owner="you"), "another version or for another scenario"),
    "a changed answer": (damaged, "is not what was written"),
    "half a file": (torn, "damaged"),
    "not a database": (lambda path: path.write_bytes(b"no database, but long enough to be looked at" * 50), "damaged"),
    "another program": (of_another_program, "not a journal of serveplan"),
    "another answer": (lambda path: written(path, a=2), "disagrees"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_journals_that_do_not_fit_are_refused_by_name_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    make, what = REFUSED[case]
    make(tmp_path / "second")
    with pytest.raises(ForeignJournal, match=what) as told:
        merge([written(tmp_path / "first", a=1), tmp_path / "second"], tmp_path / "all")
    assert "second" in str(told.value)
    assert not (tmp_path / "all").exists()


def test_all_missing_journals_are_named_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"(?s)one.*two"):
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_journal_can_be_is_bad_input(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(BadInput, match="cannot keep a journal here"), open_file(place, "me"):
            pass


def test_a_journal_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """Everything up to the last statement of making it is lost together, never half kept."""
    connection = sqlite3.connect(tmp_path / "young")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE owner (format TEXT, owner TEXT)")
    connection.close()
    with open_file(tmp_path / "young", "me") as journal:
        assert isinstance(journal, FileJournal)
        assert journal.count == 0


@pytest.fixture(scope="module")
def whole(serveplan_in: Run, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """plan.json made in one piece."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(SCENARIO)
    ended = serveplan_in(folder, "plan", "tiny.yaml", "-o", "plan.json", "--quiet", "--jobs", "1")
    assert ended.returncode == 0, ended.stderr
    return (folder / "plan.json").read_bytes()


def test_shards_on_the_command_line(serveplan: Run, tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    first = serveplan("plan", "tiny.yaml", "--shard", "1/2", "--journal", "1.sqlite", "--jobs", "1", "--json")
    second = serveplan("plan", "tiny.yaml", "--shard", "2/2", "--journal", "2.sqlite", "--jobs", "1")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    done = json.loads(first.stdout)
    assert 0 < done["families"] < done["of_families"]
    assert second.stdout.startswith(f"2.sqlite: shard 2/2, {done['of_families'] - done['families']} of ")
    merged = serveplan("merge", "1.sqlite", "2.sqlite", "-o", "all.sqlite")
    assert merged.stderr == f"wrote all.sqlite: {done['of_families']} families of candidates from 2 journals\n"
    ended = serveplan("plan", "tiny.yaml", "--journal", "all.sqlite", "-o", "plan.json")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^found in the journal: (\d+)/\1$", ended.stderr, re.MULTILINE)
    assert "simulating" not in ended.stderr
    assert (tmp_path / "plan.json").read_bytes() == whole


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--shard", "1/2"], "--journal"),
        (["--shard", "3/2", "--journal", "j"], "no shard"),
        (["--shard", "1/2", "--journal", "j", "-o", "plan.json"], "no plan"),
    ],
)
def test_shards_that_cannot_be(serveplan: Run, tmp_path: Path, words: list[str], what: str) -> None:
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    ended = serveplan("plan", "tiny.yaml", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert what in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_killed_plan_goes_on_and_ends_in_the_same_bytes(
    serveplan: Run, serveplan_env: dict[str, str], tmp_path: Path, whole: bytes
) -> None:
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    words = ["plan", "tiny.yaml", "--jobs", "1", "-o", "plan.json"]
    with subprocess.Popen(
        [sys.executable, "-m", "planner", *words], cwd=tmp_path, env=serveplan_env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        told = next(line for line in process.stderr if line.startswith("simulating candidates: "))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "plan.json").exists()
    ended = serveplan(*words)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"^found in the journal: (\d+)/\d+$", ended.stderr, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= int(told.split()[-1].split("/")[0]) > 0
    assert (tmp_path / "plan.json").read_bytes() == whole
    assert list(tmp_path.glob("*.sqlite*")) == []
