"""Vidur's per-request times, reproduced: scheduling and accounting of chunked prefill against another program."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.sim.metrics import LEVELS, queue_s, summarise
from planner.sim.pricing import TableCost
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.requests import Requests
from planner.spec.step import Replica

VIDUR = Path(__file__).resolve().parents[3] / "shared" / "peers" / "vidur"
CASES = ("sarathi_2k", "sarathi_2k_pressure", "sarathi_10k")

pytestmark = pytest.mark.skipif(not VIDUR.exists(), reason="the reference runs (../shared/peers/vidur) are not here")


def columns(case: str, name: str) -> Any:
    path = VIDUR / case / f"{name}.csv"
    packed = path.with_suffix(".csv.gz")
    text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else path.read_text()
    return np.genfromtxt(text.splitlines(), delimiter=",", names=True)


def table_cost() -> TableCost:
    with np.load(VIDUR / "step_cost_tables.npz") as tables:
        linear, save = tables["linear_ms_per_layer"], tables["kv_save_ms_per_layer"]
        tokens = np.arange(len(linear))
        return TableCost(
            token=linear[-(-tokens // 8) * 8] + save,
            decode=tables["decode_attn_ms_per_layer"],
            prefill=tables["prefill_attn_ms_per_layer"],
            bucket=64,
            several=1.1,
            layers=80.0,
            per_s=1000.0,
        )


@dataclass
class Case:
    requests: Requests
    replica: Replica
    parameters: dict[str, Any]

    def run(self, **options: Any) -> Run:
        pool = Pool(name="all", model="llama-2-70b", node="dgx", accelerator="a100")
        deployment = Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="all"),))
        return simulate(deployment, {"all": self.replica}, self.requests, **options)


def case_of(name: str, scale: float = 1.0, limit: int | None = None) -> Case:
    given = columns(name, "requests")[:limit]
    parameters = json.loads((VIDUR / name / "parameters.json").read_text())
    requests = Requests(
        given["arrival_s"] / scale,
        given["prompt_tokens"].astype(np.int64),
        given["output_tokens"].astype(np.int64),
        np.zeros(len(given), np.int64),
        ("chat",),
    )
    replica = Replica(
        cost=table_cost(),  # type: ignore[arg-type]
        scheduler="sarathi",
        max_seqs=parameters["batch_cap_requests"],
        max_tokens_per_step=parameters["token_budget_chunk"],
        kv_blocks=parameters["kv_blocks"],
        block_tokens=parameters["kv_block_tokens"],
        watermark=parameters["watermark_fraction"],
    )
    return Case(requests, replica, parameters)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("skip", [False, True], ids=["step", "skip"])
def test_every_request_of_vidur_is_reproduced(name: str, skip: bool) -> None:
    case = case_of(name)
    run, measured = case.run(skip=skip), columns(name, "metrics")
    assert np.array_equal(run.preemptions, measured["restarts"].astype(np.int64))
    assert run.pools["all"].work.steps == case.parameters["reference"]["iterations"]
    for metric, event_s in (("ttft", run.first_token_s), ("e2e", run.finish_s), ("scheduling_delay", run.admitted_s)):
        assert np.abs(event_s - run.arrival_s - measured[f"{metric}_s"]).max() <= 1e-9, metric


@pytest.mark.parametrize("name", CASES)
def test_percentiles_are_those_of_vidur(name: str) -> None:
    found, measured = summarise(case_of(name).run())["chat"].metrics, columns(name, "metrics")
    for metric in ("ttft", "e2e"):
        for statistic in ("p50", "p90", "p99"):
            theirs = np.quantile(measured[f"{metric}_s"], LEVELS[statistic])
            assert found[metric].values_s[statistic] == pytest.approx(theirs, rel=0.005)


def test_capacity_is_the_one_vidur_finds() -> None:
    """Vidur's bisection ends at 1.078125 = 69/64 requests per second for p99 scheduling delay <= 5 s."""

    def delay_s(rate: float) -> float:
        return float(np.quantile(queue_s(case_of("sarathi_2k", rate, 1000).run()), 0.99))

    assert delay_s(69 / 64) <= 5 < delay_s(70 / 64)
