"""serveplan trace: figures that can be counted by hand, the same as text and JSON, and files that are no traces."""

import json
from pathlib import Path

import pytest

from planner.errors import BadInput
from planner.traffic.about import about

CSV = "arrival_s,input_tokens,output_tokens\n0,100,1\n1,200,2\n3,300,3\n6,400,10\n"
CHAINED = [  # blocks of 512: the second shares one with the first, the third two, the fourth nothing
    {"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [1, 2]},
    {"timestamp": 1000, "input_length": 1024, "output_length": 5, "hash_ids": [1, 3]},
    {"timestamp": 2000, "input_length": 1536, "output_length": 5, "hash_ids": [1, 3, 4]},
    {"timestamp": 3000, "input_length": 512, "output_length": 5, "hash_ids": [9]},
]


def test_rows_span_rate_and_quantiles(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    found = about(tmp_path / "t.csv")
    assert (found.format, found.requests, found.span_s, found.rate_per_s) == ("csv", 4, 6.0, 0.5)
    assert found.gaps_cv == pytest.approx((2 / 3) ** 0.5 / 2)  # gaps 1, 2, 3
    assert found.input_tokens == {
        "mean": 250.0, "p1": 100.0, "p10": 100.0, "p50": 200.0, "p90": 400.0, "p99": 400.0, "max": 400.0,
    }  # fmt: skip
    assert found.output_tokens["max"] == 10.0
    assert found.seen_before is None


def test_what_prompts_have_in_common(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHAINED))
    found = about(tmp_path / "t.jsonl")
    assert found.format == "mooncake"
    assert found.seen_before == pytest.approx((512 + 1024) / (1024 + 1024 + 1536 + 512))


def test_the_command_says_the_same_as_text_and_json(serveplan, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    text, document = serveplan("trace", "t.csv").stdout, json.loads(serveplan("trace", "t.csv", "--json").stdout)
    assert document["requests"] == 4
    assert "requests  4\n" in text
    assert "0.5 requests/s over 6 s" in text
    assert text.splitlines()[-1].split() == ["output", "4", "1", "1", "2", "10", "10", "10"]


def test_lengths_without_times(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("isl,osl\n10,20\n30,40\n")
    found = about(tmp_path / "t.csv")
    assert (found.span_s, found.rate_per_s, found.gaps_cv) == (0.0, None, None)


def test_a_file_that_is_no_trace(serveplan, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    ended = serveplan("trace", "t.csv")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "no trace format has these columns" in ended.stderr
    with pytest.raises(BadInput, match="cannot read the trace"):
        about(tmp_path / "absent.csv")
