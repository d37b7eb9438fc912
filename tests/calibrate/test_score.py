"""The scores against a hand-worked table: groups first, then medians over groups."""

import pytest

from planner.calibrate.score import scores

TRUTH = [
    {"id": "1", "group": "a", "engine": "x", "ttft_p50_ms": "100", "out_tok_s": "10"},
    {"id": "2", "group": "a", "engine": "x", "ttft_mean_ms": "100", "ttft_p50_ms": "50", "out_tok_s": "10"},
    {"id": "3", "group": "b", "engine": "y", "ttft_mean_ms": "200", "out_tok_s": ""},
    {"id": "4", "group": "b", "engine": "y", "ttft_mean_ms": "200", "out_tok_s": "5"},
]
PREDICTED = [
    {
        "id": "1",
        "status": "ok",
        "ttft_p50_ms": "110",
        "ttft_p50_ms_lo": "90",
        "ttft_p50_ms_hi": "120",
        "out_tok_s": "10",
    },
    {"id": "2", "status": "ok", "ttft_mean_ms": "130", "ttft_p50_ms": "0", "out_tok_s": "8"},
    {"id": "3", "status": "ok", "ttft_mean_ms": "100", "out_tok_s": "1"},
    {"id": "4", "status": "infeasible", "ttft_mean_ms": "200", "out_tok_s": "5"},
]


def test_groups_are_reduced_before_they_are_averaged() -> None:
    found = {(s.metric, s.slice): s for s in scores(TRUTH, PREDICTED, ("engine",))}
    any_ttft = found["ttft_any_ms", "all"]
    assert (any_ttft.groups, any_ttft.rows) == (2, 3)  # the mean where measured, else the median; only status ok
    assert any_ttft.median_ape == pytest.approx((20.0 + 50.0) / 2)  # group a: median of 10 and 30
    assert any_ttft.bias == pytest.approx((20.0 - 50.0) / 2)
    assert found["out_tok_s", "all"].median_ape == pytest.approx(10.0)  # of 0 and 20 %, group b measured nothing
    assert found["ttft_any_ms", "engine=y"].median_ape == pytest.approx(50.0)
    assert any_ttft.inside == pytest.approx(100.0)


def test_no_score_without_a_match() -> None:
    assert scores(TRUTH, [{"id": "9", "status": "ok", "out_tok_s": "1"}]) == []
