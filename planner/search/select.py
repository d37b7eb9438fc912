"""Select: integer replicas and traffic slices per column by CP-SAT, goals in lexicographic order, each with its bound.

Beside placement the one file that imports ortools. It translates rows and goals and reads the answer; what they mean
is in the files of their names, and whether the mix truly holds is decided elsewhere. The worker count is a constant and
time limits are deterministic, so that two runs give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from planner.errors import StoppedAtLimit
from planner.search.conflict import conflict
from planner.search.failures import choices
from planner.search.goals import Goal
from planner.search.integers import Row, Terms, Variable
from planner.search.problem import Conflict, Problem, Reached, Selection
from planner.search.program import Program, program_of

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

SEED = 7
QUICK: dict[str, Any] = {"num_workers": 1, "linearization_level": 2, "max_deterministic_time": 1.0}
STEADY: dict[str, Any] = {"num_workers": 1, "max_deterministic_time": 4.0}
THOROUGH: dict[str, Any] = {"num_workers": 4, "interleave_search": True, "max_deterministic_time": 6.0}
"""Worker counts are constants and never the cores of a machine; limits are deterministic, never wall time."""
NO_LIMIT = 2**63 - 1
TIGHT_UP_TO = 1000
"""Paths; the tight relaxation of QUICK is too large to be quick beyond."""


def parameters() -> dict[str, Any]:
    """What the plan records about the solver."""
    return {
        "name": "CP-SAT", "ortools": version("ortools"), "random_seed": SEED,
        "quick": dict(QUICK), "steady": dict(STEADY), "thorough": dict(THOROUGH),
    }  # fmt: skip


def select(problem: Problem) -> Selection | Conflict:
    """The unique lexicographic optimum, or the requirements that cannot hold together."""
    program = program_of(problem)
    solver = _Solver(program)
    reached: list[Reached] = []
    proven = True
    for goal in program.goals:
        answer = solver.reach(goal)
        if answer is None:
            return conflict(problem, _least)
        value, bound, optimal = answer
        proven = proven and (optimal or goal.tie)
        if not goal.tie:
            reached.append(Reached(goal.name, value / goal.scale, bound / goal.scale))
    return solver.selection(tuple(reached), proven)


def _least(program: Program, terms: Terms) -> int | None:
    found = _Solver(program).minimum(terms)
    return None if found is None else found[0]


class _Solver:
    """A program in CP-SAT, and the best selection so far."""

    def __init__(self, program: Program):
        from ortools.sat.python import cp_model

        self._cp = cp_model
        self.program = program
        self.model = cp_model.CpModel()
        self._at = {v: self.model.new_int_var(v.low, v.high, v.name) for v in program.variables}
        for row in program.rows:
            self._add(row)
        self._last: Any = None

    def _add(self, row: Row) -> None:
        low = -NO_LIMIT if row.low is None else row.low
        high = NO_LIMIT if row.high is None else row.high
        self.model.add_linear_constraint(self._sum(row.terms), low, high)

    def _sum(self, terms: Terms) -> Any:
        variables, factors = [self._at[variable] for variable, _ in terms], [factor for _, factor in terms]
        return self._cp.LinearExpr.weighted_sum(variables, factors)

    def reach(self, goal: Goal) -> tuple[int, int, bool] | None:
        """Minimise one goal, then hold it: (value, bound, proven); None when nothing is feasible."""
        found = self.minimum(goal.terms, tie=goal.tie)
        if found is not None:
            self.model.add(self._sum(goal.terms) <= found[0])
        return found

    def minimum(self, terms: Terms, *, tie: bool = False) -> tuple[int, int, bool] | None:
        """(value, bound, proven) of a sum; None when it is proven that nothing is feasible.

        One worker proves most fleets sooner than four, which must take turns to be deterministic; what it cannot prove,
        four improve, but not a mere tie-break. Each stage starts from the best that is known.
        """
        expression = self._sum(terms)
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
        quick = (QUICK,) if len(self.program.counts.z) <= TIGHT_UP_TO else ()
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
        for variable in self.program.counts.variables:
            self.model.add_hint(self._at[variable], self._last.value(self._at[variable]))

    def _value(self, variable: Variable) -> int:
        return int(self._last.value(self._at[variable]))

    def selection(self, reached: tuple[Reached, ...], proven: bool) -> Selection:
        counts = self.program.counts
        return Selection(
            replicas={i: self._value(n) for i, n in enumerate(counts.n) if self._value(n)},
            slices={p: self._value(z) for p, z in enumerate(counts.z) if self._value(z)},
            slices_per_class=counts.slices,
            nodes={name: self._value(m) for name, m in counts.m.items() if self._value(m)},
            reached=reached,
            factor=self._value(counts.total) / counts.slices,
            proven=proven,
            spread=self._spread(),
        )

    def _spread(self) -> dict[int, int]:
        """Where failures of nodes count: the most replicas of a used column that may stand on one node."""
        counts = self.program.counts
        if not counts.problem.bounds.survive_nodes:
            return {}
        chosen = {i: choices(counts, i) for i, n in enumerate(counts.n) if self._value(n)}
        return {i: most for i, mine in chosen.items() for most, one in mine.items() if self._value(one)}


def _whole(bound: float) -> int:
    """A bound on an integer objective, rounded inwards past the solver's float noise."""
    return math.ceil(bound - 1e-6)
