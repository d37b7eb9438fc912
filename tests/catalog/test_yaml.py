"""Reading YAML: what a scalar means, what is refused, and that every mistake has its line and column."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import yaml_reader
from planner.catalog.document import Document
from planner.catalog.yaml_reader import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from planner.errors import BadInput, Problem


def problems_of(text: str) -> list[str]:
    """Everything that is said about a text, read as f.yaml."""
    try:
        return [str(problem) for problem in parse_yaml(text, "f.yaml").problems]
    except BadInput as error:
        return [str(problem) for problem in error.problems]


def read_or_problems(read: Callable[[], Document]) -> tuple[Document | None, tuple[Problem, ...]]:
    """What reading gives; only BadInput may stop it."""
    try:
        document = read()
    except BadInput as error:
        return None, error.problems
    return document, document.problems


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e3", 1000),
        ("2.5e6", 2500000),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("-7", -7),
        ("+3.0", 3.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("0.19.0", "0.19.0"),
        ("=", "="),
        ("$2.50/h", "$2.50/h"),
        ("'1e3'", "1e3"),
        ('"true"', "true"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_scalars_are_those_of_the_yaml_1_2_core_schema(written: str, meant: object) -> None:
    value = parse_yaml(f"a: {written}").data["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_keys_are_words() -> None:
    assert parse_yaml("true: 1\n7: 2\nno: 3").data == {"true": 1, "7": 2, "no": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1:1: the file is empty"),
        ("# only a comment\n", "f.yaml:1:1: the file is empty"),
        ("a: 1\nb:\n\tc: 2\n", "f.yaml:3:1: a tab indents this line - YAML is indented with spaces"),
        ("a: 1\nb: 'x\n", "f.yaml:2:4: this quote is never closed - noticed at line 3"),
        ("a: [1, 2\nb: 3\n", "f.yaml:1:4: this list has no closing ']' or lacks a comma - noticed at line 2"),
        ("a: {x: 1\n", "f.yaml:1:4: this mapping has no closing '}' or lacks a comma - noticed at line 2"),
        ("a: @x", "f.yaml:1:4: a value cannot start with '@' - put quotes around it"),
        ("a: 50%\nb: %5", "f.yaml:2:4: a value cannot start with '%' - put quotes around it"),
        (
            "a: b: c",
            "f.yaml:1:5: a ':' cannot stand here - check the indentation of this line and of the one above, "
            "or quote text that contains ': '",
        ),
        (
            "a:\n  - x\n y: 2",
            "f.yaml:3:2: expected a key of the mapping above - check the indentation of this line and of the one above",
        ),
        ("a: &b 1\nc: *b", "f.yaml:1:4: &b marks a part for repetition - remove it and write parts out where used"),
        ("a: 1\nc: *b", "f.yaml:2:4: *b repeats another part - write the part out again"),
        ("<<: {a: 1}", "f.yaml:1:1: '<<' merges another part - write the part out again"),
        ("a: !!python/name:os.system x", None),
        ("? [a]\n: b", "f.yaml:1:3: a key must be a word - text that starts with { or [ needs quotes"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document starts here - one file holds one document: remove '---'"),
        ("a: \x01", "f.yaml:1:4: not text: the control character U+0001 stands here"),
        ("a:\n  b: .inf", "f.yaml:2:6: a.b: must be a finite number, not .inf"),
        ("a: [1, -.Inf]", "f.yaml:1:8: a[#2]: must be a finite number, not -.Inf"),
        ("a: .NaN", "f.yaml:1:4: a: must be a finite number, not .NaN"),
        ("a: 1e999", "f.yaml:1:4: a: must be a finite number, not 1e999"),
        ("a:\n  - name: x\n    b: 1\n    b: 2", "f.yaml:4:5: a[x].b: is given twice - first at line 3, keep one"),
    ],
)
def test_each_mistake_is_one_located_sentence(text: str, said: str | None) -> None:
    found = problems_of(text)
    assert len(found) == 1
    if said is None:  # the tag's full name is the parser's business
        assert found[0].startswith("f.yaml:1:4: the tag ")
    else:
        assert found == [said]


def test_duplicates_and_infinities_are_all_reported() -> None:
    assert len(problems_of("a: 1\na: 2\nb: .nan\nc: {d: 1, d: 2}\n")) == 3


def test_of_duplicate_keys_the_first_counts() -> None:
    document = parse_yaml("a: 1\na: {b: 2}\nc: 3")
    assert document.data == {"a": 1, "c": 3}


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x]\n" + "\n".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    started = time.perf_counter()
    assert "marks a part for repetition" in problems_of(bomb)[0]
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    assert f"nested deeper than {MAX_DEPTH} levels" in problems_of(opening * 20000)[0]


def test_a_number_of_a_thousand_digits_is_refused_quickly() -> None:
    assert "must be a finite number" in problems_of("a: " + "9" * 100_000)[0]


def test_places_are_those_of_keys_and_values() -> None:
    document = parse_yaml("a:\n  - b: 1\n    long_key: [x, y]\n", "f.yaml")
    assert str(document.where(("a", 0, "long_key"))) == "f.yaml:3:15"
    assert str(document.where(("a", 0, "long_key"), key=True)) == "f.yaml:3:5"
    assert str(document.where(("a", 0, "long_key", 1))) == "f.yaml:3:19"
    assert str(document.where(("a", 0, "missing"))) == "f.yaml:2:5"
    assert document.raw(("a", 0, "b")) == "1"


def test_columns_count_characters_not_bytes() -> None:
    assert str(parse_yaml("é: ü\nµ: {ß: x}", "f").where(("µ", "ß"))) == "f:2:8"


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(path: Path) -> str:
        with pytest.raises(BadInput) as caught:
            read_yaml(path, "f.yaml")
        return str(caught.value)

    (tmp_path / "latin.yaml").write_bytes("a: 1\nname: é\n".encode("latin-1"))
    (tmp_path / "utf16.yaml").write_bytes("a: 1\n".encode("utf-16"))
    assert said(tmp_path) == "f.yaml: a directory, not a file"
    assert said(tmp_path / "latn.yaml") == f"f.yaml: no such file - did you mean '{tmp_path}/latin.yaml'?"
    assert said(tmp_path / "no" / "x.yaml") == f"f.yaml: no such file - the folder {tmp_path}/no does not exist"
    assert said(tmp_path / "latin.yaml") == "f.yaml:2:7: not UTF-8 text: byte 0xe9 stands here - save the file as UTF-8"
    assert said(tmp_path / "utf16.yaml").startswith("f.yaml:1:1: not UTF-8 text: byte 0xff")
    assert said(tmp_path / ("x" * 300)) == "f.yaml: cannot be read: file name too long"
    assert said(tmp_path / "a\0b") == "f.yaml: cannot be read: embedded null byte"
    monkeypatch.setattr(yaml_reader, "MAX_BYTES", 10)
    (tmp_path / "long.yaml").write_text("a: 1234567890")
    assert "larger than" in said(tmp_path / "long.yaml")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="^f.yaml: may not be read: permission denied$"):
        read_yaml(tmp_path / "x", "f.yaml")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = read_yaml(tmp_path / "bom.yaml")
    assert document.data == {"a": 1, "b": 2}
    assert (document.where(("b",)).line, document.where(("b",)).column) == (2, 4)


def test_the_size_limit_is_above_any_catalog() -> None:
    assert MAX_BYTES >= 2**20


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"%@#,? \n\t01.e", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_document_or_bad_input(text: str) -> None:
    document, problems = read_or_problems(lambda: parse_yaml(text, "f.yaml"))
    assert all(problem.where.line >= 1 for problem in problems)
    assert document is None or document.where().line >= 1


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_bad_input(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    document, problems = read_or_problems(lambda: read_yaml(path))
    assert document is not None or problems


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc é:", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcd", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_plain)
@settings(max_examples=150, deadline=None)
def test_json_is_read_back_as_it_was_written(data: object) -> None:
    """YAML 1.2 contains JSON, so a JSON writer is an independent oracle of values."""
    read = parse_yaml(json.dumps(data, ensure_ascii=False) if data is not None else "[]").data
    assert read == ([] if data is None else data)
