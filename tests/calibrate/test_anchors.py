"""Anchors: what may be one, what is refused and in which words; factors found again in points made with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from planner.calibrate.anchors import Anchor, anchor_of, check_agreement, experiments, predicted
from planner.calibrate.fit import errors, fit, free_factors, held_out
from planner.calibrate.floors import BELIEVED, floors
from planner.calibrate.readers.base import Measured
from planner.catalog import Catalog
from planner.errors import BadInput, Where
from planner.spec.correction import Factors

CONFIGURATION = {
    "gpu": "H100-SXM5-80GB", "num_gpus": "1", "model": "llama-3.1-8b", "weight_dtype": "bf16", "engine": "vllm",
    "engine_version": "0.19.0", "tp": "1", "load_kind": "concurrency", "num_requests": "64", "osl_mean": "64",
}  # fmt: skip
LOADS = ((1, 256), (4, 1024), (16, 2048), (32, 512))
Make = Callable[..., Anchor]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


@pytest.fixture(scope="module")
def point(catalog: Catalog) -> Callable[..., Anchor]:
    """An anchor of the configuration above; keywords replace columns."""

    def make(line: int = 2, **changes: Any) -> Anchor:
        cells = {"isl_mean": "512", "load_value": "8", "ttft_mean_ms": "40", "tpot_mean_ms": "9", "id": f"p{line}"}
        cells |= CONFIGURATION | {name: str(value) for name, value in changes.items()}
        return anchor_of(Measured(cells, Where("mine.csv", line, 1)), catalog)

    return make


def measured_with(point: Make, factors: Factors, loads: tuple[tuple[int, int], ...] = LOADS) -> list[Anchor]:
    """Points of a machine that is exactly as the model with these factors says."""
    found = []
    for line, (concurrency, prompt) in enumerate(loads, 2):
        shape = {"load_value": concurrency, "isl_mean": prompt}
        truth = predicted(point(line, **shape, ttft_mean_ms=1e4, tpot_mean_ms=1e3), factors)
        found.append(point(line, **shape, ttft_mean_ms=truth["ttft_mean_ms"], tpot_mean_ms=truth["tpot_mean_ms"]))
    return found


def test_points_of_the_model_itself_leave_every_factor_at_one(point: Make) -> None:
    anchors = measured_with(point, Factors())
    assert all(value == pytest.approx(1.0, abs=1e-6) for _, value in fit(anchors))
    assert errors(anchors, Factors()).median("tpot") == pytest.approx(0.0, abs=1e-9)


def test_factors_are_found_again_at_a_load_that_was_not_fitted(point: Make) -> None:
    truth = Factors(decode=1.3, prefill=1.6, request=4.0)
    anchors = measured_with(point, truth)
    found = fit(anchors[:3])
    assert found.decode == pytest.approx(1.3, rel=0.1)
    before, after = errors(anchors[3:], Factors()), errors(anchors[3:], found)
    for metric, least in (("tpot", 0.05), ("ttft", 0.1)):
        assert (before.median(metric) or 0) > 0.2
        assert (after.median(metric) or 0) < least


def test_the_prior_keeps_a_few_points_from_ruling(point: Make) -> None:
    """A tenfold time of one request alone says less than the same of four."""
    slow = [point(2, load_value=1, isl_mean=256, ttft_mean_ms=400, tpot_mean_ms=70)]
    found = fit(slow)
    exact = slow[0].measured["tpot_mean_ms"] / predicted(slow[0], Factors())["tpot_mean_ms"]
    assert 1.0 < found.decode < exact
    assert found.batch == found.admission_lag == 1.0


def test_as_many_factors_as_points_can_tell_apart(point: Make) -> None:
    one, other = point(2), point(3, load_value=16)
    assert free_factors([one]) == ("decode", "prefill")
    assert free_factors([one, point(4)]) == ("decode", "prefill")  # the same experiment twice is one
    assert len(free_factors([one, other])) == 4
    assert len(free_factors(measured_with(point, Factors()))) == len(Factors.model_fields)


def test_held_out_errors_are_of_points_that_were_not_fitted(point: Make) -> None:
    anchors = measured_with(point, Factors(decode=1.2))
    odd = point(
        9, load_value=8, isl_mean=512, tpot_mean_ms=1.6 * predicted(point(9), Factors(decode=1.2))["tpot_mean_ms"]
    )
    found = held_out([*anchors[:3], odd])
    in_sample = errors([*anchors[:3], odd], fit([*anchors[:3], odd]))
    assert len(found.by_metric["tpot"]) == 4
    assert max(map(abs, found.by_metric["tpot"])) > max(map(abs, in_sample.by_metric["tpot"]))


def test_repeats_are_one_witness(point: Make) -> None:
    """Left out together, or a repeat would tell its own answer."""
    same = [point(line, tpot_mean_ms=9 + line / 100) for line in (2, 3, 4)]
    other = point(5, load_value=32, isl_mean=2048, tpot_mean_ms=30, ttft_mean_ms=400)
    assert [len(group) for group in experiments([*same, other])] == [3, 1]
    assert held_out([*same, other]).by_metric["tpot"][:3] == errors(same, fit([other])).by_metric["tpot"]


def test_faster_than_the_hardware_is_refused_with_the_floor(point: Make) -> None:
    with pytest.raises(BadInput, match=r"mine.csv:2:1: tpot_mean_ms 2 ms is faster .*at least 4\.\d+ ms .*the weights"):
        point(tpot_mean_ms=2)
    with pytest.raises(BadInput, match=r"ttft_mean_ms 5 ms .*the arithmetic of a prompt of 16000 tokens"):
        point(isl_mean=16000, ttft_mean_ms=5)
    with pytest.raises(BadInput, match=r"tpot_mean_ms x \(output - 1\) = 1\d+ ms .*the arithmetic of 64 requests"):
        point(isl_mean=8000, osl_mean=10, load_value=64, num_requests=640, ttft_mean_ms=1000, tpot_mean_ms=20)


def test_floors_are_closed_forms(point: Make, catalog: Catalog) -> None:
    """Weights over bandwidth, 2 FLOP per weight and token over the peak: within embedding and attention."""
    anchor = point(isl_mean=4000, ttft_mean_ms=200)
    found = {floor.column: floor.least_ms / BELIEVED for floor in floors(anchor, catalog)}
    weights = 2 * 7.5e9  # 8.03e9 less the embedding table, 16 bits each
    bandwidth, peak = anchor.case.accelerator.memory_bandwidth_bytes_per_s, anchor.case.accelerator.peak.bf16_flop_per_s
    assert found["tpot_mean_ms"] == pytest.approx(1e3 * weights / bandwidth, rel=0.05)
    assert found["ttft_mean_ms"] == pytest.approx(1e3 * weights * 4000 / peak, rel=0.12)


def test_two_accelerators_halve_the_floor(point: Make, catalog: Catalog) -> None:
    one = {f.column: f.least_ms for f in floors(point(), catalog)}
    two = {f.column: f.least_ms for f in floors(point(tp=2, num_gpus=2), catalog)}
    for column, least_ms in two.items():
        assert least_ms == pytest.approx(one[column] / 2)


def test_contradictions_name_both_points(point: Make) -> None:
    one, other, elsewhere = point(2), point(3, tpot_mean_ms=20), point(4, tpot_mean_ms=25, load_value=64)
    (problem,) = check_agreement([one, other, elsewhere])
    assert str(problem).startswith("mine.csv:2:1: tpot_mean_ms is 9, but 20 at mine.csv:3:1")
    assert not check_agreement([one, point(3, tpot_mean_ms=17)])
    assert not check_agreement([one, point(3, tpot_mean_ms=20, isl_mean=2048)])
    assert not check_agreement([one, point(3, tpot_mean_ms=20, tp=2, num_gpus=2)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tpot_mean_ms": "", "ttft_mean_ms": ""}, "no latency"),
        ({"tpot_mean_ms": "fast"}, "tpot_mean_ms: 'fast' is not a positive number"),
        ({"tpot_mean_ms": "nan"}, "tpot_mean_ms: 'nan' is not a positive number"),
        ({"ttft_mean_ms": "0"}, "ttft_mean_ms: '0' is not a positive number"),
        ({"isl_mean": ""}, "isl_mean, osl_mean: mean tokens"),
        ({"load_value": ""}, "load_value: requests in flight"),
        ({"tp": ""}, "tp: how the model was cut"),
        ({"engine": ""}, "engine: which engine"),
        ({"gpu": "H1000"}, "unknown accelerator 'H1000'"),
        ({"model": "lama-3.1-8b"}, "did you mean 'llama-3.1-8b'"),
        ({"weight_dtype": "fp9"}, "weight format 'fp9' is not known"),
        ({"tp": "two"}, "tp: 'two' is not a number"),
        ({"spec_decode": "mtp"}, "spec_decode 'mtp': corrections are for plain decoding"),
        ({"engine": "tgi2"}, "unknown engine 'tgi2' - did you mean 'tgi'"),
        ({"load_value": "1e9"}, "load_value: 1e\\+09 is more than any measured run had"),
        ({"model": "llama-3.1-405b"}, "llama-3.1-405b bf16 at tp1 needs 8\\d\\d GB of weights"),
    ],
)
def test_what_is_missing_or_unknown_is_told_with_its_line(point: Make, changes: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        point(7, **changes)
    assert str(refused.value).startswith("mine.csv:7:1: ")


def test_a_point_without_tpot_is_compared_by_the_whole_request(point: Make) -> None:
    anchor = point(tpot_mean_ms="", e2e_mean_ms=900)
    found = errors([anchor], Factors()).by_metric
    assert set(found) == {"e2e", "ttft"}
    assert found["e2e"][0] == pytest.approx(math.log(predicted(anchor, Factors())["e2e_mean_ms"] / 900))
