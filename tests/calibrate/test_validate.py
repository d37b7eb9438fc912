"""validate as users run it: every row answered, alike rows once, resumable, any number of jobs, and reproducible."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from planner.calibrate.validate import COLUMNS, part_file, validate
from planner.catalog import Catalog
from planner.errors import BadInput

COLUMN_NAMES = (
    "id", "group", "gpu", "num_gpus", "model", "arch", "weight_dtype", "engine", "engine_version", "mode", "tp", "ep",
    "dp", "prefill_workers", "prefill_tp", "prefill_dp", "prefill_ep", "decode_workers", "decode_tp", "decode_dp",
    "decode_ep", "isl_mean", "osl_mean", "length_dist", "dataset", "load_kind", "load_value", "out_tok_s",
)  # fmt: skip
H100 = {"gpu": "H100-SXM5-80GB", "num_gpus": "1", "model": "llama-3.1-8b", "weight_dtype": "bf16", "engine": "vllm",
        "engine_version": "0.19.0", "mode": "agg", "tp": "1", "isl_mean": "1000", "osl_mean": "100",
        "length_dist": "fixed", "load_kind": "concurrency", "load_value": "4"}  # fmt: skip
ROWS = {
    "closed": H100,
    "alike": H100 | {"out_tok_s": "500"},
    "static": H100 | {"load_kind": "static_batch", "load_value": "8"},
    "open": H100 | {"load_kind": "rate", "load_value": "2"},
    "queue": H100 | {"load_kind": "offline", "load_value": ""},
    "no-plan": H100 | {"tp": "", "num_gpus": "4", "dataset": "OpenOrca", "isl_mean": ""},
    "replicas": H100 | {"dp": "2", "num_gpus": "2"},
    "split": H100 | {
        "mode": "disagg", "tp": "", "num_gpus": "3", "prefill_workers": "1", "prefill_tp": "1", "prefill_dp": "1",
        "decode_workers": "2", "decode_tp": "1", "decode_dp": "1",
    },
    "near-engine": H100 | {"engine": "mlc-llm", "engine_version": "9.9"},
    "no-engine": H100 | {"engine": "vlm"},
    "new-gpu": H100 | {"gpu": "GH200"},
    "no-gpu": H100 | {"gpu": "H100-SXM9"},
    "no-format": H100 | {"weight_dtype": "fp3"},
    "too-large": H100 | {"model": "deepseek-r1", "weight_dtype": "fp8"},
    "garbled": H100 | {"tp": "many"},
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "measured.csv", ROWS)


def write(path: Path, rows: dict[str, dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMN_NAMES, restval="")
        writer.writeheader()
        writer.writerows(
            cells | {"id": name, "group": f"test|{cells['model']}|{cells['gpu']}"} for name, cells in rows.items()
        )
    return path


def answers(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {line["id"]: line for line in csv.DictReader(file)}


def test_every_row_is_answered(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    report = validate(table, out)
    found = answers(out)
    assert list(found) == list(ROWS)
    refused = {name: line["status"] for name, line in found.items() if line["status"] != "ok"}
    assert refused == {
        "no-engine": "unsupported",
        "no-gpu": "unsupported",
        "no-format": "unsupported",
        "too-large": "infeasible",
        "garbled": "error",
    }
    assert "did you mean" in found["no-gpu"]["reason"]
    assert "GB" in found["too-large"]["reason"]
    assert found["garbled"]["reason"].startswith("tp:")
    assert "stands in" in found["near-engine"]["source"]
    assert found["no-engine"]["reason"] == "unknown engine 'vlm' - did you mean 'vllm'?"
    assert report.statuses["ok"] == len(ROWS) - 5
    assert {s.metric for s in report.scores} == {"out_tok_s"}


def test_answers_are_ordered_numbers_inside_their_intervals(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    validate(table, out)
    for line in answers(out).values():
        if line["status"] != "ok":
            continue
        for metric in ("out_tok_s", "ttft_mean_ms", "tpot_mean_ms", "power_w_per_gpu"):
            low, value, high = (float(line[metric + end]) for end in ("_lo", "", "_hi"))
            assert 0 < low < high
            assert value > 0
        assert float(line["ttft_p50_ms"]) <= float(line["ttft_p99_ms"])


def test_alike_rows_and_any_number_of_jobs_give_the_same_bytes(table: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    validate(table, one, jobs=1)
    validate(table, two, jobs=2)
    assert one.read_bytes() == two.read_bytes()
    found = answers(one)
    assert {k: v for k, v in found["closed"].items() if k != "id"} == {
        k: v for k, v in found["alike"].items() if k != "id"
    }


def test_an_interrupted_run_goes_on(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    part = part_file(table, out, Catalog.open())
    header = ",".join(COLUMNS)
    kept = ",".join(["closed", "ok", "kept from before", *[""] * (len(COLUMNS) - 3)])
    part.write_text(f"{header}\n{kept}\nalike,ok,cut in the mid", encoding="utf-8")
    validate(table, out)
    found = answers(out)
    assert found["closed"]["reason"] == "kept from before"
    assert float(found["alike"]["out_tok_s"]) > 0
    assert not part.exists()


def test_answers_to_another_table_or_catalog_are_not_taken_up(table: Path, tmp_path: Path) -> None:
    out, catalog = tmp_path / "out.csv", Catalog.open()
    part = part_file(table, out, catalog)
    table.write_text(table.read_text() + "\n")
    assert part_file(table, out, catalog) != part


def test_an_accelerator_of_ones_own_brings_its_estimator(table: Path, tmp_path: Path) -> None:
    """One YAML file that names another source of step times for a GPU of the table."""
    shipped = Path(__file__).parents[2] / "hardware_db/accelerators/nvidia/h100-sxm5-80gb.yaml"
    mine = tmp_path / "own" / "hardware_db" / "accelerators" / "h100-sxm5-80gb.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(shipped.read_text() + "estimator: analytic\n")
    plain, own = tmp_path / "plain.csv", tmp_path / "own.csv"
    validate(table, plain)
    validate(table, own, overlays=[tmp_path / "own"])
    before, after = answers(plain)["closed"], answers(own)["closed"]
    assert "analytic x kernels" in before["source"]
    assert after["source"] == before["source"].replace(" x kernels h100-sxm5-80gb", "")
    assert float(after["tpot_mean_ms"]) != float(before["tpot_mean_ms"])


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "twice.csv", {"a": H100})
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(BadInput, match="appears twice"):
        validate(path, tmp_path / "out.csv")


def test_replicas_carry_twice_the_load_of_one(tmp_path: Path) -> None:
    twice = H100 | {"dp": "2", "num_gpus": "2", "load_value": "8"}
    out = tmp_path / "out.csv"
    validate(write(tmp_path / "m.csv", {"one": H100, "two": twice}), out)
    found = answers(out)
    assert float(found["two"]["out_tok_s"]) == pytest.approx(2 * float(found["one"]["out_tok_s"]), rel=0.02)


def test_every_cataloged_accelerator_with_room_is_answered(tmp_path: Path) -> None:
    catalog = Catalog.open()
    boards = [n for n in catalog.names("accelerators") if catalog.accelerator(n).memory_bytes > 24e9 and "cpu" not in n]
    rows = {n: H100 | {"gpu": n, "osl_mean": "20", "load_value": "1"} for n in boards}
    out = tmp_path / "out.csv"
    validate(write(tmp_path / "m.csv", rows), out)
    assert {n: line["reason"] for n, line in answers(out).items() if line["status"] != "ok"} == {}
