"""Select: integer replicas and traffic slices per column by CP-SAT, goals in lexicographic order, each with its bound.

Beside placement the one file that imports ortools. It translates rows and goals and reads the answer; what they mean
is in the files of their names, and whether the mix truly holds is decided elsewhere. Worker counts are constants and
time limits are deterministic, so that two runs give the same bytes.

A fleet of many models is too large to be searched whole. Its linear relaxation prices what the models share; at these
prices each model is solved for itself, which bounds the whole and names the columns worth having; among them the search
chooses. Bound and gap hold for all columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from planner.errors import StoppedAtLimit
from planner.search.conflict import conflict
from planner.search.failures import choices
from planner.search.goals import Goal
from planner.search.integers import Counts, Row, Terms, Variable
from planner.search.parts import Part, lean, narrowed, parted, told
from planner.search.problem import Conflict, Problem, Reached, Selection
from planner.search.program import Program, program_of

Settings = Mapping[str, Any]
Found = tuple[int, int, bool]
SEED = 7
QUICK: Settings = {"num_workers": 1, "linearization_level": 2, "max_deterministic_time": 1.0}
STEADY: Settings = {"num_workers": 1, "max_deterministic_time": 4.0}
THOROUGH: Settings = {"num_workers": 4, "interleave_search": True, "max_deterministic_time": 6.0}
"""Worker counts are constants and never the cores of a machine; limits are deterministic, never wall time."""
BRIEF: Settings = {"num_workers": 1, "search_branching": "LP_SEARCH", "cut_level": 0, "max_deterministic_time": 0.5}
"""Branching by the relaxation, without cuts: proves a mix of few columns ten times sooner than the usual search."""
FEW: tuple[Settings, ...] = (QUICK, {**STEADY, "max_deterministic_time": 2.0})
"""A fleet among few columns. Longer searches find nothing better, and its bound comes from elsewhere."""
TIES: tuple[Settings, ...] = ({**BRIEF, "max_deterministic_time": 0.05},)
PART: Settings = {"num_workers": 1, "max_deterministic_time": 1.0}
FIRST_PART: Settings = {"num_workers": 1, "max_deterministic_time": 0.5}
"""Parts of the first goal are bounded to a thousandth by then; with that goal held they are harder."""
PARTS_AT_ONCE = 2
TIGHT_UP_TO = 1000
"""Paths; the tight relaxation of QUICK is too large to be quick beyond, and a fleet is solved in parts."""
NO_LIMIT = 2**63 - 1


def parameters() -> dict[str, Any]:
    """What the plan records about the solver."""
    return {
        "name": "CP-SAT", "ortools": version("ortools"), "random_seed": SEED,
        "brief": dict(BRIEF), "quick": dict(QUICK), "steady": dict(STEADY), "thorough": dict(THOROUGH),
        "few": [dict(one) for one in FEW],
        "first_part": dict(FIRST_PART), "part": dict(PART), "tie": dict(*TIES),
    }  # fmt: skip


def select(problem: Problem) -> Selection | Conflict:
    """The lexicographic optimum, or the requirements that cannot hold together."""
    program = program_of(problem)
    search = _Lexicographic(program)
    reached: list[Reached] = []
    proven, unique = True, True
    for goal in program.goals:
        answer = search.reach(goal)
        if answer is None:
            return conflict(problem, _least)
        value, bound, optimal = answer
        if goal.tie:
            unique = unique and optimal
        else:
            proven = proven and optimal
            reached.append(Reached(goal.name, value / goal.scale, bound / goal.scale))
    return _selection(program, search.best, tuple(reached), proven, unique)


def _least(program: Program, terms: Terms) -> int | None:
    found = _Search(program).minimum(terms, _stages(program))
    return None if found is None else found[0]


def _stages(program: Program) -> tuple[Settings, ...]:
    """One worker proves most fleets sooner than four, which must take turns to be deterministic; what it cannot prove,
    four improve."""
    quick = (QUICK,) if len(program.counts.z) <= TIGHT_UP_TO else ()
    return (BRIEF, *quick, STEADY, THOROUGH)


def _selection(
    program: Program, best: Mapping[Variable, int], reached: tuple[Reached, ...], proven: bool, unique: bool
) -> Selection:
    counts = program.counts
    return Selection(
        replicas={i: best[n] for i, n in enumerate(counts.n) if best.get(n)},
        slices={p: best[z] for p, z in enumerate(counts.z) if best.get(z)},
        slices_per_class=counts.slices,
        nodes={name: best[m] for name, m in counts.m.items() if best.get(m)},
        reached=reached,
        factor=best[counts.total] / counts.slices,
        proven=proven,
        unique=unique,
        spread=_spread(counts, best),
    )


def _spread(counts: Counts, best: Mapping[Variable, int]) -> dict[int, int]:
    """Where failures of nodes count: the most replicas of a used column that may stand on one node."""
    if not counts.problem.bounds.survive_nodes:
        return {}
    chosen = {i: choices(counts, i) for i, n in enumerate(counts.n) if best.get(n)}
    return {i: most for i, mine in chosen.items() for most, one in mine.items() if best.get(one)}


class _Lexicographic:
    """Goals reached one after the other, each held for those that follow; a fleet's among few columns."""

    def __init__(self, program: Program):
        self.program = program
        self.best: dict[Variable, int] = {}
        self._lean = lean(program)
        self._columns: set[int] = set()
        self._few = len(program.counts.z) > TIGHT_UP_TO

    def reach(self, goal: Goal) -> Found | None:
        """Minimise one goal, then hold it: (value, bound, proven), over all columns; None when nothing is feasible."""
        found = self._among_few(goal) if self._few else None
        if found is None:
            self._few = False
            found = self._within(self.program if goal.tie else self._lean, goal)
        if found is not None:
            held = Row(goal.terms, high=found[0], shared=True)
            self.program, self._lean = _holding(self.program, held), _holding(self._lean, held)
        return found

    def _within(self, program: Program, goal: Goal) -> Found | None:
        """A search that starts from what is known."""
        search = _Search(program, self.best)
        terms = next(one.terms for one in program.goals if one.name == goal.name)
        found = search.minimum(terms, TIES if goal.tie else FEW if self._few else _stages(program))
        self.best = told(self.program, search.best)
        return found

    def _among_few(self, goal: Goal) -> Found | None:
        """None when few columns give no answer, which says nothing of all."""
        bound = None if goal.tie else self._bound(goal)
        if bound is None and not goal.tie:
            return None
        try:
            found = self._within(narrowed(self.program if goal.tie else self._lean, self._columns), goal)
        except StoppedAtLimit:
            return None
        return found if found is None or bound is None else (found[0], bound, found[0] <= bound)

    def _bound(self, goal: Goal) -> int | None:
        """A bound over all columns, or None; the columns that reach it are worth having."""
        relaxed = _relaxation(self._lean, goal)
        if relaxed is None:
            return None
        prices, values = relaxed
        cut = parted(self._lean, goal, prices)
        if len(cut.parts) < PARTS_AT_ONCE:
            return None
        with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
            solved = list(threads.map(partial(_solved, PART if self._columns else FIRST_PART), cut.parts))
        for used in (values, *(one for _, one in solved)):
            self._columns |= {i for i, n in enumerate(self.program.counts.n) if used.get(n, 0) > 1e-6}
        return cut.bound(least for least, _ in solved)


def _holding(program: Program, row: Row) -> Program:
    return replace(program, rows=(*program.rows, row))


class _Search:
    """A program in CP-SAT, and the best values so far.

    The model is written as the message that the solver takes: the usual door to it imports pandas, which costs more
    than most plans take to be chosen.
    """

    def __init__(self, program: Program | Part, best: Mapping[Variable, int] | None = None):
        from ortools.sat.python import cp_model_helper

        self._sat = cp_model_helper
        self._model = cp_model_helper.CpModelProto()
        self._at = {variable: index for index, variable in enumerate(program.variables)}
        for variable in program.variables:
            self._model.variables.add().domain.extend((variable.low, variable.high))
        for row in program.rows:
            written = self._model.constraints.add().linear
            self._write(row.terms, written)
            low = -NO_LIMIT if row.low is None else row.low
            written.domain.extend((low, NO_LIMIT if row.high is None else row.high))
        self.best: dict[Variable, int] = dict(best or {})

    def _write(self, terms: Terms, into: Any) -> None:
        sums = _summed(terms)
        into.vars.extend([self._at[variable] for variable in sums])
        into.coeffs.extend(list(sums.values()))

    def minimum(self, terms: Terms, stages: Sequence[Settings]) -> Found | None:
        """(value, bound, proven) of a sum; None when it is proven that nothing is feasible.

        Each stage starts from the best that is known, and the next one tries only what is not proven yet.
        """
        self._model.clear_objective()
        self._model.objective.scaling_factor = 1.0
        self._write(terms, self._model.objective)
        value, bound, optimal, status = None, -math.inf, False, self._sat.CpSolverStatus
        for settings in stages:
            answer = self._solve(settings)
            if answer.status == status.INFEASIBLE:
                return None
            bound, optimal = max(bound, answer.best_objective_bound), answer.status == status.OPTIMAL
            if answer.status in (status.OPTIMAL, status.FEASIBLE) and (value is None or answer.objective_value < value):
                value = round(answer.objective_value)
                self.best = dict(zip(self._at, answer.solution, strict=True))
            if optimal:
                break
        if value is None and not self.best:
            raise StoppedAtLimit("the solver found neither a plan nor a proof that there is none within its limits")
        if value is None:  # what met the goals before still stands
            value = sum(factor * self.best.get(variable, 0) for variable, factor in terms)
        return value, _whole(bound), optimal

    def _solve(self, settings: Settings) -> Any:
        self._model.clear_solution_hint()
        if self.best:
            self._model.solution_hint.vars.extend(list(self._at.values()))
            self._model.solution_hint.values.extend([self.best.get(variable, 0) for variable in self._at])
        parameters = self._sat.SatParameters()
        parameters.merge_text_format(" ".join(map(_setting, {"random_seed": SEED, **settings}.items())))
        solver: Any = self._sat.SolveWrapper()
        solver.set_parameters(parameters)
        answer = solver.solve(self._model)
        if answer.status == self._sat.CpSolverStatus.MODEL_INVALID:
            raise AssertionError(self._sat.CpSatHelper.validate_model(self._model))
        return answer


def _setting(named: tuple[str, Any]) -> str:
    """One parameter in the solver's own notation."""
    name, value = named
    return f"{name}: {str(value).lower() if isinstance(value, bool) else value}"


def _solved(settings: Settings, part: Part) -> tuple[int, Mapping[Variable, int]]:
    """A bound on a part, and the best values found; without any, what the ranges alone say."""
    search = _Search(part)
    try:
        found = search.minimum(part.terms, (settings,))
    except StoppedAtLimit:
        found = None
    if found is None:
        return sum(min(factor * v.low, factor * v.high) for v, factor in part.terms), {}
    return found[1], search.best


def _relaxation(program: Program, goal: Goal) -> tuple[list[float], dict[Variable, float]] | None:
    """Prices of the rows and values of the variables when replicas and slices need not be whole; None without success.

    Rows are scaled to their largest factor: the solver of linear programs counts in floats.
    """
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    at = {v: solver.NumVar(v.low, v.high, v.name) for v in program.variables}
    rows = []
    for row in program.rows:
        size = max((abs(factor) for _, factor in row.terms), default=0) or 1
        low = -solver.infinity() if row.low is None else row.low / size
        added = solver.Constraint(low, solver.infinity() if row.high is None else row.high / size)
        for variable, factor in _summed(row.terms).items():
            added.SetCoefficient(at[variable], factor / size)
        rows.append((added, size))
    for variable, factor in _summed(goal.terms).items():
        solver.Objective().SetCoefficient(at[variable], factor / abs(goal.scale))
    solver.Objective().SetMinimization()
    if solver.Solve() != solver.OPTIMAL:
        return None
    prices = [added.dual_value() * abs(goal.scale) / size for added, size in rows]
    return prices, {variable: one.solution_value() for variable, one in at.items()}


def _summed(terms: Terms) -> dict[Variable, int]:
    sums: dict[Variable, int] = {}
    for variable, factor in terms:
        sums[variable] = sums.get(variable, 0) + factor
    return sums


def _whole(bound: float) -> int:
    """A bound on an integer objective, rounded inwards past the solver's float noise."""
    return math.ceil(bound - 1e-6)
