"""Choose: select, confirm, cut, until the whole plan holds in simulation (logic-based Benders). No evaluating.

The solver's load arithmetic is an approximation; the confirming simulation is not. Where a promise breaks, the columns
that can have broken it lose capacity, just enough that the same counts no longer do, and the solver chooses again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.errors import Infeasible, StoppedAtLimit
from planner.search.columns import deployment_of, problem_of
from planner.search.confirm import Seen, watch, watch_worst
from planner.search.evaluate import Evaluation, Progress
from planner.search.evaluated import Evaluated
from planner.search.explain import insured, no_columns, no_mix, no_rounds
from planner.search.place import crowding, seats
from planner.search.problem import Conflict, Problem, Selection
from planner.search.select import select
from planner.search.setting import Setting
from planner.spec.deployment import Deployment

MOST_ROUNDS = 12
FIRST_CUT, LAST_CUT = 0.002, 0.2
"""Share of capacity that a cut takes beyond what the failing load was; doubled each round."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A selection that held, as a deployment, with what its simulation showed."""

    problem: Problem
    selection: Selection
    deployment: Deployment
    seen: tuple[Seen, ...]
    rounds: int
    cuts: tuple[str, ...]


def choose(evaluation: Evaluation, setting: Setting, progress: Progress) -> Choice:
    """The best plan that holds; Infeasible with reasons when there is none."""
    if missing := no_columns(setting, evaluation):
        if evaluation.left_out:
            raise StoppedAtLimit(f"no plan yet: {evaluation.left_out} candidates were not evaluated in the time given")
        raise Infeasible(*missing, *insured(setting))
    columns = evaluation.columns
    found = settle(setting, columns, problem_of(setting, columns), progress)
    if isinstance(found, Conflict):
        raise Infeasible(*no_mix(setting, evaluation, found), *insured(setting))
    return found


def settle(setting: Setting, columns: tuple[Evaluated, ...], problem: Problem, progress: Progress) -> Choice | Conflict:
    """Select, confirm and cut until a selection holds, or none is left."""
    cuts: list[str] = []
    for number in range(1, MOST_ROUNDS + 1):
        progress(number - 1, number, "choosing")
        selection = select(problem)
        if isinstance(selection, Conflict):
            return selection
        deployment = deployment_of(setting, columns, problem, selection)
        if crowded := _crowded(setting, selection, deployment):
            problem = replace(problem, clustered=(*problem.clustered, *crowded))
            continue
        seen = watch(setting, deployment, factor=selection.factor)
        judged = (*seen, *watch_worst(setting, deployment, factor=selection.factor))
        broken = {name for one in judged for name in one.failed}
        if not broken:
            progress(number, number, "choosing")
            return Choice(problem, selection, deployment, seen, number, tuple(cuts))
        step = min(FIRST_CUT * 2 ** (number - 1), LAST_CUT)
        blamed = list(_blamed(columns, problem, selection, judged))
        cuts += [_in_words(columns[i], selection, broken) for i in blamed]
        problem = _cut(problem, selection, blamed, step)
    raise Infeasible(*no_rounds(MOST_ROUNDS, tuple(cuts)))


def _crowded(setting: Setting, selection: Selection, deployment: Deployment) -> tuple[tuple[int, int], ...]:
    """Columns of which placement puts more replicas on a node than the promise to survive its failure allows."""
    if not selection.spread:
        return ()
    most = crowding(seats(setting, deployment.pools, deployment.nodes))
    names = dict(zip(selection.used, (pool.name for pool in deployment.pools), strict=True))
    return tuple((i, most[names[i]]) for i, allowed in selection.spread.items() if most[names[i]] > allowed)


def _blamed(
    columns: tuple[Evaluated, ...], problem: Problem, selection: Selection, seen: tuple[Seen, ...]
) -> Iterator[int]:
    """Used columns that can have broken a promise: decode makes no first token late, prefill no token slow."""
    for i in selection.used:
        classes = set(problem.group(problem.columns[i].group).classes)
        for one in seen:
            if classes & set(one.failed) and columns[i].candidate.role in _guilty_roles(one):
                yield i
                break


def _guilty_roles(one: Seen) -> tuple[str, ...]:
    broken = {metric for name in one.failed for metric, statistic, limit in one.part.load.slos[name].targets
              if one.summaries[name].metrics[metric].values_s.get(statistic, 0.0) > limit}  # fmt: skip
    if broken == {"ttft"}:
        return ("aggregated", "prefill")
    if broken and broken <= {"tpot", "itl"}:
        return ("aggregated", "decode")
    return ("aggregated", "prefill", "decode")


def _cut(problem: Problem, selection: Selection, blamed: list[int], step: float) -> Problem:
    """The blamed columns carry a little less than what they were given."""
    columns = list(problem.columns)
    for i in blamed:
        load = selection.load(problem, i)
        columns[i] = replace(columns[i], capacity=columns[i].capacity * min(load, 1.0) * (1 - step))
    return replace(problem, columns=tuple(columns))


def _in_words(one: Evaluated, selection: Selection, broken: set[str]) -> str:
    return f"{one.candidate.shape}: {', '.join(sorted(broken))} broke a promise when the whole plan was simulated"


def shapes_of(problem: Problem, selection: Selection) -> frozenset[str]:
    """Shapes that a selection uses together."""
    return frozenset(problem.columns[i].shape for i in selection.used)
