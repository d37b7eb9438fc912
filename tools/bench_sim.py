"""Seconds and ratios of the simulator on this machine. Prints; nothing here is asserted, and no test runs it.

    python tools/bench_sim.py [--big] [--compile]

--big adds a million requests on 256 replicas; --compile times compilation into an empty cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from planner.sim.capacity import Probe, max_rate
from planner.sim.simulate import prepare, simulate
from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.requests import Requests
from planner.spec.slo import Slo
from planner.spec.step import Replica, StepCost


def replica() -> Replica:
    """About one 70B model on four recent accelerators."""
    n = np.arange(257.0)
    cost = StepCost(
        decode_s=0.012 + 2e-5 * n, decode_context_s=np.full(257, 1.2e-8), decode_window_s=np.zeros(257),
        linear_s=2e-5 * np.arange(0, 16385, 256.0), linear_stride=256, pair_s=2e-11, window_pair_s=0.0,
        context_s=1e-9, chunk_s=1e-5, prefill_floor_s=0.0, window_tokens=0, source="bench", rel_error=0.0,
    )  # fmt: skip
    return Replica(cost, "vllm_v1", 256, 8192, 30_000, 16, 0.01)


def chat(n: int, rate: float, concurrency: int = 0) -> Requests:
    """Lognormal lengths, about 600 in and 250 out."""
    random = np.random.default_rng(1)
    lengths = np.maximum(random.lognormal([6.0, 5.2], [0.9, 0.8], (n, 2)).astype(np.int64), 1)
    arrivals = np.zeros(n) if concurrency else np.cumsum(random.exponential(1 / rate, n))
    return Requests(arrivals, lengths[:, 0], lengths[:, 1], np.zeros(n, np.int64), ("chat",), concurrency)


def deployment(replicas: int = 1, router: str = "round_robin") -> Deployment:
    pool = Pool(name="all", model="m", node="n", accelerator="a", replicas=replicas)
    return Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="all"),), router=router)


def best(work: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    """Least wall time of some repeats, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def show(name: str, requests: Requests, replicas: int = 1, router: str = "round_robin", repeats: int = 5) -> None:
    """Skipping against stepping."""
    where = deployment(replicas, router)
    skip_s, run = best(lambda: simulate(where, {"all": replica()}, requests), repeats)
    step_s, _ = best(lambda: simulate(where, {"all": replica()}, requests, skip=False), repeats)
    steps = run.pools["all"].work.steps
    print(
        f"{name:44s} {steps:>10,} steps {skip_s * 1e3:>9.2f} ms {skip_s / steps * 1e9:>6.0f} ns/step; "
        f"step by step {step_s * 1e3:>9.2f} ms {step_s / steps * 1e9:>6.0f} ns/step: {step_s / skip_s:.1f}x"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--big", action="store_true")
    options.add_argument("--compile", action="store_true")
    chosen = options.parse_args()
    if chosen.compile:
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    start, cpu = time.perf_counter(), time.process_time()
    prepare()
    print(f"ready after {time.perf_counter() - start:.2f} s ({time.process_time() - cpu:.2f} s of CPU)")
    show("1,000 requests, 2/s", chat(1000, 2.0))
    show("1,000 requests, 10/s", chat(1000, 10.0))
    show("1,000 requests, 32 in flight", chat(1000, 0.0, 32))
    show("100,000 requests, 8/s", chat(100_000, 8.0), repeats=2)
    show("20,000 requests, 0.2/s", chat(20_000, 0.2), repeats=2)
    plain_s, run = best(lambda: simulate(deployment(), {"all": replica()}, chat(200, 8.0), compiled=False), 1)
    fast_s, _ = best(lambda: simulate(deployment(), {"all": replica()}, chat(200, 8.0)))
    print(f"200 requests as plain Python {plain_s:.2f} s, compiled {fast_s * 1e3:.2f} ms: {plain_s / fast_s:.0f}x")
    slo = Slo.model_validate({"ttft": {"p99": "1 s"}, "tpot": {"p90": "40 ms"}})
    probe = Probe(deployment(), {"all": replica()}, chat(1000, 1.0), {"chat": slo}, 0.1)
    seconds, found = best(lambda: max_rate(probe, guess=8.0))
    print(f"capacity {found.holds:.3f}/s in {found.probes} probes, {seconds * 1e3:.1f} ms")
    if chosen.big:
        show("1,000,000 requests on 256 replicas", chat(1_000_000, 1500.0), 256, "least_outstanding", 1)


if __name__ == "__main__":
    main()
