"""Time to make the cost tables of one pool, and to price one step inside the kernel. Prints; asserts nothing.

    python tools/bench_price.py

Wanted: tables in under 50 ms, a step in under 100 ns. The kernel's own pricing function is compiled with the options
of the loop and called in a compiled loop of its own; counting the sequences of a step is part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from planner.catalog import Catalog
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.sim import pricing
from planner.sim.build import build
from planner.sim.kernel import twins
from planner.sim.state import State
from planner.spec.deployment import Deployment, Parallelism, Pool, Route
from planner.spec.requests import Requests

POOLS = (
    ("llama-3.1-8b", "dgx-h100", "h100-sxm5-80gb", "bf16", Parallelism()),
    ("llama-3.1-70b", "dgx-h100", "h100-sxm5-80gb", "fp8", Parallelism(tp=4)),
    ("deepseek-v3", "dgx-b200", "b200-sxm-180gb", "fp8", Parallelism(dp=8, ep=8)),
    ("nemotron-3-ultra-550b-a55b", "dgx-b200", "b200-sxm-180gb", "fp8", Parallelism(tp=8)),
    ("llama-3.1-405b", "dgx-h100", "h100-sxm5-80gb", "fp8", Parallelism(tp=8, pp=2)),
)
CALLS = 200_000


def best_s(work: Callable[[], Any], repeats: int = 7) -> float:
    """Least wall time of some repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def tables(catalog: Catalog) -> None:
    for model, node, accelerator, weights, plan in POOLS:
        pool = Pool(name="p", model=model, node=node, accelerator=accelerator, weights=weights, parallelism=plan,
                    max_seqs=1024, max_tokens_per_step=16384)  # fmt: skip
        noun, hardware, profile = catalog.model(model), hardware_of(catalog, pool), catalog.engine("vllm")
        seconds = best_s(lambda a=noun, b=pool, c=hardware, d=profile: build_replica(a, b, c, d))  # type: ignore[misc]
        print(f"cost tables of {model + ' ' + str(plan):44s} {seconds * 1e3:7.2f} ms")


def state(catalog: Catalog, sequences: int, chunks: int) -> State:
    """A flight of so many decoding sequences and prompts of 512 new tokens, not priced yet."""
    pool = Pool(name="p", model="llama-3.1-8b", node="dgx-h100", accelerator="h100-sxm5-80gb")
    replica = build_replica(catalog.model(pool.model), pool, hardware_of(catalog, pool), catalog.engine("vllm"))
    n = sequences + chunks
    requests = Requests(np.zeros(n), np.full(n, 1000), np.full(n, 100), np.zeros(n, np.int64), ("c",), 0)
    where = Deployment(pools=(pool,), routes=(Route(request_class="c", pool="p"),))
    made = build(where, {"p": replica}, requests, 0)
    made.flight["requests"][0, 0] = n
    made.batch["request"][0, 0, :n] = np.arange(n)
    made.batch["tokens"][0, 0, :n] = [0] * sequences + [512] * chunks
    made.request["done"][:n] = 700
    return made


def steps(catalog: Catalog) -> None:
    options = {"_nrt": False, "error_model": "numpy"}
    price = twins(lambda function: numba.njit(function, forceinline=True, **options))[pricing.price]

    @numba.njit(**options)  # type: ignore[untyped-decorator]
    def many(s: State, calls: int) -> float:
        total = 0.0
        for i in range(calls):
            s.request[0].done = 700 + i % 8
            total += price(s, 0, 0)
        return total

    for sequences, chunks in ((1, 0), (8, 0), (32, 0), (128, 0), (32, 1), (128, 2)):
        made = state(catalog, sequences, chunks)
        many(made, 10)
        seconds = best_s(lambda s=made: many(s, CALLS), 5)  # type: ignore[misc]
        print(f"a step of {sequences:3d} sequences and {chunks} prompts {seconds / CALLS * 1e9:7.1f} ns")


if __name__ == "__main__":
    shipped = Catalog.open()
    tables(shipped)
    steps(shipped)
