"""Select: integer replicas and traffic slices per column by CP-SAT, goals in lexicographic order, each with its bound.

The one file that imports ortools. It knows numbers only: what a column means, and whether the mix truly holds, is
decided elsewhere. Capacities are rounded down and demands up, money is counted in micro-dollars, power in milliwatts;
the worker count is a constant and time limits are deterministic, so that two runs give the same bytes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from planner.errors import StoppedAtLimit
from planner.search.problem import Conflict, Need, Path, Problem, Reached, Selection

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

SEED = 7
QUICK: dict[str, Any] = {"num_workers": 1, "linearization_level": 2, "max_deterministic_time": 1.0}
STEADY: dict[str, Any] = {"num_workers": 1, "max_deterministic_time": 4.0}
THOROUGH: dict[str, Any] = {"num_workers": 4, "interleave_search": True, "max_deterministic_time": 6.0}
"""Worker counts are constants and never the cores of a machine; limits are deterministic, never wall time."""
TIGHT_UP_TO = 1000
"""Paths; the tight relaxation of QUICK is too large to be quick beyond."""
UNIT = 1_000_000
"""Load of one full replica, and micro-dollars per dollar."""
MILLI = 1000
NOISE = Fraction(1, 10**12)
"""Relative; a float's own is 1e-16."""
SLICES = 60
SLICES_GOODPUT = 720
"""Slices per class: the grain of a split between pools (1.7 %), finer where the served rate itself is the goal."""


def parameters() -> dict[str, Any]:
    """What the plan records about the solver."""
    return {
        "name": "CP-SAT", "ortools": version("ortools"), "random_seed": SEED,
        "quick": dict(QUICK), "steady": dict(STEADY), "thorough": dict(THOROUGH),
    }  # fmt: skip


def select(problem: Problem) -> Selection | Conflict:
    """The unique lexicographic optimum, or the requirements that cannot hold together."""
    model = _Model(problem)
    reached: list[Reached] = []
    proven = True
    for goal in _with_tie_breaks(problem.goals):
        answer = model.optimise(goal)
        if answer is None:
            return _explain(problem)
        value, bound, optimal = answer
        proven = proven and (optimal or goal.startswith("tie:"))
        if not goal.startswith("tie:"):
            reached.append(Reached(goal, value, bound))
    return model.selection(tuple(reached), proven)


def _with_tie_breaks(goals: tuple[str, ...]) -> tuple[str, ...]:
    return (*goals, "tie:size", "tie:unique")


class _Model:
    """The integer program of a problem; requirements in `without` are left out (to explain a conflict)."""

    def __init__(self, problem: Problem, without: frozenset[tuple[str, str]] = frozenset()):
        from ortools.sat.python import cp_model

        self._cp = cp_model
        self.problem, self.without = problem, without
        self.model = cp_model.CpModel()
        self.per_class = problem.slices or (SLICES_GOODPUT if "goodput" in problem.goals else SLICES)
        self._demand = {group.name: group.demand for group in problem.groups}
        self._through: list[list[int]] = [[] for _ in problem.columns]
        for p, path in enumerate(problem.paths):
            for i in path.columns:
                self._through[i].append(p)
        self._limits = {
            item.node: item.count if self._keeps("inventory", item.node) else 100_000 for item in problem.inventory
        }
        self._variables()
        self._coverage()
        self._load()
        self._links()
        self._one_way_on()
        self._packing()
        self._limit_rows()
        self._cardinality()
        self._last: Any = None

    def _keeps(self, kind: str, subject: str = "") -> bool:
        return (kind, subject) not in self.without

    def _variables(self) -> None:
        """n: replicas per column, on: column used, z: slices per path, m: nodes per type, total: slices served."""
        new, columns = self.model.new_int_var, self.problem.columns
        self.most = [self._most_replicas(i) for i in range(len(columns))]
        self.n = [new(0, most, f"n{i}") for i, most in enumerate(self.most)]
        self.on = [self.model.new_bool_var(f"on{i}") for i in range(len(columns))]
        self.top = self._most_slices()
        self.z = [new(0, self.top, f"z{i}") for i in range(len(self.problem.paths))]
        self.m = {item.node: new(0, self._limits[item.node], f"m_{item.node}") for item in self.problem.inventory}
        self.total = new(self.per_class, self.top, "total")

    def _most_replicas(self, index: int) -> int:
        """As many as the nodes hold; and, unless goodput counts, no more than could ever be of use."""
        column = self.problem.columns[index]
        item = next(item for item in self.problem.inventory if item.node == column.node)
        nodes = self._limits[column.node]
        held = nodes // column.span if column.span else nodes * (item.gpus // column.gpus)
        return held if "goodput" in self.problem.goals else min(held, self._useful(index))

    def _useful(self, index: int) -> int:
        """Replicas that carry all that may pass through the column, at the transfers of its slowest paths."""
        column, bounds = self.problem.columns[index], self.problem.bounds
        paths = [self.problem.paths[p] for p in self._through[index]]
        slowest = {path.group: max(p.link_s for p in paths if p.group == path.group) for path in paths}
        carrying = sum(self._demand[g] / column.carries(g) for g in slowest) / (1 - bounds.headroom)
        moving = sum(self._demand[g] * link_s for g, link_s in slowest.items()) / column.gpus
        # One more: weights and slices are rounded up.
        return max(_ceil(carrying), _ceil(moving), bounds.min_replicas) + 1

    def _most_slices(self) -> int:
        """Slices per class: all demand, or with a goodput goal the most that every node together could serve."""
        if "goodput" not in self.problem.goals:
            return self.per_class
        factors = [
            self.most[i] * max(column.carries(g) / self._demand[g] for g in (column.group, *dict(column.others)))
            for i, column in enumerate(self.problem.columns)
        ]
        return max(self.per_class, min(10_000_000, math.floor(sum(factors) * self.per_class)))

    def _coverage(self) -> None:
        """Every class is served by paths of the groups it belongs to."""
        group_classes = {group.name: group.classes for group in self.problem.groups}
        for name in self.problem.classes:
            if self._keeps("class", name):
                served = [
                    z for z, path in zip(self.z, self.problem.paths, strict=True) if name in group_classes[path.group]
                ]
                self.model.add(sum(served) == self.total)

    def _weight(self, index: int, group: str) -> int:
        """Load units that one slice of a group puts on column `index`, times slices per class; rounded up."""
        return _ceil(UNIT * Fraction(self._demand[group]) / Fraction(self.problem.columns[index].carries(group)))

    def _load(self) -> None:
        usable = _floor(UNIT * (1 - self.problem.bounds.headroom))
        for i in range(len(self.problem.columns)):
            taken = sum(self._weight(i, self.problem.paths[p].group) * self.z[p] for p in self._through[i])
            self.model.add(taken <= self.per_class * usable * self.n[i])
            self.model.add(self.n[i] <= self.most[i] * self.on[i])
            self.model.add(taken >= self.on[i])
            least = self.problem.bounds.min_replicas if self._keeps("min_replicas") else 1
            self.model.add(self.n[i] >= least * self.on[i])

    def _links(self) -> None:
        """The transfers of a column's paths take at most the link time that its accelerators have."""
        for i, column in enumerate(self.problem.columns):
            moving = [p for p in self._through[i] if self.problem.paths[p].link_s > 0]
            if moving:
                self.model.add(sum(self._link_weight(self.problem.paths[p]) * self.z[p] for p in moving)
                               <= self.per_class * UNIT * column.gpus * self.n[i])  # fmt: skip

    def _link_weight(self, path: Path) -> int:
        return _ceil(UNIT * Fraction(path.link_s) * Fraction(self._demand[path.group]))

    def _one_way_on(self) -> None:
        """A prefill column hands over to one decode column: behind an edge the simulator splits by replicas."""
        for i in range(len(self.problem.columns)):
            paths = ((p, self.problem.paths[p].columns) for p in self._through[i])
            onward = [p for p, columns in paths if len(columns) > 1 and columns[0] == i]
            if len(onward) > 1:
                taken = [self.model.new_bool_var(f"way{p}") for p in onward]
                for p, literal in zip(onward, taken, strict=True):
                    self.model.add(self.z[p] <= self.top * literal)
                self.model.add_at_most_one(taken)

    def _packing(self) -> None:
        """Replicas fill whole nodes.

        Sizes that are powers of two share nodes: each divides the next, so first-fit by falling size is optimal and
        the rows below are exact (slots of size s are taken by all sizes >= s). Other sizes get nodes of their own.
        """
        for item in self.problem.inventory:
            columns = [i for i, column in enumerate(self.problem.columns) if column.node == item.node]
            whole = [self.n[i] * self.problem.columns[i].span for i in columns if self.problem.columns[i].span]
            small = [i for i in columns if not self.problem.columns[i].span]
            shared = self._shared_nodes(item.node, item.gpus, small)
            odd = [self._own_nodes(i, item.gpus) for i in small if not _power_of_two(self.problem.columns[i].gpus)]
            self.model.add(sum(whole) + sum(odd) + shared <= self.m[item.node])

    def _shared_nodes(self, node: str, gpus: int, columns: list[int]) -> cp_model.IntVar:
        count = self.model.new_int_var(0, self._limits[node], f"shared_{node}")
        sizes = {i: self.problem.columns[i].gpus for i in columns if _power_of_two(self.problem.columns[i].gpus)}
        for size in sorted(set(sizes.values())):
            taken = sum(self.n[i] * (k // size) for i, k in sizes.items() if k >= size)
            self.model.add(taken <= count * (gpus // size))
        return count

    def _own_nodes(self, index: int, gpus: int) -> cp_model.IntVar:
        column = self.problem.columns[index]
        count = self.model.new_int_var(0, self._limits[column.node], f"own_{index}")
        self.model.add(self.n[index] <= count * (gpus // column.gpus))
        return count

    def _limit_rows(self) -> None:
        bounds = self.problem.bounds
        rows = (
            ("usd_per_hour", bounds.usd_per_hour, UNIT),
            ("power_w", bounds.power_w, MILLI),
            ("gpus", bounds.gpus, 1),
        )
        for kind, limit, scale in rows:
            if limit is not None and self._keeps(kind):
                self.model.add(self.expression(kind) <= _floor(limit * scale))

    def _cardinality(self) -> None:
        if self.problem.bounds.max_pools is not None and self._keeps("max_pools"):
            self.model.add(sum(self.on) <= self.problem.bounds.max_pools)
        if self.problem.forbidden:
            self._forbid()

    def _forbid(self) -> None:
        """Each forbidden set of shapes is used at most in part."""
        used = {shape: self.model.new_bool_var(f"shape_{shape}") for shape in self.problem.shapes}
        for shape, literal in used.items():
            for i, column in enumerate(self.problem.columns):
                if column.shape == shape:
                    self.model.add_implication(self.on[i], literal)
        for shapes in self.problem.forbidden:
            self.model.add(sum(used[shape] for shape in sorted(shapes) if shape in used) <= len(shapes) - 1)

    def expression(self, goal: str) -> Any:
        """The integer to minimise for a goal."""
        known: dict[str, Callable[[], Any]] = {
            "usd_per_hour": self._usd,
            "usd_per_mtok": self._usd,
            "power_w": self._watts,
            "joules_per_token": self._watts,
            "gpus": self._gpus,
            "goodput": lambda: -self.total,
            "max_pools": lambda: sum(self.on),
            "tie:size": self._size,
            "tie:unique": self._unique,
        }
        return known[goal]()

    def _usd(self) -> Any:
        """Nodes, and for owned ones the electricity of what they do."""
        nodes = sum(_ceil(Fraction(item.usd_per_hour) * UNIT) * self.m[item.node] for item in self.problem.inventory)
        return nodes + self._power({item.node: item.usd_per_wh * UNIT for item in self.problem.inventory})

    def _gpus(self) -> Any:
        return sum(column.gpus * self.n[i] for i, column in enumerate(self.problem.columns))

    def _size(self) -> Any:
        """Fewer pools, then fewer accelerators."""
        return sum(self.on) * 1_000_000 + self._gpus()

    def _watts(self) -> Any:
        return self._power({item.node: float(MILLI) for item in self.problem.inventory})

    def _power(self, per_watt: dict[str, float]) -> Any:
        """Power in integers of `per_watt` units by node type: idle nodes, idle replicas, and what traffic adds."""
        columns = self.problem.columns
        nodes = sum(_ceil(item.idle_w * per_watt[item.node]) * self.m[item.node] for item in self.problem.inventory)
        idle = sum(_ceil(column.idle_w * per_watt[column.node]) * self.n[i] for i, column in enumerate(columns))
        moving = sum(self._added(path, per_watt) * self.z[p] for p, path in enumerate(self.problem.paths))
        return nodes + idle + moving

    def _added(self, path: Path, per_watt: dict[str, float]) -> int:
        """What one slice adds above idle on the columns of its path."""
        columns = [self.problem.columns[i] for i in path.columns]
        per_slice = self._demand[path.group] / self.per_class
        return _ceil(sum((c.busy_w - c.idle_w) * per_slice / c.carries(path.group) * per_watt[c.node] for c in columns))

    def _unique(self) -> Any:
        """Weights drawn from the names, so that no two selections tie in practice and order of columns is no matter."""
        columns = self.problem.columns
        counts = sum(_tag(column.key) * self.n[i] for i, column in enumerate(columns))
        paths = (" ".join(columns[i].key for i in path.columns) for path in self.problem.paths)
        slices = sum(_tag(key) * self.z[p] for p, key in enumerate(paths))
        return counts + slices + sum(self.m.values())

    def optimise(self, goal: str) -> tuple[float, float, bool] | None:
        """Minimise one goal, then hold it: (value, bound, proven) in natural units; None when nothing is feasible."""
        expression, natural = self.expression(goal), self._scale(goal)
        found = self.minimum(expression, tie=goal.startswith("tie:"))
        if found is None:
            return None
        value, bound, optimal = found
        self.model.add(expression <= value)
        return value / natural, bound / natural, optimal

    def minimum(self, expression: Any, *, tie: bool = False) -> tuple[int, int, bool] | None:
        """(value, bound, proven) of an integer expression; None when it is proven that nothing is feasible.

        One worker proves most fleets sooner than four, which must take turns to be deterministic; what it cannot prove,
        four improve, but not a mere tie-break. Each stage starts from the best that is known.
        """
        self.model.minimize(expression)
        value, bound, optimal = None, -math.inf, False
        for settings in self._stages(tie):
            solver, status = self._solve(settings)
            if status == self._cp.INFEASIBLE:
                return None
            bound, optimal = max(bound, solver.best_objective_bound), status == self._cp.OPTIMAL
            if status in (self._cp.OPTIMAL, self._cp.FEASIBLE) and (value is None or solver.objective_value < value):
                self._last, value = solver, round(solver.objective_value)
            if optimal:
                break
        if value is None and self._last is None:
            raise StoppedAtLimit("the solver found neither a plan nor a proof that there is none within its limits")
        if value is None:  # what met the goals before still stands
            value = self._last.value(expression)
        return value, _whole(bound), optimal

    def _stages(self, tie: bool) -> Iterable[dict[str, Any]]:
        quick = (QUICK,) if len(self.z) <= TIGHT_UP_TO else ()
        return (*quick, STEADY) if tie else (*quick, STEADY, THOROUGH)

    def _solve(self, settings: dict[str, Any]) -> tuple[cp_model.CpSolver, Any]:
        if self._last is not None:
            self._hint()
        solver = self._cp.CpSolver()
        solver.parameters.random_seed = SEED
        for name, value in settings.items():
            setattr(solver.parameters, name, value)
        return solver, solver.solve(self.model)

    def _hint(self) -> None:
        self.model.clear_hints()  # type: ignore[no-untyped-call]
        for variable in (*self.n, *self.on, *self.z, *self.m.values(), self.total):
            self.model.add_hint(variable, self._last.value(variable))

    def _scale(self, goal: str) -> float:
        if goal.startswith("usd"):
            return UNIT
        if goal == "goodput":
            return -self.per_class
        return MILLI if goal in ("power_w", "joules_per_token") else 1.0

    def selection(self, reached: tuple[Reached, ...], proven: bool) -> Selection:
        value = self._last.value
        return Selection(
            replicas={i: value(n) for i, n in enumerate(self.n) if value(n)},
            slices={i: value(z) for i, z in enumerate(self.z) if value(z)},
            slices_per_class=self.per_class,
            nodes={name: value(m) for name, m in self.m.items() if value(m)},
            reached=reached,
            factor=value(self.total) / self.per_class,
            proven=proven,
        )


def _explain(problem: Problem) -> Conflict:
    """A conflict that is minimal under deletion, and for each requirement the amount that would do."""
    left_out: set[tuple[str, str]] = set()
    core = []
    for requirement in _requirements(problem):
        trial = frozenset({*left_out, requirement})
        if _feasible(problem, trial):
            core.append(requirement)
        else:
            left_out.add(requirement)
    return Conflict(tuple(_need(problem, kind, subject, left_out) for kind, subject in core))


def _requirements(problem: Problem) -> Iterable[tuple[str, str]]:
    """Everything that may stand in a conflict, the least informative first, because those are deleted first."""
    bounds = problem.bounds
    yield from (("min_replicas", ""),) if bounds.min_replicas > 1 else ()
    for kind in ("max_pools", "power_w", "usd_per_hour", "gpus"):
        if getattr(bounds, kind) is not None:
            yield kind, ""
    yield from (("inventory", item.node) for item in problem.inventory)
    yield from (("class", name) for name in problem.classes)


def _feasible(problem: Problem, without: frozenset[tuple[str, str]]) -> bool:
    return _Model(problem, without).optimise("max_pools") is not None


def _need(problem: Problem, kind: str, subject: str, left_out: set[tuple[str, str]]) -> Need:
    """What the requirement would have to be: with all others unchanged, or at least with the rest of the conflict."""
    limit = next((float(i.count) for i in problem.inventory if i.node == subject), getattr(problem.bounds, kind, None))
    if kind in ("class", "min_replicas"):
        return Need(kind, subject, limit)
    needed = _least(problem, kind, subject, frozenset({(kind, subject)}))
    if needed is None:
        needed = _least(problem, kind, subject, frozenset({*left_out, (kind, subject)}))
    return Need(kind, subject, limit, needed)


def _least(problem: Problem, kind: str, subject: str, without: frozenset[tuple[str, str]]) -> float | None:
    model = _Model(problem, without)
    if kind == "inventory":
        found = model.minimum(model.m[subject])
        return None if found is None else float(found[0])
    answer = model.optimise(kind)
    return None if answer is None else answer[0]


def _ceil(value: float | Fraction) -> int:
    """Rounded up, but not for the noise of binary floats: 3.11 USD are 3,110,000 micro-dollars, not one more."""
    return math.ceil(Fraction(value) * (1 - NOISE))


def _floor(value: float | Fraction) -> int:
    return math.floor(Fraction(value) * (1 + NOISE))


def _whole(bound: float) -> int:
    """A bound on an integer objective, rounded inwards past the solver's float noise."""
    return math.ceil(bound - 1e-6)


def _power_of_two(n: int) -> bool:
    return n & (n - 1) == 0


def _tag(key: str) -> int:
    return 1 + zlib.crc32(key.encode()) % 99_991
