"""Small worlds to simulate: prices that one can add up by hand, pools, requests. And arrays for the plain loop that
refuse negative indices, which compiled code would not notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planner.sim import kernel, plain
from planner.sim.state import State
from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.requests import Requests
from planner.spec.step import Replica, StepCost

LONGEST = 1 << 15


def step_cost(**changes: Any) -> StepCost:
    """2 ms a step, 10 us a token, 1 us a decode and 1 ns a context token, 0.1 ns a pair."""
    n = np.arange(257.0)
    cost = StepCost(
        decode_s=2e-3 + 1e-6 * n,
        decode_context_s=np.full(257, 1e-9),
        decode_window_s=np.zeros(257),
        linear_s=1e-5 * np.arange(0, LONGEST + 1, 256.0),
        linear_stride=256,
        pair_s=1e-10,
        window_pair_s=0.0,
        context_s=2e-9,
        chunk_s=1e-5,
        prefill_floor_s=0.0,
        window_tokens=0,
        source="by hand",
        rel_error=0.0,
    )
    return replace(cost, **changes)


def constant_cost(seconds: float) -> StepCost:
    """Every step takes the same time."""
    nothing = np.zeros(257)
    return step_cost(
        decode_s=np.full(257, seconds), decode_context_s=nothing, linear_s=np.zeros(129), pair_s=0.0, context_s=0.0,
        chunk_s=0.0,
    )  # fmt: skip


def a_replica(**changes: Any) -> Replica:
    given: dict[str, Any] = {
        "cost": step_cost(), "scheduler": "vllm_v1", "max_seqs": 64, "max_tokens_per_step": 2048, "kv_blocks": 4096,
        "block_tokens": 16, "watermark": 0.01,
    }  # fmt: skip
    return Replica(**(given | changes))


def some_requests(
    arrival_s: Any,
    input_tokens: Any,
    output_tokens: Any,
    *,
    concurrency: int = 0,
    classes: Any = None,
    priorities: tuple[int, ...] = (),
) -> Requests:
    n = max(np.size(x) for x in (arrival_s, input_tokens, output_tokens))

    def full(values: Any, dtype: type) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype), n))

    index = full(0 if classes is None else classes, np.int64)
    names = ("chat", "code", "batch")[: int(index.max()) + 1]
    lengths = full(input_tokens, np.int64), full(output_tokens, np.int64)
    return Requests(full(arrival_s, np.float64), *lengths, index, names, concurrency, priorities=priorities)


def pool_of(name: str = "all", replicas: int = 1, phases: tuple[str, ...] = ("prefill", "decode")) -> Pool:
    return Pool(name=name, model="m", node="n", accelerator="a", phases=phases, replicas=replicas)  # type: ignore[arg-type]


def one_pool(replicas: int = 1, router: str = "round_robin", classes: tuple[str, ...] = ("chat",)) -> Deployment:
    routes = tuple(Route(request_class=name, pool="all") for name in classes)
    return Deployment(pools=(pool_of(replicas=replicas),), routes=routes, router=router)


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """The builders above as attributes, because test files do not import this one."""
    builders = (step_cost, constant_cost, a_replica, some_requests, pool_of, one_pool)
    return SimpleNamespace(**{build.__name__: build for build in builders})


def checked(index: Any) -> Any:
    for one in index if isinstance(index, tuple) else (index,):
        if one < 0:
            raise IndexError(f"index {index}: compiled code counts from the start only")
    return index


class CheckedRows(plain.Rows):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(checked(index))


class CheckedGrid(plain.Grid):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(checked(index))


class CheckedNumbers:
    def __init__(self, array: Any):
        self.array, self.shape = array, array.shape

    def __getitem__(self, index: Any) -> Any:
        return self.array[checked(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[checked(index)] = value


@pytest.fixture(scope="session", autouse=True)
def _indices_are_checked() -> Iterator[None]:
    """Every run as plain Python in these tests fails at a negative index."""

    def thaw(s: State) -> State:
        return State(*(CheckedNumbers(array) if isinstance(array, np.ndarray) else array for array in plain.thaw(s)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "Rows", CheckedRows)
        patch.setattr(plain, "Grid", CheckedGrid)
        patch.setattr(kernel, "thaw", thaw)
        yield
