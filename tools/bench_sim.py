"""What the simulator takes on this machine beside other programs: a table. Nothing is asserted, no test runs it.

    python tools/bench_sim.py [--quick] [--plot docs/growth.svg]

--quick leaves out the million requests; --plot draws time per event over the number of requests and output tokens.
Peers' figures are their own machines' or those of this one when they were run here, as the last column says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.sim.capacity import Probe, max_rate
from planner.sim.simulate import Run, prepare, simulate
from planner.spec.deployment import Deployment, Parallelism, Pool, Route
from planner.spec.requests import Requests
from planner.spec.slo import Slo
from planner.spec.step import Replica, StepCost

ROOT = Path(__file__).parents[1]
VIDUR = ROOT.parent / "shared" / "peers" / "vidur"


@dataclass(frozen=True, slots=True)
class Line:
    """One case. reached, wanted, peer in `unit`; peer 0 = it cannot do this."""

    case: str
    unit: str
    reached: float
    wanted: float
    peer: float = 0.0
    source: str = ""

    def __str__(self) -> str:
        ratio = f"{self.peer / self.reached:,.0f}x" if self.peer else "-"
        peer = f"{self.peer:,.5g}" if self.peer else "-"
        mark = " " if self.reached <= self.wanted else "!"
        numbers = f"{self.reached:>9.4g}{mark} {self.wanted:>7g} {peer:>9} {self.unit:<3} {ratio:>9}"
        return f"{self.case:<60} {numbers}  {self.source}"


def best(work: Callable[[], Any], repeats: int = 7) -> tuple[float, Any]:
    """Least wall time of some repeats, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def replica() -> Replica:
    """About one 70B model on four recent accelerators."""
    n = np.arange(257.0)
    cost = StepCost(
        decode_s=0.012 + 2e-5 * n, decode_context_s=np.full(257, 1.2e-8), decode_window_s=np.zeros(257),
        linear_s=2e-5 * np.arange(0, 16385, 256.0), linear_stride=256, pair_s=2e-11, window_pair_s=0.0,
        context_s=1e-9, chunk_s=1e-5, prefill_floor_s=0.0, window_tokens=0, source="bench", rel_error=0.0,
    )  # fmt: skip
    return Replica(cost, "vllm_v1", 256, 8192, 30_000, 16, 0.01)


def chat(n: int, rate: float, longer: int = 1) -> Requests:
    """Lognormal lengths, about 600 in and 250 out, outputs `longer` times as long."""
    random = np.random.default_rng(1)
    lengths = np.maximum(random.lognormal([6.0, 5.2], [0.9, 0.8], (n, 2)).astype(np.int64), 1)
    arrivals = np.cumsum(random.exponential(1 / rate, n))
    return Requests(arrivals, lengths[:, 0], longer * lengths[:, 1], np.zeros(n, np.int64), ("chat",))


def deployment(replicas: int = 1, router: str = "round_robin") -> Deployment:
    pool = Pool(name="all", model="m", node="n", accelerator="a", replicas=replicas)
    return Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="all"),), router=router)


def serve(requests: Requests, kind: Replica | None = None) -> Run:
    return simulate(deployment(), {"all": kind or replica()}, requests)


def start_up() -> Iterator[Line]:
    """Compilation into an empty cache, and the next start, each a process of its own."""
    begin, end = "import time; a = time.perf_counter()", "prepare(); print(time.perf_counter() - a)"
    code = f"{begin}; from planner.sim.simulate import prepare; {end}"
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(ROOT)}
        first, second = (
            float(
                subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
            )
            for _ in range(2)
        )
    yield Line("compile once for a version", "s", first, 20)
    yield Line("start with compiled code in the cache", "s", second, 1)


def vidur() -> Iterator[Line]:
    """Vidur's requests, tables and scheduler; tests/sim reproduces its times. Its seconds are its own loop's."""
    if not VIDUR.exists():
        print("the reference runs (../shared/peers/vidur) are not here: two cases are left out")
        return
    sys.path.insert(0, str(ROOT / "tests" / "sim"))
    from test_vidur_oracle import case_of

    case = case_of("sarathi_10k")
    seconds, _ = best(case.run, 15)
    yield Line(
        "10,000 chats, one replica, chunked prefill (Vidur's tables)",
        "ms",
        1e3 * seconds,
        10,
        15.6e3,
        "Vidur, run here",
    )
    few = case_of("sarathi_2k", limit=1000)
    slos = {"chat": Slo.model_validate({"ttft": {"p99": "5 s"}})}
    pool = Pool(name="all", model="llama-2-70b", node="dgx", accelerator="a100")
    where = Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="all"),))
    probe = Probe(where, {"all": few.replica}, few.requests, slos)
    seconds, found = best(lambda: max_rate(probe))
    case_name = f"capacity search, 1,000 requests ({found.probes} probes; Vidur 7)"
    yield Line(case_name, "ms", 1e3 * seconds, 10, 40.8e3, "Vidur, run here")


def steady() -> Iterator[Line]:
    for name, requests in (("low load", chat(20_000, 0.2)), ("long outputs", chat(5_000, 0.2, longer=10))):
        seconds, run = best(lambda requests=requests: serve(requests), 3)
        steps = run.pools["all"].work.steps
        yield Line(f"one iteration, {name} ({steps:,})", "ns", 1e9 * seconds / steps, 15, 153e3, "Vidur, run here")


def apex_plans() -> list[tuple[int, int, int, int, bool]]:
    """(replicas, stages, tensor, copies, of the FFN) of Llama-3-70B in bf16 on 8 x 80 GiB, as APEX counts.

    Replicas x stages x cell = 8; of a cell's two parts only one, attention or FFN, is copied (counts are coprime), by
    a power of two; what does not fit is dropped (2411.17651; 3, 11, 26, 50 plans for 2, 4, 8, 16 GPUs).
    """
    ffn_bytes, attention_bytes, memory = 113e9, 24e9, 80 * 2**30 - 1e9
    sizes, found = (1, 2, 4, 8), []
    for replicas in sizes:
        for stages in (s for s in sizes if 8 % (replicas * s) == 0):
            cell = 8 // replicas // stages
            for copies, ffn in [(c, False) for c in sizes if c <= cell] + [(c, True) for c in sizes[1:] if c <= cell]:
                copied = {True: ffn_bytes, False: attention_bytes}[ffn] * copies
                other = {False: ffn_bytes, True: attention_bytes}[ffn]
                if (copied + other) / cell / stages <= memory:
                    found.append((replicas, stages, cell // copies, copies, ffn))
    return found


def apex() -> Iterator[Line]:
    from planner.catalog import Catalog
    from planner.perf.hardware import hardware_of
    from planner.perf.replica import build_replica
    from planner.spec.workload import RequestClass
    from planner.traffic import draw

    catalog = Catalog.open()
    model, profile = catalog.model("llama-3-70b"), catalog.engine("vllm", "0.19.0")
    arrivals = {"name": "chat", "model": "m", "preset": "apex-chat", "arrivals": {"rate": "2/s"}}
    requests = draw([RequestClass.model_validate(arrivals)], seed=0, folder=ROOT, requests=1024)

    def run(replicas: int, stages: int, tensor: int, copies: int, ffn: bool) -> bool:
        cut = Parallelism(tp=tensor * copies, pp=stages) if ffn else Parallelism(tp=tensor, pp=stages, dp=copies)
        pool = Pool(
            name="p", model=model.name, node="dgx-h100", accelerator="h100-sxm5-80gb", replicas=replicas,
            parallelism=cut, weights="bf16",
        )  # fmt: skip
        kind = build_replica(model, pool, hardware_of(catalog, pool), profile)
        where = Deployment(pools=(pool,), routes=(Route(request_class="chat", pool="p"),))
        return kind.kv_blocks > 0 and bool(np.isfinite(simulate(where, {"p": kind}, requests).finish_s).any())

    plans = apex_plans()
    seconds, ran = best(lambda: sum(run(*plan) for plan in plans), 2)
    copied = sum(plan[-1] for plan in plans)
    print(f"{len(plans)} plans: {ran} run; {copied} copy the FFN, which no engine does, and are priced without copies")
    yield Line("Llama-3-70B on 8 H100, 1,024 chats, 26 plans", "s", seconds, 0.5, 200, "APEX, CPU seconds")


DAY = """
import resource, time
import numpy as np
import sys; sys.path.insert(0, "tools")
from bench_sim import chat, deployment, replica
from dataclasses import replace
from planner.sim.simulate import prepare, simulate
from planner.traffic.arrivals import _through_profile
prepare()
day = 1 + 0.6 * np.sin(np.arange(24) / 24 * 2 * np.pi)
requests = chat(1_000_000, 1.0)
requests = replace(requests, arrival_s=_through_profile(requests.arrival_s, 1400 * day, 30.0))
a = time.perf_counter()
run = simulate(deployment(256, "least_outstanding"), {"all": replica()}, requests)
assert np.isfinite(run.finish_s).all()
print(time.perf_counter() - a, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def million() -> Iterator[Line]:
    """A day of 24 rates, 0.4 to 1.6 of the mean, in 12 minutes, so that 256 replicas are busy; in its own process."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", DAY], env=env, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    seconds, gib = told.split()
    yield Line("1,000,000 requests of a day over 256 replicas", "s", float(seconds), 20)
    yield Line("  its peak memory", "GiB", float(gib), 1)


def growth(largest: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(requests, us per request) at 4 requests/s, and (times the output, us per request) where steps are skipped."""
    sizes = [n for n in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= largest]
    by_size = [(float(n), 1e6 * best(lambda n=n: serve(chat(n, 4.0)), 2)[0] / n) for n in sizes]
    by_length = [
        (float(k), 1e6 * best(lambda k=k: serve(chat(3000, 0.02 / k, longer=k)), 3)[0] / 3000)
        for k in (1, 2, 5, 10, 20, 50)
    ]
    for name, points in (("requests", by_size), ("times the output tokens", by_length)):
        print("; ".join(f"{x:,.0f} {name}: {y:.2f} us/request" for x, y in points))
    return by_size, by_length


def svg(panels: list[tuple[str, str, list[tuple[float, float]]]]) -> str:
    """Panels side by side: title, name of the logarithmic x axis, points; y from 0 to the largest value and a third."""
    box = f'viewBox="0 0 {440 * len(panels)} 300" font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
             '<rect width="100%" height="100%" fill="white"/>']  # fmt: skip
    for k, (title, axis, points) in enumerate(panels):
        left, top = 440 * k + 60, 40
        logs = np.log10([x for x, _ in points])
        highest = max(y for _, y in points) * 4 / 3
        xs = left + 350 * (logs - logs[0]) / (logs[-1] - logs[0])
        ys = [top + 200 * (1 - y / highest) for _, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        parts += [f'<text x="{left}" y="22" font-weight="bold">{title}</text>',
                  f'<path d="M{left} {top}V{top + 200}H{left + 350}" fill="none" stroke="#888"/>',
                  f'<polyline points="{line}" fill="none" stroke="#0969da" stroke-width="2"/>']  # fmt: skip
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0969da"/>' for x, y in zip(xs, ys, strict=True)]
        parts += [
            f'<text x="{x:.1f}" y="258" text-anchor="middle">{v:,.0f}</text>'
            for x, (v, _) in list(zip(xs, points, strict=True))[::2]
        ]
        parts += [
            f'<text x="{left - 6}" y="{top + 200 * (1 - s):.0f}" text-anchor="end">{highest * s:.1f}</text>'
            for s in (0.0, 0.25, 0.5, 0.75)
        ]
        parts.append(f'<text x="{left + 175}" y="282" text-anchor="middle">{axis}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--plot", type=Path)
    chosen = options.parse_args()
    lines = list(start_up())
    prepare()
    for case in (vidur, steady, apex, *(() if chosen.quick else (million,))):
        lines += case()
    by_size, by_length = growth(100_000 if chosen.quick else 1_000_000)
    if chosen.plot:
        titles = ("Time per request (us)", "requests in the run"), ("Time per request (us)", "output tokens, times 250")
        chosen.plot.write_text(svg([(*titles[0], by_size), (*titles[1], by_length)]))
    print(f"{'case':<60} {'reached':>10} {'wanted':>7} {'peer':>9} {'':<3} {'ratio':>9}")
    print("\n".join(map(str, lines)))


if __name__ == "__main__":
    main()
