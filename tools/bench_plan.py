"""Time whole planning cases beside what other planners report: case, reached, wanted, peer. Not a test of answers.

    python tools/bench_plan.py                 # all cases
    python tools/bench_plan.py --case pairs

Cases: `q32` - Qwen3-32B on 32 H200 under tight promises, and the same under the step costs of the peer (extra
`silicon`); `deepseek` - DeepSeek-V3 on 64 H200, together and split, experts over up to 64; `pairs` - OPT-66B on 4 nodes
of 8 A100, every (pipeline, tensor) degree of prefill with every one of decode, against the enumeration of DistServe
(2401.09670, algorithm 1: the fewest accelerators over ceil(R / goodput) replicas of each side); `bounds` - pools per
second that the search enumerates, judges and bounds. Peer figures: AIConfigurator 0.12 (CPU seconds, tokens/s), APEX
and DistServe's simulator as measured on a similar machine.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from planner.catalog import Catalog, load_scenario
from planner.perf.replica import build_replica
from planner.search.admit import admit
from planner.search.bounds import capacity_bound, promised_bound
from planner.search.ceilings import ceilings_of
from planner.search.evaluate import families_of
from planner.search.masks import refusals
from planner.search.measure import Draws, measure, observe
from planner.search.plan import plan
from planner.search.predict import setting_of
from planner.search.probe import Trial, trials
from planner.search.setting import Setting
from planner.search.space import Candidate, enumerate_pools
from planner.sim.metrics import summarise

ROOT = Path(__file__).parents[1]
PEER_BATCH = 20
"""Requests in flight in each TP8 replica of the peer's best plan."""
Q32 = ROOT / "scenarios" / "qwen3-32b-h200.yaml"
DEEPSEEK = """
version: 1
name: deepseek-v3-64-h200
models: {dsv3: {model: deepseek-v3, weights: [fp8]}}
classes:
  - name: chat
    model: dsv3
    lengths: {input: {fixed: 4000}, output: {fixed: 1000}}
    arrivals: {rate: 8/s}
    slo: {ttft: {p90: 5 s}, tpot: {p90: 50 ms}}
fleet: {nodes: [{name: h200, node: aws-p5en.48xlarge, count: 8}]}
engine: {name: trtllm, version: 1.3.0}
objective: [goodput, usd_per_hour]
"""
MANY = """
search:
  max_seqs: [16, 32, 64, 128, 256, 512, 1024, 2048]
  max_tokens_per_step: [512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384]
"""
PAIRS = """
version: 1
name: opt-66b-pairs
models: {opt: {model: opt-66b, weights: [fp16]}}
classes:
  - name: chat
    model: opt
    lengths: {input: {uniform: {low: 64, high: 1400}}, output: {uniform: {low: 32, high: 480}}}
    arrivals: {rate: 8/s}
    slo: {ttft: {p90: 2.5 s}, tpot: {p90: 150 ms}}
fleet: {nodes: [{name: a100, node: dgx-a100-80gb, count: 4, price: $12/h}]}
engine: {name: vllm, version: 0.19.0}
search:
  roles: [disaggregated]
  tp: [1, 2, 3, 4, 6, 8]
  pp: [1, 2, 4, 8, 16, 32]
  max_tokens_per_step: [8192]
limits: {max_pools: 2}
objective: [gpus, usd_per_hour]
"""


@dataclass(frozen=True)
class Line:
    case: str
    reached: str
    wanted: str
    peer: str

    def __str__(self) -> str:
        return f"{self.case:<34} | {self.reached:<66} | {self.wanted:<16} | {self.peer}"


def command(scenario: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of the whole command in one process (others' time could not be counted), compiled before."""
    words = [sys.executable, "-m", "planner", "plan", str(scenario), "--quiet", "--jobs", "1"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter()
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {child.returncode}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def written(text: str) -> Path:
    file = Path(tempfile.mkdtemp()) / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def opened(file: Path) -> Setting:
    catalog = Catalog.open()
    asked = load_scenario(file, catalog)
    return setting_of(asked.scenario, catalog, asked.folder)


def q32() -> Iterator[Line]:
    wall_s, cpu_s = command(Q32)
    asked = load_scenario(Q32, Catalog.open())
    found = plan(asked)
    rate = sum(one.output_tokens_per_s for one in found.classes)
    used = sum(pool.gpus for pool in found.pools)
    reached = f"{wall_s:.1f} s, {cpu_s:.1f} s CPU; {rate:,.0f} tok/s on {used} of 32 GPUs, {found.status}"
    yield Line("Qwen3-32B, 32 H200: command", reached, "<= 2 s", "10.8 s CPU, 8,145 tok/s, split uses 24 GPUs")
    yield from _under_peer(opened(Q32))


def _peer_trials(setting: Setting) -> Iterator[Trial]:
    """Aggregated replicas that fill the 32 accelerators, priced by the peer's tables."""
    for c in admit(enumerate_pools(setting), setting):
        if isinstance(c, Candidate) and c.role == "aggregated" and c.pp == 1:
            (t,) = trials(setting, [c], setting.loads[0])
            pool, site = c.pool(setting), setting.sites[c.site]
            peer = build_replica(t.model, pool, site.hardware, setting.profile, estimator="silicon")
            yield replace(t, replica=peer, priced=peer)


def _under_peer(setting: Setting) -> Iterator[Line]:
    """Most tokens/s of equal replicas: with every promise kept under random arrivals, and at the peer's own point."""
    draws, tokens, gpus = (
        Draws(setting.loads[0], setting.seed),
        setting.loads[0].output_tokens,
        setting.sites["h200"].gpus,
    )
    tried = list(_peer_trials(setting))
    rate, best = max(
        ((measure(t, draws, 1000).amount * (gpus // t.candidate.gpus), t) for t in tried), key=lambda row: row[0]
    )
    reached = f"{rate * tokens:,.0f} tok/s ({gpus // best.candidate.gpus} x {best.candidate.cut}), p90 kept, Poisson"
    yield Line("  under the peer's step costs", reached, ">= 8,145 tok/s", "8,145 tok/s (4 x TP8), no queue")
    (alike, *_) = (t for t in tried if t.candidate.tp == 8)
    run = observe(alike, replace(draws.first(400), concurrency=PEER_BATCH))
    rate = len(run) / run.end_s * (gpus // 8) * tokens
    found = summarise(run, alike.slos)["long-prompt"].metrics
    values = f"TTFT {found['ttft'].values_s['mean'] * 1e3:.0f}, TPOT {found['tpot'].values_s['mean'] * 1e3:.1f} ms"
    yield Line(
        "  the same, 20 always in flight", f"{rate:,.0f} tok/s (4 x tp8), mean {values}", "", "TTFT 253, TPOT 9.3 ms"
    )


def deepseek() -> Iterator[Line]:
    file = written(DEEPSEEK)
    wall_s, cpu_s = command(file)
    setting = opened(file)
    degrees = {(c.tp, c.pp, c.dp, c.ep) for c in admit(enumerate_pools(setting), setting) if isinstance(c, Candidate)}
    experts = max(ep for *_, ep in degrees)
    reached = f"{wall_s:.1f} s, {cpu_s:.1f} s CPU; {len(degrees)} parallel configurations, EP to {experts}"
    yield Line("DeepSeek-V3 FP8, 64 H200", reached, "<= 5 s", "39.2 s CPU, 32 parallel configurations")


def pairs() -> Iterator[Line]:
    file = written(PAIRS)
    wall_s, cpu_s = command(file)
    found = plan(load_scenario(file, Catalog.open()))
    used = sum(pool.gpus for pool in found.pools)
    tried, least = enumerated(opened(file))
    reached = f"{wall_s:.1f} s, {cpu_s:.1f} s CPU; {used} GPUs, enumeration of {tried} pairs: {least}"
    yield Line("OPT-66B split, 4 x 8 A100", reached, "<= 5 s, equal", "~45 min for 569 pairs (DistServe's simulator)")


def enumerated(setting: Setting) -> tuple[int, int]:
    """(pairs, fewest accelerators): every replica measured by itself, every pair tried, none left out by a bound."""
    load, rate = setting.loads[0], setting.loads[0].demand or 0.0
    draws = Draws(load, setting.seed)
    sides: dict[str, list[tuple[int, float]]] = {"prefill": [], "decode": []}
    for family in families_of(setting, admit(enumerate_pools(setting), setting)):
        for t in trials(setting, family.candidates, load):
            amount = measure(t, draws, setting.scenario.search.requests_per_probe).amount
            sides[t.candidate.role].append((t.candidate.gpus, amount))
    costs = [
        gpus * math.ceil(rate / amount) + others * math.ceil(rate / other)
        for gpus, amount in sides["prefill"]
        for others, other in sides["decode"]
        if amount and other
    ]
    return len(sides["prefill"]) * len(sides["decode"]), min(costs, default=0)


def bounds() -> Iterator[Line]:
    """The first rung for all pools of a search, and for a space as large as fleets with many knobs have."""
    setting = opened(written(DEEPSEEK))
    yield _first_rung("pools judged and bounded", setting)
    yield _first_rung("  with more batch limits", opened(written(DEEPSEEK + MANY)))
    (family, *_) = families_of(setting, admit(enumerate_pools(setting), setting))
    load = setting.loads[family.load]
    drawn = Draws(load, 0).first(1000)
    start = time.process_time()
    tried = trials(setting, family.candidates, load)
    yield Line("second rung: pools priced", _rate(len(tried), time.process_time() - start), "", "none")
    start = time.process_time()
    for t in tried:
        capacity_bound(t.replica, drawn, t.candidate.role)
        promised_bound(t.replica, drawn, t.candidate.role, t.slos)
    yield Line("  bounded, priced before", _rate(len(tried), time.process_time() - start), "", "none")


def _first_rung(case: str, setting: Setting) -> Line:
    """Enumerated, judged by every rule, and bounded: requests per second, first tokens and gaps. Best of three."""
    load, seconds = setting.loads[0], []
    drawn = Draws(load, 0).first(1000)
    for _ in range(3):
        start = time.process_time()
        space = enumerate_pools(setting)
        for pools in space.arrays:
            legal = pools.take(np.flatnonzero([not rule for rule in refusals(pools, setting)]))
            ceilings_of(legal, setting, drawn, load.slos).capacity(load.slos)
        seconds.append(time.process_time() - start)
    count = sum(len(pools) for pools in space.arrays)
    return Line(case, _rate(count, min(seconds)), "100,000 /s", "none")


def _rate(count: int, seconds: float) -> str:
    return f"{count:,} in {seconds:.2f} s CPU = {count / seconds:,.0f} /s"


CASES: dict[str, Callable[[], Iterable[Line]]] = {"q32": q32, "deepseek": deepseek, "pairs": pairs, "bounds": bounds}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--case", action="append", choices=tuple(CASES), help="default: all")
    given = words.parse_args()
    print(Line("case", "reached", "wanted", "peer"))
    for name in given.case or CASES:
        for line in CASES[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
