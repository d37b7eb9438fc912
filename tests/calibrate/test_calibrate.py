"""calibrate: results become an overlay that the next plan reads, only where it belongs; and what anchors buy."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.calibrate.anchors import anchor_of, predicted
from planner.calibrate.calibrate import calibrate, columns
from planner.calibrate.fit import Errors, errors, fit
from planner.calibrate.overlay import PRIOR_POINTS, Z80, width_of
from planner.calibrate.readers import read_results
from planner.calibrate.readers.base import Measured
from planner.catalog import Catalog
from planner.errors import BadInput, Where
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.spec.correction import Factors
from planner.spec.deployment import Parallelism, Pool

STATED = {
    "gpu": "H100-SXM5-80GB", "num_gpus": "1", "model": "llama-3.1-8b", "weight_dtype": "bf16", "engine": "vllm",
    "engine_version": "0.19.0", "tp": "1", "load_kind": "concurrency", "num_requests": "64", "osl_mean": "64",
}  # fmt: skip
LOADS = ((1, 256), (16, 2048), (32, 512))
POINTS = Path(__file__).parents[3] / "shared" / "truth" / "points_dev.csv.gz"
Table = Callable[..., Path]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


@pytest.fixture
def table(tmp_path: Path, catalog: Catalog) -> Table:
    """A result table of a machine that is as the model says, times `factors`; keywords replace columns."""

    def make(factors: Factors, name: str = "mine.csv", **changes: str) -> Path:
        rows = []
        for number, (concurrency, prompt) in enumerate(LOADS):
            cells = STATED | {"id": str(number), "load_value": str(concurrency), "isl_mean": str(prompt)} | changes
            slow = cells | {"ttft_mean_ms": "1e5", "tpot_mean_ms": "1e4"}
            truth = predicted(anchor_of(Measured(slow, Where("x", 1, 1)), catalog), factors)
            rows.append(cells | {name: repr(truth[name]) for name in ("ttft_mean_ms", "tpot_mean_ms")})
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return make


def pool(**changes: Any) -> Pool:
    fields = {"name": "p", "model": "llama-3.1-8b", "node": "dgx-h100", "accelerator": "h100-sxm5-80gb", "max_seqs": 64}
    return Pool(**(fields | changes))


def test_the_next_plan_reads_the_overlay_where_it_belongs(table: Table, tmp_path: Path, catalog: Catalog) -> None:
    (outcome,) = calibrate([table(Factors(decode=1.3, request=3.0))], tmp_path / "own", catalog, {})
    assert (outcome.version, outcome.accelerator, outcome.points) == ("0.19.0", "h100-sxm5-80gb", 3)
    assert outcome.factors.decode == pytest.approx(1.3, rel=0.1)
    assert (outcome.before.median("tpot") or 0) > 0.10 > 0.03 > (outcome.in_sample.median("tpot") or 1)
    assert outcome.rel_error < outcome.rel_error_before

    after = Catalog.open([tmp_path / "own"])
    place = hardware_of(after, pool())
    found = build_replica(after.model("llama-3.1-8b"), pool(), place, after.engine("vllm", "0.19.0"))
    plain = build_replica(after.model("llama-3.1-8b"), pool(), place, catalog.engine("vllm", "0.19.0"))
    assert found.cost.decode_s[1] == pytest.approx(outcome.factors.decode * plain.cost.decode_s[1])
    assert found.cost.rel_error == outcome.rel_error
    assert found.cost.source.partition(", held-out error TPOT ")[0].endswith(
        "corrected by 3 measured points (mine.csv:2, mine.csv:3, mine.csv:4)"
    )
    for version in ("", "0.18.0", "0.20.0"):
        assert not after.engine("vllm", version).corrections
    assert after.engine("sglang") == catalog.engine("sglang")
    wide = build_replica(
        after.model("llama-3.1-8b"), pool(parallelism=Parallelism(tp=2)), place, after.engine("vllm", "0.19.0")
    )
    assert wide.cost.rel_error == plain.cost.rel_error


def test_without_a_version_every_version_of_the_profile_is_corrected(
    table: Table, tmp_path: Path, catalog: Catalog
) -> None:
    (outcome,) = calibrate([table(Factors(), engine_version="")], tmp_path / "own", catalog, {})
    assert outcome.version == ""
    after = Catalog.open([tmp_path / "own"])
    assert after.engine("vllm").corrections
    assert after.engine("vllm").name == catalog.engine("vllm").name


def test_calibrating_again_replaces_its_own_place_and_keeps_others(
    table: Table, tmp_path: Path, catalog: Catalog
) -> None:
    own = tmp_path / "own"
    calibrate([table(Factors(decode=1.3))], own, catalog, {})
    calibrate([table(Factors(decode=1.2), model="qwen3-8b")], own, Catalog.open([own]), {})
    calibrate([table(Factors())], own, Catalog.open([own]), {})
    found = {c.model: c.factors.decode for c in Catalog.open([own]).engine("vllm", "0.19.0").corrections}
    assert found == {"llama-3.1-8b": pytest.approx(1.0, abs=1e-3), "qwen3-8b": pytest.approx(1.2, rel=0.1)}


def test_the_same_results_give_the_same_bytes(table: Table, tmp_path: Path, catalog: Catalog) -> None:
    results = table(Factors(decode=1.3, prefill=1.2))
    files = [calibrate([results], tmp_path / name, catalog, {})[0].file for name in ("one", "other")]
    assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()


def test_every_mistake_is_told_at_once(table: Table, tmp_path: Path, catalog: Catalog) -> None:
    path = table(Factors())
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("H100", "H1000"), lines[2].replace("llama-3.1", "lama-3.1")]))
    with pytest.raises(BadInput) as refused:
        calibrate([path], tmp_path / "own", catalog, {})
    assert [problem.where.line for problem in refused.value.problems] == [2, 3]
    assert not (tmp_path / "own").exists()


def test_too_few_points_of_a_configuration_are_refused(table: Table, tmp_path: Path, catalog: Catalog) -> None:
    path = table(Factors())
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    with pytest.raises(
        BadInput, match=r"mine.csv:2:1: 2 different point\(s\) of llama-3.1-8b bf16 on h100.*at least 3"
    ):
        calibrate([path], tmp_path / "own", catalog, {})


def test_settings_stand_over_what_a_file_says(table: Table, tmp_path: Path, catalog: Catalog) -> None:
    stated = columns([("version", "0.17.1"), ("concurrency", "8")])
    assert stated == {"engine_version": "0.17.1", "load_kind": "concurrency", "load_value": "8"}
    (outcome,) = calibrate([table(Factors())], tmp_path / "own", catalog, {"engine_version": "0.17.1"})
    assert outcome.version == "0.17.1"
    with pytest.raises(BadInput, match="unknown setting 'weigths' - did you mean 'weights'"):
        columns([("weigths", "fp8")])


def test_the_band_narrows_with_small_and_widens_with_large_held_out_errors() -> None:
    def errs(*values: float) -> Errors:
        return Errors({"tpot": values})

    assert width_of(0.27, errs()) == pytest.approx(0.27)
    assert width_of(0.27, errs(0.02, -0.03, 0.01)) < 0.15
    assert width_of(0.27, errs(0.5, -0.4, 0.3)) > 0.27
    many = errs(*[0.1, -0.1] * 500)
    assert width_of(0.27, many) == pytest.approx(math.expm1(0.1 * Z80), rel=0.01)
    one = math.log1p(width_of(0.27, errs(0.0)))
    assert one == pytest.approx(math.log1p(0.27) * math.sqrt(PRIOR_POINTS / (PRIOR_POINTS + 1)))


@pytest.mark.skipif(not POINTS.exists(), reason="the measured development set is not beside the repository")
def test_three_measured_points_tell_about_the_others(catalog: Catalog) -> None:
    """Eight configurations of InferenceX, one a group; the whole set is scored by tools/score_anchors.py."""
    configurations: dict[str, list[Measured]] = {}
    for point in read_results(POINTS, "table"):
        cells = point.cells
        plain = (
            cells["mode"] == "agg" and not cells["spec_decode"] and cells["load_kind"] == "concurrency" and cells["tp"]
        )
        if plain and cells["group"].startswith("inferencex|") and cells["id"].startswith("aic-"):
            key = [cells[n] for n in ("group", "engine", "weight_dtype", "tp", "ep", "dp")] + [cells["source_date"][:7]]
            configurations.setdefault("|".join(key), []).append(point)
    groups = {"|".join(key.split("|")[:3]): key for key in sorted(configurations) if len(configurations[key]) >= 7}
    assert len(groups) >= 8
    before: list[float] = []
    after: list[float] = []
    for key in list(groups.values())[:8]:
        points = list(configurations[key])
        random.Random(1).shuffle(points)
        anchors, others = ([anchor_of(p, catalog) for p in part] for part in (points[:3], points[3:7]))
        found = fit(anchors)
        before.append(errors(others, Factors()).median("tpot") or 0.0)
        after.append(errors(others, found).median("tpot") or 0.0)
    assert np.median(after) < np.median(before)
    assert np.median(after) < 0.09
