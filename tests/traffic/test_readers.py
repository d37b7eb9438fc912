"""Trace readers: small files of every format, and every way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import BadInput
from planner.traffic.readers import READERS, read

PLAIN = "arrival_s,input_tokens,output_tokens\n10.5,100,20\n11.25,7,3\n"
AZURE_HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
AZURE = AZURE_HEAD + "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
AZURE_2024 = AZURE_HEAD + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:00.259930+00:00,9,5\n"
RELATIVE = "t_s,isl,osl\n0.0,374,44\n4.3146,396,109\n"
BURST_6 = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,API log\n"
)
BURST_8 = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,a,1.5,ChatGPT,472,18,490,Conversation log\n118.5,,2.0,GPT-4,417,276,693,API log\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
    '{"timestamp": 0, "input_length": 7322, "output_length": 490, "hash_ids": [0]}\n'
    '{"timestamp": 27000, "input_length": 12, "output_length": 1, "hash_ids": []}\n'
)
LENGTHS = "isl,osl\n19,82\n55,744\n"
LENGTHS_JSON = '[{"isl": 19, "osl": 82},\n {"isl": 55, "osl": 744}]\n'


def write(folder: Path, text: str, name: str = "trace") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("format", "text", "times", "inputs", "outputs"),
    [
        ("csv", PLAIN, [0, 0.75], [100, 7], [20, 3]),
        ("azure", AZURE, [0, 0.052], [4808, 3180], [10, 8]),
        ("azure", AZURE_2024, [0, 0.25], [2162, 9], [5, 5]),
        ("azure", RELATIVE, [0, 4.3146], [374, 396], [44, 109]),
        ("burstgpt", BURST_6, [0, 113], [472, 417], [18, 276]),
        ("burstgpt", BURST_8, [0, 113.5], [472, 417], [18, 276]),
        ("mooncake", MOONCAKE, [0, 0, 27], [6758, 7322, 12], [500, 490, 1]),
        ("sharegpt", LENGTHS, None, [19, 55], [82, 744]),
        ("sharegpt", LENGTHS_JSON, None, [19, 55], [82, 744]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_every_format_is_read_by_name_or_by_its_columns(
    tmp_path: Path, format: str, text: str, times: list[float] | None, inputs: list[int], outputs: list[int],
    zipped: bool, named: bool,
) -> None:  # fmt: skip
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    found = read(path, format if named else None)
    assert found.input_tokens.tolist() == inputs
    assert found.output_tokens.tolist() == outputs
    if times is None:
        assert found.arrival_s is None
    else:
        assert found.arrival_s == pytest.approx(times, abs=1e-6)


def test_columns_may_stand_anywhere_among_others(tmp_path: Path) -> None:
    text = '\ufeffnote, Output_Tokens ,arrival_s,"input_tokens"\n"a, b",3,1.5,2\n\n"two\nlines",5,2.5,4\n'
    found = read(write(tmp_path, text))
    assert (found.input_tokens.tolist(), found.output_tokens.tolist()) == ([2, 4], [3, 5])
    assert found.arrival_s is not None
    assert found.arrival_s.tolist() == [0.0, 1.0]


def test_windows_line_ends_and_no_final_newline(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, PLAIN.strip().replace("\n", "\r\n")))) == 2
    assert len(read(write(tmp_path, MOONCAKE.strip().replace("\n", "\r\n")))) == 3


def test_timestamps_without_a_zone_do_not_depend_on_the_clock_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, AZURE_HEAD + "2023-11-05 00:30:00,1,1\n2023-11-05 02:30:00,1,1\n")
    monkeypatch.setenv("TZ", "America/New_York")  # clocks went back at 2:00 that night
    time.tzset()
    try:
        assert read(path).span_s == 7200.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_failed_requests_of_burstgpt_are_counted_and_left_out(tmp_path: Path) -> None:
    found = read(write(tmp_path, BURST_6))
    assert (len(found), found.failed) == (2, 1)


def test_rounded_times_are_known_and_exact_ones_are_not_spread(tmp_path: Path) -> None:
    step = "".join(f'{{"timestamp": {t}, "input_length": 1, "output_length": 1}}\n' for t in (0, 0, 2999, 5999, 5999))
    assert read(write(tmp_path, step)).grid_s == pytest.approx(2.999)
    assert read(write(tmp_path, MOONCAKE)).grid_s == 3.0  # a step of 27 s is chance, 3 s the published rounding
    assert read(write(tmp_path, MOONCAKE.split("\n", 1)[1])).grid_s == 0.0  # no two share a time
    assert read(write(tmp_path, BURST_6)).grid_s == 1.0
    assert read(write(tmp_path, BURST_8)).grid_s == 0.0
    assert read(write(tmp_path, PLAIN)).grid_s == 0.0


HEAD = "arrival_s,input_tokens,output_tokens\n"
LATER = '{"timestamp": 28000, "input_length": %s'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the trace is empty"),
        (" \n\n", "the trace is empty"),
        (HEAD, "no requests in the trace"),
        ("a,b,c\n1,2,3\n", "no trace format has these columns"),
        ("\x00\x01\x02", "no trace format has these columns"),
        (HEAD + "0,1,1\n1,5\n", ":3:1: the row has 2 cells, 'output_tokens' is cell 3"),
        (HEAD + "0,1,1\nx,5,5\n", ":3:1: 'arrival_s' is not a number: 'x'"),
        (HEAD + "0,1,1\n1,,5\n", ":3:1: 'input_tokens' is not a number: ''"),
        (HEAD + "0,0,1\n", ":2:1: input tokens must be a whole number from 1, not 0"),
        (HEAD + "0,1,0\n", ":2:1: output tokens must be a whole number from 1, not 0"),
        (HEAD + "0,1,-3\n", ":2:1: output tokens must be a whole number from 1, not -3"),
        (HEAD + "0,1.5,3\n", ":2:1: input tokens must be a whole number from 1, not 1.5"),
        (HEAD + "0,1e300,3\n", ":2:1: input tokens must be a whole number from 1, not 1e+300"),
        (HEAD + "0,nan,3\n", ":2:1: input tokens must be a whole number from 1, not nan"),
        (HEAD + "nan,1,3\n", ":2:1: arrival time must be finite and not negative, not nan"),
        (HEAD + "0,1,3\ninf,1,3\n", ":3:1: arrival time must be finite and not negative, not inf"),
        (HEAD + "-1,1,3\n", ":2:1: arrival time must be finite and not negative, not -1"),
        (HEAD + "0,1,3\n5,1,3\n4,1,3\n", ":4:1: arrival time is earlier than in the row before - sort the trace"),
        (HEAD + '0,1,"' + "9" * 200_000 + '"\n', "not CSV: field larger than field limit"),
        (AZURE + "yesterday,1,2\n", ":4:1: 'timestamp' is not a time: 'yesterday'"),
        (MOONCAKE + "{\n", ":4:1: not JSON"),
        (MOONCAKE + "[1]\n", ":4:1: expected an object"),
        (MOONCAKE + "[" * 100_000 + "\n", ":4:1: "),
        (MOONCAKE + LATER % "3}\n", ":4:1: 'output_length' is missing"),
        (MOONCAKE + LATER % '"3", "output_length": 1}\n', ":4:1: 'input_length' is not a number: '3'"),
        (MOONCAKE + LATER % 'true, "output_length": 1}\n', "'input_length' is not a number: True"),
        (MOONCAKE + '{"timestamp": NaN, "input_length": 3, "output_length": 1}\n', ":4:1: arrival time must be finite"),
        (MOONCAKE + LATER % ("1" * 400 + ', "output_length": 1}'), ":4:1: 'input_length' is too large"),
        (MOONCAKE + LATER % ("1" * 5000 + ', "output_length": 1}'), ":4:1: Exceeds the limit"),
        ('[{"isl": 1, "osl": 2},\n{"isl": 1}]', ":2:1: 'osl' is missing"),
        ('[{"isl": 1, "osl": 2},\n3]', ":2:1: expected an object with isl and osl"),
        ('[{"conversations": [{"from": "human", "value": "hi"}]}]', "the file holds text, not token counts"),
        ('[{"isl": 1, "osl": 2}', "not JSON: expected , or ]"),
        ('[{"isl": 1, "osl": 2},\n{"isl": }]', ":2:9: not JSON"),
        ("[" * 100_000, ":1:1: cannot read the record"),
        ("[" + "1" * 5000 + "]", ":1:1: cannot read the record"),
        ("[]", "no requests in the trace"),
    ],
)
def test_every_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("azure", "column 'timestamp' is missing"),
        ("burstgpt", "column 'request tokens' is missing"),
        ("mooncake", "not JSON"),
        ("sharegpt", "column 'isl' is missing"),
        ("azur", "unknown trace-reader 'azur' - did you mean 'azure'?"),
    ],
)
def test_wrong_format_name_is_told(tmp_path: Path, format: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(write(tmp_path, PLAIN), format)
    assert message in str(caught.value)


def test_all_mistakes_at_once_but_not_without_end(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read(write(tmp_path, HEAD + "0,1,1\nx,1,1\n2,0,1\n1,1,-1\n"))
    assert [p.where.line for p in caught.value.problems] == [3, 4, 5, 5]
    with pytest.raises(BadInput) as caught:
        read(write(tmp_path, HEAD + "0,0,0\n" * 5000))
    assert len(caught.value.problems) == 20


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.csv", "cannot read the trace: No such file"),
        (tmp_path, "cannot read the trace: Is a directory"),
    ):
        with pytest.raises(BadInput, match=message):
            read(path)
    (tmp_path / "latin").write_bytes(HEAD.encode() + b"0,1,\xe9\n")
    with pytest.raises(BadInput, match="not UTF-8"):
        read(tmp_path / "latin")
    whole = gzip.compress(PLAIN.encode() * 50)
    for name, data in (("short.gz", whole[: len(whole) // 2]), ("broken.gz", whole[:12] + b"\xff" * 20)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput, match="cannot read the trace"):
            read(tmp_path / name)


def test_a_hundred_thousand_rows_take_less_than_a_second(tmp_path: Path) -> None:
    rows = "".join(f"{i / 7},{i % 4000 + 1},{i % 300 + 1}\n" for i in range(100_000))
    path = write(tmp_path, HEAD + rows)
    before = time.process_time()
    assert len(read(path)) == 100_000
    assert time.process_time() - before < 1.0


requests = st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=30)


@given(requests)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[tuple[float, int, int]]) -> None:
    rows = sorted(rows)
    start = rows[0][0]
    plain = write(tmp_path, HEAD + "".join(f"{t!r},{i},{o}\n" for t, i, o in rows), "plain")
    objects = [{"timestamp": t * 1e3, "input_length": i, "output_length": o} for t, i, o in rows]
    lines = write(tmp_path, "\n".join(json.dumps(o) for o in objects), "lines")
    for path in (plain, lines):
        found = read(path)
        assert found.arrival_s == pytest.approx([t - start for t, _, _ in rows], abs=1e-6)
        assert list(zip(found.input_tokens, found.output_tokens, strict=True)) == [(i, o) for _, i, o in rows]


@given(st.binary(max_size=300) | st.text(alphabet='[]{}",:0123456789.-+eEnaif\n isltop_', max_size=200).map(str.encode))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_trace_or_bad_input(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any"
    for head in (b"", HEAD.encode(), b"isl,osl\n", MOONCAKE.encode(), b"\x1f\x8b"):
        path.write_bytes(head + data)
        for format in (None, *READERS):
            with contextlib.suppress(BadInput):
                found = read(path, format)
                assert len(found) >= 1
                assert found.input_tokens.min() >= 1
                assert found.arrival_s is None or (np.diff(found.arrival_s) >= 0).all()
