"""Reading measured rows: values, refusals with a place, and nothing that was measured."""

import gzip
from pathlib import Path

import pytest

from planner.calibrate.rows import METRICS, Plan, parse_row, read_rows
from planner.errors import BadInput

HEADER = "id,gpu,num_gpus,model,weight_dtype,engine,mode,tp,load_kind,load_value,isl_mean,osl_mean,ttft_mean_ms"
LINE = "a-1,H100-SXM5-80GB,8,llama-3.1-8b,bf16,vllm,agg,8,concurrency,16,1000.5,200,123"


def test_a_row_is_read_with_its_types() -> None:
    row = parse_row(dict(zip(HEADER.split(","), LINE.split(","), strict=True)))
    assert (row.gpus, row.plan, row.load_value, row.input_mean) == (8, Plan(1, 8), 16.0, 1000.5)
    assert row.length_dist == row.spec_decode == ""


def test_measured_values_cannot_reach_a_row() -> None:
    cells = dict(zip(HEADER.split(","), LINE.split(","), strict=True))
    assert parse_row(cells | dict.fromkeys(METRICS, "1")) == parse_row(cells | dict.fromkeys(METRICS, ""))


@pytest.mark.parametrize(
    ("column", "text"),
    [("tp", "two"), ("tp", "1.5"), ("isl_mean", "-3"), ("load_value", "inf"), ("load_value", "1e9"), ("mode", "both")],
)
def test_a_value_that_cannot_be_read_names_its_column(column: str, text: str) -> None:
    cells = dict(zip(HEADER.split(","), LINE.split(","), strict=True)) | {column: text}
    with pytest.raises(ValueError, match=f"^{column}: '?{text.lstrip('-')}|^{column}"):
        parse_row(cells)


def test_gzip_and_plain_tables_read_alike(tmp_path: Path) -> None:
    text = f"{HEADER}\n{LINE}\n"
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert list(read_rows(plain)) == list(read_rows(packed))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", ":1:1"), (b"id,gp,model\n1,2,3\n", ":1:1"), (b"id,gpu,model\n1,2,3,4\n", ":2:4"),
        (b"\x1f\x8bnot gzip", "bad.csv"), (b"\xff\xfe\x00", "bad.csv"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_refused_with_its_place(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        list(read_rows(path))
    assert place in str(refused.value)


def test_a_table_without_rows_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(HEADER + "\n")
    with pytest.raises(BadInput, match=r"m\.csv:1:.*no rows below"):
        list(read_rows(tmp_path / "m.csv"))
