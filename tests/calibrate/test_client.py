"""The benchmark client: exact means whatever the draw, bursts, and runs that stand for longer ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.calibrate.client import client_of, draw, sample_of
from planner.calibrate.rows import parse_row

BASE = {"id": "1", "gpu": "h100-sxm5-80gb", "model": "llama-3.1-8b", "tp": "1", "isl_mean": "1000", "osl_mean": "100"}


@settings(max_examples=50, deadline=None)
@given(
    shape=st.sampled_from(["fixed", "nearly_fixed", "uniform_0.8_1.0", "uniform_0_2", "dataset"]),
    mean=st.floats(20, 20000), count=st.integers(10, 2000),
)  # fmt: skip
def test_draws_have_the_stated_mean(shape: str, mean: float, count: int) -> None:
    drawn = draw(shape, mean, count, np.random.default_rng(0), 1.0)
    assert drawn.mean() == pytest.approx(mean, rel=0.02, abs=1.0)
    assert drawn.min() >= 1


def test_uniform_lengths_span_the_nominal_range() -> None:
    drawn = draw("uniform_0.8_1.0", 921.6, 1000, np.random.default_rng(0), 1.0)
    assert 819 <= drawn.min() <= 821
    assert 1023 <= drawn.max() <= 1024


def test_a_closed_loop_starts_with_a_burst_and_runs_ten_waves() -> None:
    client = client_of(parse_row(BASE | {"load_kind": "concurrency", "load_value": "16"}))
    sample = sample_of(client)
    assert (sample.requests.concurrency, sample.first, sample.total) == (16, 16, 160)
    assert not sample.requests.arrival_s.any()


@pytest.mark.parametrize(("concurrency", "share"), [(512, 1.0), (512, 0.25), (4000, 1.0), (8, 1.0)])
def test_weights_stand_for_the_whole_run(concurrency: int, share: float) -> None:
    sample = sample_of(client_of(parse_row(BASE | {"load_kind": "concurrency", "load_value": str(concurrency)})), share)
    assert sample.weights.sum() == pytest.approx(sample.total)
    assert (sample.weights[: sample.first] == 1).all()


def test_open_loops_arrive_at_the_stated_rate() -> None:
    client = client_of(parse_row(BASE | {"load_kind": "rate", "load_value": "20", "num_requests": "2000"}))
    arrivals = sample_of(client, 0.5).requests.arrival_s
    assert len(arrivals) == 1000
    assert len(arrivals) / arrivals[-1] == pytest.approx(10.0, rel=0.1)


def test_unpublished_lengths_are_those_of_the_data_set() -> None:
    row = parse_row(BASE | {"isl_mean": "", "dataset": "OpenOrca", "load_kind": "offline"})
    assert client_of(row).input_mean == 294.0
