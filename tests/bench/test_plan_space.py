"""Every cut of one node simulated on one trace: the exhaustive comparison that a plan simulator must afford."""

import time

import pytest

from planner.catalog import Catalog
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.sim.simulate import simulate
from planner.spec.deployment import Deployment, Parallelism, Pool, Route
from planner.spec.workload import RequestClass
from planner.traffic import draw

GPUS, REQUESTS, RATE = 8, 1024, 2.0
PEER_S = 200.0
"""APEX on its full chat trace: about 200 CPU s for the 26 plans of 8 GPUs."""


def cuts() -> list[tuple[int, int, int]]:
    """(replicas, pipeline, tensor) that use 1, 2, 4 or 8 GPUs."""
    sizes = (1, 2, 4, 8)
    return [(r, pp, tp) for r in sizes for pp in sizes for tp in sizes if r * pp * tp <= GPUS]


@pytest.mark.bench
def test_llama_70b_on_eight_h100_every_cut(root) -> None:
    catalog = Catalog.open()
    model, profile = catalog.model("llama-3-70b"), catalog.engine("vllm", "0.19.0")
    chat = RequestClass.model_validate(
        {"name": "chat", "model": "m", "preset": "apex-chat", "arrivals": {"rate": f"{RATE}/s"}}
    )
    requests = draw([chat], seed=0, folder=root, requests=REQUESTS)

    def run(replicas: int, pp: int, tp: int) -> float:
        pool = Pool(
            name="p", model=model.name, node="dgx-h100", accelerator="h100-sxm5-80gb", replicas=replicas,
            parallelism=Parallelism(tp=tp, pp=pp), weights="fp8",
        )  # fmt: skip
        replica = build_replica(model, pool, hardware_of(catalog, pool), profile)
        if replica.kv_blocks == 0:
            return float("nan")
        deployment = Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="p"),))
        return float((simulate(deployment, {"p": replica}, requests).finish_s - requests.arrival_s).mean())

    run(1, 1, 8)  # compiles or loads the kernel
    start = time.perf_counter()
    found = {cut: run(*cut) for cut in cuts()}
    seconds = time.perf_counter() - start
    best = min((e2e, cut) for cut, e2e in found.items() if e2e == e2e)
    print(
        f"\n{len(found)} plans x {REQUESTS} requests: {seconds:.2f} s, APEX ~200 s ({PEER_S / seconds:.0f} times less)"
    )
    print("fastest on average: {} replicas, PP{}, TP{}, {:.2f} s".format(*best[1], best[0]))
