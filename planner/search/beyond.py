"""Beyond: the best plan if the engine could run everything, as a second result beside the plan. Never the plan itself.

The same search with the rule `engine` left out and the space opened: context parallelism, experts over part of the
ranks, and whatever else the profile says that its engine does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from planner.errors import Infeasible
from planner.search.admit import admit
from planner.search.choose import Choice, choose
from planner.search.document import better, objectives_of
from planner.search.evaluate import Evaluation, Progress, evaluate
from planner.search.journal import Journal
from planner.search.legality import candidate_of
from planner.search.predict import predict
from planner.search.rules import beyond_engine
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import Executor
from planner.spec.deployment import Deployment
from planner.spec.plan import Beyond, Plan


def look_beyond(
    setting: Setting, workers: Executor, journal: Journal, progress: Progress, out_of_time: Callable[[], bool]
) -> Evaluation | None:
    """Columns of everything that no rule but the engine's refuses; None unless the scenario asks for it."""
    if not setting.scenario.search.unconstrained:
        return None
    wide = replace(setting, unconstrained=True)
    return evaluate(admit(enumerate_pools(wide), wide), wide, workers, journal, progress, out_of_time)


def with_beyond(plan: Plan, setting: Setting, wider: Evaluation | None, progress: Progress) -> Plan:
    """The plan with its second result; a warning when nothing of it held in simulation."""
    if wider is None:
        return plan
    wide = replace(setting, unconstrained=True)
    try:
        choice = choose(wider, wide, progress)
    except Infeasible as none:
        return plan.model_copy(update={"warnings": (*plan.warnings, f"unconstrained: no plan ({none})")})
    return plan.model_copy(update={"unconstrained": _beyond(plan, wide, wider, choice)})


def _beyond(plan: Plan, wide: Setting, wider: Evaluation, choice: Choice) -> Beyond:
    found = predict(wide, choice.deployment, choice.seen, spread=False)
    lacking = tuple(_lacking(wide, choice.deployment))
    objectives = objectives_of(wide, choice.selection, found)
    return Beyond(
        summary=" + ".join(f"{pool.replicas} x {pool.name}" for pool in choice.deployment.pools),
        deployment=choice.deployment,
        lacking=lacking,
        usd_per_hour=found.bill.usd_per_hour,
        gpus=sum(pool.gpus for pool in found.pools),
        objectives=objectives,
        evaluated=len(wider.found),
        reason=better(objectives, plan.objectives) if lacking else "the engine runs the best that there is",
    )


def _lacking(setting: Setting, deployment: Deployment) -> Iterable[str]:
    """Per pool what the engine does not run of it."""
    for pool in deployment.pools:
        if words := beyond_engine(candidate_of(setting, pool), setting.profile):
            yield f"{pool.name}: {words}"
