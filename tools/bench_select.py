"""Time the solver of plans on made-up instances beside HiGHS: wall and CPU seconds, objective, bound, gap.

Not a test: tests/search compares small instances with brute force. Every instance comes from its seed alone.

    python tools/bench_select.py                      # all cases, HiGHS stopped at 60 s
    python tools/bench_select.py --case fleet --no-peer

Cases: `melange` - a workload histogram (input x output length) over GPU types, cut into slices, as in Melange
(Griggs et al., 2404.14527, section 5): every GPU carries any mix of buckets and loads add up. Its formulation, a binary
per slice and GPU type, is solved by HiGHS, and so is the one with integer counts. `fleet` - 10 models of 4 classes on 5
node types with 10,000 accelerators, pools shared by classes or not, prefill and decode together or apart.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds as Box
from scipy.optimize import LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from planner.search.problem import Bounds, Column, Group, Inventory, Path, Problem, Selection
from planner.search.select import select

MELANGE = ((6, 6, 4), (8, 8, 8), (10, 10, 8))
"""Buckets per axis, GPU types, slices per bucket: the sizes on which CBC stops at its cap (all but the first)."""
WANTED = {
    "melange 6x6x6x4": ("proven optimal, <= 1 s", "CBC: optimal in 0.3 s"),
    "melange 8x8x8x8": ("proven optimal, <= 1 s", "CBC: not optimal at its cap of 60 s"),
    "melange 10x10x10x8": ("proven optimal, <= 1 s", "CBC: not optimal at its cap of 60 s"),
    "fleet": ("gap <= 1 %, <= 60 s on 2 cores", "none plans it"),
}
"""What each case should reach, and what Melange's own solver does on instances of its size."""


@dataclass(frozen=True)
class Line:
    """One solved case; gap relative to the larger of value and bound."""

    case: str
    solver: str
    seconds: float
    cpu_s: float
    value: float
    bound: float
    note: str = ""

    @property
    def gap(self) -> float:
        return abs(self.value - self.bound) / max(abs(self.value), abs(self.bound), 1e-12)

    def __str__(self) -> str:
        spent = f"{self.seconds:8.2f} {self.cpu_s:8.2f}"
        values = f"{self.value:12.4f} {self.bound:12.4f} {self.gap:8.3%}"
        return f"{self.case:<20} {self.solver:<24} {spent} {values}  {self.note}"


@dataclass(frozen=True)
class Histogram:
    """rates: requests/s of each bucket. maxput: requests/s of [bucket, GPU type] at the SLO, or 0."""

    rates: NDArray[np.float64]
    maxput: NDArray[np.float64]
    usd_per_hour: NDArray[np.float64]
    slices: int


def histogram(side: int, types: int, slices: int, seed: int = 1) -> Histogram:
    """Lengths double from bucket to bucket; a GPU type has a compute, a memory and a price of its own."""
    draw = np.random.default_rng([seed, side, types, slices])
    tokens_in, tokens_out = np.meshgrid(64 * 2.0 ** np.arange(side), 16 * 2.0 ** np.arange(side), indexing="ij")
    compute, memory = draw.uniform(1, 10, types), draw.uniform(1, 6, types)
    seconds = tokens_in[..., None] / (8000 * compute) + tokens_out[..., None] / (1500 * memory)
    room = memory / (1 + (tokens_in + tokens_out)[..., None] / 4000)
    maxput = np.minimum(1, room) / seconds * draw.uniform(0.8, 1.2, (side, side, types))
    maxput[(tokens_in + tokens_out)[..., None] > 9000 * memory] = 0.0
    maxput[..., np.argmax(memory)] = np.maximum(maxput[..., np.argmax(memory)], 0.05)
    share = draw.dirichlet(np.full(side * side, 0.7))
    usd = np.round(0.4 * compute**0.7 * memory**0.5 * draw.uniform(0.8, 1.2, types), 2)
    best = (usd / np.maximum(maxput, 1e-9)).min(axis=2).ravel()
    return Histogram(share * 30.0 / (share * best).sum(), maxput.reshape(-1, types), usd, slices)


def as_problem(h: Histogram) -> Problem:
    """Buckets are groups of one class; a GPU of a type carries every bucket that it can, in any mix."""
    names = [f"b{b}" for b in range(len(h.rates))]
    columns = []
    for g in range(len(h.usd_per_hour)):
        first, *others = [(names[b], float(h.maxput[b, g])) for b in range(len(names)) if h.maxput[b, g] > 0]
        columns.append(Column(f"g{g}", f"g{g}", f"g{g}", 1, 0, *first, others=tuple(others)))
    groups = tuple(Group(name, (name,), float(rate)) for name, rate in zip(names, h.rates, strict=True))
    paths = tuple(Path(names[b], (g,)) for b in range(len(names)) for g in range(len(columns)) if h.maxput[b, g] > 0)
    nodes = tuple(Inventory(f"g{g}", 200, 1, float(usd)) for g, usd in enumerate(h.usd_per_hour))
    return Problem(tuple(columns), groups, paths, nodes, Bounds(), ("usd_per_hour",), slices=h.slices)


class Program:
    """A mixed integer program, row by row, for HiGHS."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.upper: list[float] = []
        self.cells: list[tuple[int, int, float]] = []
        self.rows: list[tuple[float, float]] = []

    def variables(self, count: int, upper: float, cost: Iterable[float] | float = 0.0) -> range:
        start = len(self.cost)
        self.cost += list(np.broadcast_to(np.asarray(cost, dtype=float), count))
        self.upper += [upper] * count
        return range(start, start + count)

    def row(self, low: float, high: float, terms: Iterable[tuple[int, float]]) -> None:
        self.cells += [(len(self.rows), variable, factor) for variable, factor in terms]
        self.rows.append((low, high))

    def solve(self, cap_s: float) -> OptimizeResult:
        i, j, v = zip(*self.cells, strict=True)
        matrix = coo_array((v, (i, j)), shape=(len(self.rows), len(self.cost))).tocsr()
        low, high = np.array(self.rows).T
        options = {"time_limit": cap_s, "mip_rel_gap": 0.0}
        bounds, whole = Box(0, np.array(self.upper)), np.ones(len(self.cost))
        return milp(
            self.cost,
            constraints=LinearConstraint(matrix, low, high),
            bounds=bounds,
            integrality=whole,
            options=options,
        )


def melange_binaries(h: Histogram) -> Program:
    """Melange as published: every slice goes to one GPU type."""
    program, types = Program(), len(h.usd_per_hour)
    count = program.variables(types, math.inf, h.usd_per_hour)
    loads: list[list[tuple[int, float]]] = [[] for _ in range(types)]
    for b, rate in enumerate(h.rates):
        for _ in range(h.slices):
            able = [g for g in range(types) if h.maxput[b, g] > 0]
            taken = program.variables(len(able), 1)
            program.row(1, 1, [(x, 1.0) for x in taken])
            for g, x in zip(able, taken, strict=True):
                loads[g].append((x, rate / h.slices / h.maxput[b, g]))
    for g, load in enumerate(loads):
        program.row(-math.inf, 0, [*load, (count[g], -1.0)])
    return program


def integers(problem: Problem) -> Program:
    """The first goal (USD/h) of a problem with integer counts, as a linear program with whole numbers.

    Replica sizes are powers of two or whole nodes, every pool may be of any size, and no limit but the inventory holds.
    """
    program, grain = Program(), problem.slices or 60
    groups = {group.name: group for group in problem.groups}
    n = program.variables(len(problem.columns), math.inf)
    z = program.variables(len(problem.paths), grain)
    m = program.variables(len(problem.inventory), math.inf, [item.usd_per_hour for item in problem.inventory])
    for k, item in enumerate(problem.inventory):
        program.upper[m[k]] = item.count
        program.row(-math.inf, 0, [*_whole_nodes(problem, item, n), (m[k], -1.0)])
    for name in problem.classes:
        served = [z[p] for p, path in enumerate(problem.paths) if name in groups[path.group].classes]
        program.row(grain, grain, [(x, 1.0) for x in served])
    loads: list[list[tuple[int, float]]] = [[] for _ in problem.columns]
    links: list[list[tuple[int, float]]] = [[] for _ in problem.columns]
    for p, path in enumerate(problem.paths):
        demand = groups[path.group].demand / grain
        for i in path.columns:
            loads[i].append((z[p], demand / problem.columns[i].carries(path.group)))
            links[i].append((z[p], path.link_s * demand))
    for i, column in enumerate(problem.columns):
        program.row(-math.inf, 0, [*loads[i], (n[i], -1.0)])
        program.row(-math.inf, 0, [*links[i], (n[i], -float(column.gpus))])
    return program


def _whole_nodes(problem: Problem, item: Inventory, n: range) -> Iterator[tuple[int, float]]:
    """Nodes that replicas take: sizes divide a node, so what does not overlap in the sum does not in the racks."""
    for i, column in enumerate(problem.columns):
        if column.node == item.node:
            yield n[i], float(column.span or column.gpus / item.gpus)


def fleet(seed: int = 1) -> Problem:
    """Ten models of four classes on five node types with 10,000 accelerators; the best value runs out."""
    draw = np.random.default_rng(seed)
    counts, speed = (300, 350, 250, 200, 150), np.array([1.0, 1.6, 2.4, 4.0, 7.0])
    prices = np.round(8 * speed**0.85 * draw.uniform(0.9, 1.1, 5), 2)
    nodes = tuple(Inventory(f"t{t}", counts[t], 8, float(prices[t]), 800.0, 0.0) for t in range(5))
    columns: list[Column] = []
    groups: list[Group] = []
    paths: list[Path] = []
    for model in range(10):
        size = 1.6**model
        classes = [f"m{model}c{c}" for c in range(4)]
        work = draw.uniform(0.5, 4.0, 4)
        rates = draw.dirichlet(np.ones(4)) * 3300 / size * draw.uniform(0.7, 1.3)
        mixes = [(tuple(classes), rates)] + [((name,), rates[c : c + 1]) for c, name in enumerate(classes)]
        for number, (names, mix) in enumerate(mixes):
            group = Group("+".join(names), names, float(mix.sum()))
            weight = float((mix * (work if number == 0 else work[number - 1 : number])).sum() / mix.sum())
            groups.append(group)
            _fleet_columns(draw, group, size, weight, speed, columns, paths, split=number == 0)
    return Problem(tuple(columns), tuple(groups), tuple(paths), nodes, Bounds(), ("usd_per_hour", "gpus"))


def _fleet_columns(
    draw: np.random.Generator, group: Group, size: float, weight: float, speed: NDArray[np.float64],
    columns: list[Column], paths: list[Path], *, split: bool,
) -> None:  # fmt: skip
    """Sizes from the smallest that holds the model to two nodes, in three formats; for mixes also split pools."""
    least = 2 ** max(0, math.ceil(math.log2(size / 6)))
    ends: dict[str, list[int]] = {"prefill": [], "decode": []}

    def add(t: int, gpus: int, kind: str, capacity: float) -> int:
        key = f"{group.name}-t{t}-tp{gpus}-{kind}"
        watts = 90.0 * gpus * float(speed[t]) ** 0.5
        columns.append(
            Column(key, key, f"t{t}", gpus, gpus // 8 if gpus > 8 else 0, group.name, capacity, watts, 4 * watts)
        )
        return len(columns) - 1

    for t in range(5):
        for gpus in (one for one in (1, 2, 4, 8, 16) if one >= least):
            for kind, gain in (("bf16", 1.0), ("int8", 1.15), ("fp8", 1.3)):
                capacity = 3.0 * gain * float(speed[t]) * gpus ** draw.uniform(0.9, 1.05) / size / weight
                paths.append(Path(group.name, (add(t, gpus, kind, capacity * draw.uniform(0.8, 1.2)),)))
        if split:
            for kind, part in (("prefill", 3.0), ("decode", 1.8)):
                gpus = max(least, 4)
                ends[kind].append(
                    add(t, gpus, kind, 3.0 * part * float(speed[t]) * gpus / size / weight * draw.uniform(0.8, 1.2))
                )
    paths += [Path(group.name, (a, b), 0.002) for a in ends["prefill"] for b in ends["decode"]]


def ours(case: str, problem: Problem) -> Line:
    begun, cpu_s = time.perf_counter(), time.process_time()
    found = select(problem)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    if not isinstance(found, Selection):
        return Line(case, "serveplan", seconds, cpu_s, math.nan, math.nan, "conflict")
    first, *others = found.reached
    note = f"{len(problem.columns)} columns, {len(problem.paths)} paths, proven {found.proven}, {len(found.used)} pools"
    note += "".join(f", {one.goal} {one.value:.0f} gap {one.gap:.2%}" for one in others)
    return Line(case, "serveplan", seconds, cpu_s, first.value, first.bound, note)


def peer(case: str, name: str, program: Program, cap_s: float) -> Line:
    begun, cpu_s = time.perf_counter(), time.process_time()
    found = program.solve(cap_s)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    value = math.nan if found.fun is None else found.fun
    return Line(case, name, seconds, cpu_s, value, found.mip_dual_bound, f"{len(program.cost)} variables")


def run(cases: Iterable[str], seed: int, cap_s: float) -> Iterator[Line]:
    """cap_s: seconds HiGHS may take for each, 0 = do not ask it."""
    if "melange" in cases:
        for side, types, slices in MELANGE:
            h, case = histogram(side, types, slices, seed), f"melange {side}x{side}x{types}x{slices}"
            yield ours(case, as_problem(h))
            if cap_s:
                yield peer(case, "HiGHS binaries", melange_binaries(h), cap_s)
                yield peer(case, "HiGHS integers", integers(as_problem(h)), cap_s)
    if "fleet" in cases:
        yield ours("fleet", fleet(seed))
        if cap_s:
            yield peer("fleet", "HiGHS integers, 1 goal", integers(fleet(seed)), cap_s)


def table(lines: Iterable[Line]) -> Iterator[str]:
    """Our lines against what was wanted."""
    yield f"{'case':<20} | {'reached':<44} | {'wanted':<30} | peer"
    for line in lines:
        if line.solver == "serveplan":
            wanted, other = WANTED[line.case]
            reached = f"gap {line.gap:.2%} in {line.seconds:.1f} s ({line.cpu_s:.1f} CPU s)"
            yield f"{line.case:<20} | {reached:<44} | {wanted:<30} | {other}"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--case", action="append", choices=("melange", "fleet"), help="default: all")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--peer-seconds", type=float, default=60.0)
    words.add_argument("--no-peer", action="store_true")
    given = words.parse_args()
    print(f"{'case':<20} {'solver':<24} {'seconds':>8} {'CPU s':>8} {'USD/h':>12} {'bound':>12} {'gap':>8}")
    lines = []
    for line in run(given.case or ("melange", "fleet"), given.seed, 0.0 if given.no_peer else given.peer_seconds):
        print(line, flush=True)
        lines.append(line)
    print("\n" + "\n".join(table(lines)))


if __name__ == "__main__":
    main()
