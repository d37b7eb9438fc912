"""A fleet solved in parts: its bound against brute force at any prices, its answer against every row, fewer columns."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path as File

import numpy as np
import pytest

from planner.search import select as solver
from planner.search.integers import Row
from planner.search.parts import lean, narrowed, parted, told
from planner.search.problem import Bounds, Column, Conflict, Group, Inventory, Path, Problem, Selection
from planner.search.program import Program, program_of

sys.path.insert(0, str(File(__file__).parent))
from test_brute_force import brute_force, instance  # noqa: E402


@pytest.fixture
def as_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem counts as a large fleet."""
    monkeypatch.setattr(solver, "TIGHT_UP_TO", 0)


def apart(seed: int) -> Problem:
    """An instance of two models: no pool serves both classes, only the nodes tie them."""
    problem = instance(seed)
    columns = tuple(replace(c, group="ab"[i % 2], others=()) for i, c in enumerate(problem.columns))
    paths = tuple(Path(column.group, (i,)) for i, column in enumerate(columns))
    return replace(problem, columns=columns, paths=paths, groups=problem.groups[:2])


def broken(program: Program, found: Selection) -> list[Row]:
    """Rows of a program without ties that a selection does not keep; what it does not tell is chosen by a solver."""
    values = {f"n{i}": n for i, n in found.replicas.items()} | {f"z{p}": z for p, z in found.slices.items()}
    values |= {f"m_{node}": m for node, m in found.nodes.items()} | {f"on{i}": 1 for i in found.used}
    values["total"] = found.slices_per_class
    told_rows = [row for row in program.rows if not any(v.name.startswith(("shared", "own")) for v, _ in row.terms)]
    sums = [(row, sum(factor * values.get(v.name, 0) for v, factor in row.terms)) for row in told_rows]
    return [row for row, n in sums if (row.low or n) > n or (row.high if row.high is not None else n) < n]


@pytest.mark.parametrize("seed", range(24))
def test_at_any_prices_the_parts_bound_the_whole(seed: int) -> None:
    problem = apart(seed)
    best = brute_force(problem)
    program = program_of(problem)
    prices = np.random.default_rng(seed).exponential(3e5, len(program.rows)) * -1.0
    for at in (prices, np.zeros(len(program.rows))):
        cut = parted(program, program.goals[0], list(at))
        assert len(cut.parts) >= 2
        solved = [solver._solved(solver.PART, part)[0] for part in cut.parts]
        assert best is None or cut.bound(solved) <= best[0] * program.goals[0].scale * (1 + 1e-9)


def test_in_parts_no_answer_is_below_the_optimum_and_no_bound_above(as_fleet: None) -> None:
    gaps = []
    for seed in range(40):
        problem = apart(seed)
        best, found = brute_force(problem), solver.select(problem)
        assert (best is None) == isinstance(found, Conflict), seed
        if best is None:
            continue
        first = found.reached[0]
        assert first.bound <= best[0] * (1 + 1e-9), seed
        assert first.value >= best[0] * (1 - 1e-9), seed
        assert found.proven <= (first.value == pytest.approx(best[0], rel=1e-9)), seed
        assert broken(program_of(problem), found) == [], seed
        gaps.append(first.value / best[0] - 1)
    assert len(gaps) > 10
    assert np.mean(np.array(gaps) < 1e-9) > 0.5


def test_classes_that_share_pools_are_solved_whole(as_fleet: None) -> None:
    for seed in range(12):
        problem = instance(seed)
        best, found = brute_force(problem), solver.select(problem)
        assert (best is None) == isinstance(found, Conflict), seed
        assert best is None or found.reached[0].bound <= best[0] * (1 + 1e-9) <= found.reached[0].value * (1 + 2e-9)


def test_two_runs_in_parts_choose_the_same(as_fleet: None) -> None:
    problems = [apart(seed) for seed in range(8)]
    assert [solver.select(one) for one in problems] == [solver.select(one) for one in problems]


def test_a_program_of_fewer_columns_knows_no_others() -> None:
    columns = tuple(Column(f"c{i}", f"s{i}", "x", 1, 0, "a", 1.0) for i in range(2))
    paths = (Path("a", (0,)), Path("a", (1,)), Path("a", (0, 1), 0.1))
    nodes = (Inventory("x", 4, 4, 1.0),)
    problem = Problem(columns, (Group("a", ("a",), 1.0),), paths, nodes, Bounds(), ("gpus",))
    few = narrowed(program_of(problem), {0})
    names = {variable.name for row in few.rows for variable, _ in row.terms}
    assert {"n0", "z0", "on0"} <= names
    assert names.isdisjoint({"n1", "z1", "on1", "z2"})


def test_who_is_in_use_is_told_only_where_it_is_asked() -> None:
    program = program_of(replace(apart(1), bounds=Bounds()))
    short = lean(program)
    assert not {v.name for v in short.variables} & {f"on{i}" for i in range(9)}
    values = {short.counts.n[0]: 3, short.counts.z[0]: 2, short.counts.n[1]: 1}
    full = told(program, values)
    assert (full[program.counts.on[0]], full[program.counts.on[1]], full[program.counts.n[1]]) == (1, 0, 0)
    asked = program_of(replace(apart(1), bounds=Bounds(max_pools=1)))
    assert lean(asked) is asked
