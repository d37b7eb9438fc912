"""Again: one deployment serves the same requests many times, sooner or later, as probes of a search do. Not the search.

A state is built once; each service starts from a copy of it, so it equals a `simulate` of its own to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim import kernel
from planner.sim.jobs import row_of_job
from planner.sim.outside import outside_of
from planner.sim.simulate import Floats, Run, ready, run_of
from planner.spec.deployment import Deployment
from planner.spec.requests import Requests
from planner.spec.step import Replica

READ_ONLY = ("decode_price", "linear_s", "decode_table", "prefill_table", "successor", "chain", "tier")
"""Arrays of a State that the loop does not write."""


class Again:
    """Serves `requests` on `deployment` as often as asked; arguments as of `simulate`.

    What everything but `serve` tells is about the last service.
    """

    def __init__(
        self,
        deployment: Deployment,
        replicas: Mapping[str, Replica],
        requests: Requests,
        *,
        seed: int = 0,
        warmup: float = 0.0,
        rules: NDArray[Any] | None = None,
    ):
        self._deployment, self._requests = deployment, requests
        self._outside = outside_of(deployment, replicas)
        self._start = ready(deployment, replicas, requests, seed=seed, warmup=warmup, rules=rules)
        changing = {name: array for name, array in self._start._asdict().items() if name not in READ_ONLY}
        fresh = {name: np.empty_like(array) for name, array in changing.items()}
        self._copies = [(bytes_of(fresh[name]), bytes_of(array)) for name, array in changing.items()]
        self._state = self._start._replace(**fresh)

    def serve(self, arrival_s: Floats, concurrency: int = 0, lenience: int = 1) -> None:
        """One service of the requests, at these times of arrival or with so many always in flight.

        lenience: a rule ends it when it is broken more than this many times as often as it allows.
        """
        self._requests = replace(self._requests, arrival_s=arrival_s, concurrency=concurrency)
        for target, source in self._copies:
            target[:] = source
        self._state.request["arrival_s"] = arrival_s
        self._state.rule["allowed"] *= lenience
        clock = self._state.clock
        clock["concurrency"] = concurrency
        clock["next_request"] = row_of_job(self._requests, concurrency) if concurrency else len(arrival_s)
        kernel.run(self._state, outside=self._outside)

    @property
    def stopped(self) -> bool:
        """Whether a rule ended it early."""
        return bool(self._state.clock["stopped"][0])

    def share_seen(self) -> float:
        """Of the requests that the broken rule of a stopped service counts, the share of those judged by then."""
        s = self._state
        rule = s.rule[np.argmax(s.rule["broken"] > s.rule["allowed"])]
        request = s.request[int(s.clock["measured_from"][0]) :]
        mine = request["class_index"] == rule["class_index"]
        starts_only = all(math.isinf(rule[limit]) for limit in ("tpot_s", "itl_s", "e2e_s"))
        judged = np.isfinite(request["first_token_s" if starts_only else "finish_s"])
        return float((mine & judged).sum() / mine.sum())

    def share_served(self) -> float:
        """Of the requests that had arrived when the last service ended, the share that was finished."""
        request, now_s = self._state.request, self._state.clock["now_s"][0]
        return float(np.isfinite(request["finish_s"]).sum() / max((request["arrival_s"] <= now_s).sum(), 1))

    def run(self) -> Run:
        """What happened, as `simulate` returns it."""
        own = self._state._replace(gap_count=self._state.gap_count.copy(), log=self._state.log.copy())
        return run_of(own, self._deployment, self._requests)


def bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The memory of an array without gaps; copied many times quicker than its records."""
    return array.reshape(-1).view(np.uint8)
