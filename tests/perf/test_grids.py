"""Operator grids: interpolation, floors, borrowing, size, and values of the tables they were fitted on."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from planner.perf.grids import AXES, STARTUP_S, Grid, Grids, Roofline, grids_of
from planner.spec.hardware import Accelerator, Peak

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "hardware_db" / "operators").glob("*.npz"))
H100 = {"bf16": 989.4e12, "fp8": 1978.9e12}
BANDWIDTH = 3.35e12


def accelerator(name: str, behaves_like: str = "") -> Accelerator:
    return Accelerator(
        name=name, vendor="x", year=2024, memory="80 GiB", memory_bandwidth="1 TB/s", peak=Peak(bf16="1 PFLOP/s"),
        behaves_like=behaves_like, source="test",
    )  # fmt: skip


def find(operator: str, engine: str, dtype: str) -> Grid:
    grid = grids_of(accelerator("h100-sxm5-80gb")).find(operator, engine, dtype)
    assert grid is not None
    return grid


def test_a_vertex_is_reproduced_and_the_middle_is_the_mean():
    axis = np.array([0.0, 1.0, 2.0])
    grid = Grid((axis, axis), np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]))
    floor = 10e-6
    assert grid.seconds(floor, 1.0, 2.0) == pytest.approx((floor + STARTUP_S) * 2.0**3)
    assert grid.seconds(floor, 0.5, 0.5) == pytest.approx((floor + STARTUP_S) * 2.0**1)


def test_outside_the_axes_the_edge_value_is_kept():
    axis = np.array([0.0, 1.0])
    grid = Grid((axis,), np.array([0.5, 1.5]))
    assert grid.seconds(1e-3, -7.0) == grid.seconds(1e-3, 0.0)
    assert grid.seconds(1e-3, 99.0) == grid.seconds(1e-3, 1.0)


def test_no_time_is_below_the_roofline():
    grid = Grid((np.array([0.0, 1.0]),), np.array([-3.0, -3.0]))
    assert grid.seconds(1e-3, 0.5) == 1e-3


def test_a_device_without_grids_borrows_and_one_unlike_all_has_none():
    assert grids_of(accelerator("h800", "h100-sxm5-80gb")) is grids_of(accelerator("h100-sxm5-80gb"))
    assert grids_of(accelerator("abacus")) is None


def test_another_engine_serves_where_this_one_was_not_measured():
    grids = Grids("x", {"gemm|sglang|bf16": np.zeros([len(axis) for axis in AXES["gemm"]])})
    assert grids.find("gemm", "vllm", "bf16") is not None
    assert grids.find("gemm", "vllm", "fp8") is None


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_file_is_the_one_its_provenance_describes(file: Path):
    about = yaml.safe_load(file.with_suffix(".yaml").read_text())
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    with np.load(file) as stored:
        assert set(stored.files) == set(about["grids"])
        for key in stored.files:
            assert stored[key].shape == tuple(len(axis) for axis in AXES[key.split("|")[0]])


def test_all_devices_together_stay_under_one_megabyte():
    assert len(FILES) >= 9
    assert sum(file.stat().st_size for file in FILES) < 1_000_000


# Times of the operator tables of aiconfigurator-core 0.12.0 (TensorRT-LLM 1.3.0rc20, H100 SXM). A grid smooths its
# table, so a value is asked within three times the median error that its provenance states, plus the rounding.
@pytest.mark.parametrize(
    ("key", "floor_s", "where", "measured_s"),
    [
        (
            "gemm|trtllm|fp8",
            Roofline(H100["fp8"], BANDWIDTH).gemm_s(64.0, 8192.0, 8192.0, 1.0, 1.0),
            (64, 8192, 8192), 39.4e-6,
        ),
        ("prefill128|trtllm|bf16", Roofline(H100["bf16"], BANDWIDTH).prefill_s(1, 16, 4096, 128), (16, 4096), 192.6e-6),
        (
            "decode128|trtllm|fp8",
            Roofline(H100["bf16"], BANDWIDTH).decode_s(np.array(64.0), 16, 2, 4096, 128, 1.0),
            (128, 4096, 8), 58.2e-6,
        ),
        (
            "moe|trtllm|fp8_block",
            Roofline(H100["fp8"], BANDWIDTH).moe_s(np.array(128.0), 32.0, 3 * 7168 * 2048, 1.0),
            (4, 32, 3 * 7168 * 2048, 8), 439e-6,
        ),
    ],
)  # fmt: skip
def test_grids_give_back_published_rows_of_their_tables(key, floor_s, where, measured_s):
    about = yaml.safe_load((ROOT / "hardware_db/operators/h100-sxm5-80gb.yaml").read_text())["grids"][key]
    predicted = find(*key.split("|")).seconds(floor_s, *np.log2(where))
    assert predicted == pytest.approx(measured_s, rel=3 * about["held_out_error"] + 0.02)
