"""Evaluate: admitted candidates -> columns of plain numbers; what cannot be in a best plan is left out early.

Not the choice. Candidates are grouped into families - one load, one node type, one role - that are evaluated apart from
each other, in any process. Within a family a candidate is dropped when replicas of the same or a dividing size carry at
least as much per accelerator: by its ceiling without a price, by its bound without simulation, else by one run at the
rate it would have to beat. That never loses the optimum of cost, accelerators or goodput, because such a replica can be
exchanged for the better ones.
Where energy decides - it is the first goal, or power is limited - every candidate is measured, and one is dropped only
for others that carry as much and take no more joules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from planner.search.admit import Refused
from planner.search.ceilings import FirstRung
from planner.search.demand import Load
from planner.search.evaluated import Evaluated
from planner.search.fluid import fluid_rate
from planner.search.journal import Journal, key_of
from planner.search.measure import Draws, at_rate, board_watts, holds, measure, observe, resting_watts
from planner.search.probe import Trial, trials
from planner.search.setting import Setting
from planner.search.space import Candidate
from planner.search.watts import added_j
from planner.search.workers import Executor
from planner.spec.requests import Requests

Progress = Callable[[int, int, str], None]
MOST_COUNTED = 16
"""Up to this many replicas a column's capacity is tried at the count that the demand needs."""
COUNTED_REQUESTS = 300
"""Requests per replica in that trial."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was looked at: candidates, refusals, and one Evaluated per admitted candidate and load.

    left_out: candidates for which there was no time.
    """

    enumerated: int
    refused: tuple[Refused, ...]
    found: tuple[Evaluated, ...]
    left_out: int = 0

    @property
    def columns(self) -> tuple[Evaluated, ...]:
        return tuple(one for one in self.found if one.capacity > 0)

    @property
    def pruned(self) -> int:
        return sum(one.pruned for one in self.found)


@dataclass(frozen=True, slots=True)
class Family:
    """Candidates of one node type and role under one load."""

    load: int
    candidates: tuple[Candidate, ...]


def evaluate(
    admitted: Iterable[Candidate | Refused],
    setting: Setting,
    workers: Executor,
    journal: Journal,
    progress: Progress,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Columns of all admitted candidates; when time runs out, of the families that are done by then."""
    judged = tuple(admitted)
    families = families_of(setting, judged)
    answers = evaluate_families(families, setting, workers, journal, progress, out_of_time)
    left_out = sum(len(family.candidates) for i, family in enumerate(families) if i not in answers)
    refused = tuple(one for one in judged if isinstance(one, Refused))
    return Evaluation(len(judged), refused, tuple(one for i in sorted(answers) for one in answers[i]), left_out)


def evaluate_families(
    families: Sequence[Family],
    setting: Setting,
    workers: Executor,
    journal: Journal,
    progress: Progress,
    out_of_time: Callable[[], bool] = lambda: False,
) -> dict[int, tuple[Evaluated, ...]]:
    """Answers by index of the family; those in the journal are not simulated again, new ones go into it at once."""
    total = sum(len(family.candidates) for family in families)
    answers = dict(_remembered(setting, families, journal))
    done = sum(len(found) for found in answers.values())
    if done:
        progress(done, total, "found in the journal")
    missing = [i for i in range(len(families)) if i not in answers]
    measured = workers.map(partial(evaluate_family, setting), [families[i] for i in missing])
    for i, found in zip(missing, measured, strict=True):
        answers[i] = found
        journal.put(_key(setting, families[i]), [asdict(one) for one in found])
        done += len(found)
        progress(done, total, "simulating candidates")
        if out_of_time():
            break
    return answers


def families_of(setting: Setting, judged: Iterable[Candidate | Refused]) -> tuple[Family, ...]:
    """The work items of a search; none needs another."""
    return tuple(_families(setting, [one for one in judged if isinstance(one, Candidate)]))


def _remembered(
    setting: Setting, families: Sequence[Family], journal: Journal
) -> Iterator[tuple[int, tuple[Evaluated, ...]]]:
    for i, family in enumerate(families):
        if (kept := journal.get(_key(setting, family))) is not None:
            yield i, _read(kept)


def _families(setting: Setting, candidates: Sequence[Candidate]) -> Iterable[Family]:
    """A load of the model, a node type, a role; split pools also by the formats that both sides must share."""
    for number, load in enumerate(setting.loads):
        split = _may_split(setting, load)
        mine = [c for c in candidates if c.model == load.model and (c.role == "aggregated" or split)]
        kin = partial(_kin, setting, load)
        for _, group in groupby(sorted(mine, key=kin), key=kin):
            yield Family(number, tuple(group))


def _may_split(setting: Setting, load: Load) -> bool:
    """Prefill apart from decode: for open loads with a latency to keep.

    Without one, chunked prefill in one pool fills the same steps without moving caches.
    """
    promised = any(slo.targets or slo.per_request for slo in load.slos.values())
    return load.kind == "open" and (promised or "aggregated" not in setting.scenario.search.roles)


def _kin(setting: Setting, load: Load, c: Candidate) -> tuple[str, str, str, str, int]:
    """Candidates that the two ends of a split or a limit of the scenario tell apart must not replace each other."""
    floors = any(one.precision.weights or one.precision.kv for one in load.classes)
    split = c.role != "aggregated"
    kv = c.kv if floors or split else ""
    weights = c.weights if floors or (split and not setting.scenario.search.mixed_weights) else ""
    return c.site, c.role, kv, weights, c.gpus if setting.scenario.limits.max_replicas else 0


def _key(setting: Setting, family: Family) -> str:
    """Everything else that an answer depends on is the journal's owner: code, catalog, scenario."""
    return key_of({"load": setting.loads[family.load].name, "candidates": [c.key for c in family.candidates]})


def _read(rows: Iterable[dict[str, Any]]) -> tuple[Evaluated, ...]:
    return tuple(Evaluated(**{**row, "candidate": Candidate(**row["candidate"])}) for row in rows)


def evaluate_family(setting: Setting, family: Family) -> tuple[Evaluated, ...]:
    """The family's candidates in their order; small and strong ones are measured first, so that others fall early."""
    load, draws = setting.loads[family.load], Draws(setting.loads[family.load], setting.seed)
    drawn = draws.first(setting.scenario.search.requests_per_probe)
    rung, energy = FirstRung(setting, load, family.candidates, drawn), energy_decides(setting)
    found: dict[Candidate, Evaluated] = {}
    tried: dict[Candidate, Trial] = {}

    def above(candidate: Candidate) -> float:
        return 0.0 if energy else _to_beat(candidate, found.values())

    for alike in _by_size(family.candidates):
        fallen = {c: words for c in alike if (words := rung.against(c, above(c)))}
        found |= {c: Evaluated(c, load.name, 0.0, words, pruned=True) for c, words in fallen.items()}
        for t in _strong_first(trials(setting, [c for c in alike if c not in fallen], load, family.candidates), drawn):
            tried[t.candidate] = t
            found[t.candidate] = _evaluate(setting, t, draws, above(t.candidate))
    if energy:
        found |= {c: _at_demand(setting, t, draws, found[c]) for c, t in tried.items()}
    best = {one.candidate for one in (frugal(setting, [*found.values()]) if energy else undominated([*found.values()]))}
    if not energy:
        found |= {c: _at_demand(setting, tried[c], draws, found[c]) for c in best}
    return tuple(found[c] if c in best else _dominated(found[c]) for c in family.candidates)


def _by_size(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Those of as many accelerators together, small ones first."""
    for _, alike in groupby(sorted(candidates, key=lambda c: c.gpus), key=lambda c: c.gpus):
        yield list(alike)


def _strong_first(tried: Sequence[Trial], drawn: Requests) -> list[Trial]:
    rates = [fluid_rate(t.replica, drawn, t.candidate.role, t.slos) for t in tried]
    return [tried[i] for i in sorted(range(len(tried)), key=lambda i: (-rates[i], i))]


def _to_beat(candidate: Candidate, found: Iterable[Evaluated]) -> float:
    """What the same accelerators carry as replicas of a kind already measured."""
    others = [one for one in found if one.capacity > 0 and exchangeable(one.candidate, candidate)]
    return max((one.capacity * (candidate.gpus // one.candidate.gpus) for one in others), default=0.0)


def exchangeable(smaller: Candidate, larger: Candidate) -> bool:
    """Whether a replica of `larger` can always make room for whole replicas of `smaller`."""
    if smaller.gpus == larger.gpus:
        return True
    return larger.gpus % smaller.gpus == 0 and smaller.gpus & (smaller.gpus - 1) == 0


def undominated(found: Sequence[Evaluated]) -> list[Evaluated]:
    """Columns of a family that no other makes needless; of equals the first."""
    kept: list[Evaluated] = []
    for one in sorted(
        (f for f in found if f.capacity > 0), key=lambda f: (f.candidate.gpus, -f.capacity, f.candidate.key)
    ):
        if one.capacity > _to_beat(one.candidate, kept):
            kept.append(one)
    return kept


def energy_decides(setting: Setting) -> bool:
    """Whether a plan of less capacity per accelerator may be the better one for its joules."""
    goals = (setting.scenario.objective[0], *(setting.scenario.pareto.goals if setting.scenario.pareto else ()))
    return "joules_per_token" in goals or setting.scenario.limits.power_w is not None


def frugal(setting: Setting, found: Sequence[Evaluated]) -> list[Evaluated]:
    """Columns of a family for which no other carries as much on the same accelerators for as few joules; of equals one.

    The exchange takes as many accelerators, so as many watts at rest, and adds no more for the load.
    """
    kept: list[tuple[Evaluated, float]] = []
    rated = [(one, added_j(setting, one)) for one in found if one.capacity > 0]
    for one, joules in sorted(
        rated, key=lambda row: (row[0].candidate.gpus, -row[0].capacity, row[1], row[0].candidate.key)
    ):
        better = (o for o, j in kept if j <= joules and exchangeable(o.candidate, one.candidate))
        if not any(o.capacity * (one.candidate.gpus // o.candidate.gpus) >= one.capacity for o in better):
            kept.append((one, joules))
    return [one for one, _ in kept]


def _dominated(one: Evaluated) -> Evaluated:
    reason = one.reason or "other replicas of its size or smaller carry as much"
    return replace(one, capacity=0.0, reason=reason)


def _evaluate(setting: Setting, t: Trial, draws: Draws, above: float) -> Evaluated:
    capacity = measure(t, draws, setting.scenario.search.requests_per_probe, above)
    if capacity.run is None:
        return Evaluated(t.candidate, t.load.name, 0.0, capacity.reason, pruned=capacity.unseen)
    watts, busy = board_watts(t, capacity.run)
    return Evaluated(t.candidate, t.load.name, capacity.amount, accelerators_w=watts, busy=busy)


def _at_demand(setting: Setting, t: Trial, draws: Draws, one: Evaluated) -> Evaluated:
    """The column as it would be used for the whole demand: how many replicas, and their power at that load."""
    if t.load.kind != "open" or not t.load.demand or not one.capacity:
        return one
    rate = t.load.demand / (1 - setting.scenario.limits.headroom)
    count = -int(-rate // one.capacity)
    while 2 <= count <= MOST_COUNTED and _enough(setting, t, draws, count - 1, rate):
        count -= 1
        one = replace(one, capacity=rate / count)
    return _with_power(setting, t, draws, one, t.load.demand / count)


def _enough(setting: Setting, t: Trial, draws: Draws, replicas: int, rate: float) -> bool:
    """Several replicas share bursts, so fewer may do than the capacity of one says."""
    requests = draws.first(max(setting.scenario.search.requests_per_probe, COUNTED_REQUESTS * replicas))
    return holds(t, observe(t, at_rate(requests, t.load.demand or 1.0, rate), replicas, stop=True))


def _with_power(setting: Setting, t: Trial, draws: Draws, one: Evaluated, rate: float) -> Evaluated:
    """Power is not linear in load (a half-full decode pool is busy all the time), so the line to full load goes through
    the point at which the column would work."""
    requests = draws.first(setting.scenario.search.requests_per_probe)
    watts, busy = board_watts(t, observe(t.as_priced, at_rate(requests, t.load.demand or 1.0, rate)))
    load, idle_w = rate / one.capacity, resting_watts(t)
    return replace(one, accelerators_w=idle_w + (watts - idle_w) / load, busy=busy / load)
