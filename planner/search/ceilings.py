"""Ceilings: what no replica of many candidates can beat, without price tables - requests per second, TTFT, TPOT.

The first rung of evaluation. The bounds of `bounds` are tighter, but each of them needs the prices of its candidate.
Requests count by their means and ranks over a draw, held back by three standard errors, since a probe may draw more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.perf.cuts import cuts_of
from planner.perf.floors import Floors, floors_of
from planner.search.bounds import computed, tpot_limit
from planner.search.demand import Load
from planner.search.masks import kv_tokens
from planner.search.measure import PRECISION, TURNOVERS
from planner.search.probe import promises_of
from planner.search.setting import Setting
from planner.search.space import ROLES, Candidate, Pools, pools_of
from planner.sim.metrics import LEVELS
from planner.spec.requests import Requests
from planner.spec.slo import Metric, Slo

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
ERRORS = 3.0
"""Standard errors by which a draw may differ from a longer one."""
UNFINISHED = 1 + 1 / TURNOVERS
"""A probe that ends after so many turnovers may show this much more than what lasts: the last one is not worked off."""
PREFILL, DECODE = ROLES.index("prefill"), ROLES.index("decode")


@dataclass(frozen=True, slots=True)
class Late:
    """A promise that candidates break even without load. least_s: their floors."""

    metric: Metric
    statistic: str
    request_class: str
    limit_s: float
    least_s: Floats


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Bounds of many candidates, by their formats. promises: those about TTFT and TPOT, with floors for each."""

    count: int
    formats: tuple[tuple[Places, _Format], ...]
    promises: tuple[Late, ...]

    def capacity(self, slos: Mapping[str, Slo]) -> Floats:
        """Most requests per second of one replica; infinite where the step times have no floor."""
        found = np.full(self.count, np.inf)
        for here, one in self.formats:
            found[here] = one.capacity(slos)
        return found

    def words(self, i: int) -> str:
        """The promise that candidate i breaks, empty when there is none."""
        broken = [one for one in self.promises if one.least_s[i] > one.limit_s]
        if not broken:
            return ""
        one = max(broken, key=lambda late: late.least_s[i] / late.limit_s)
        return (
            f"{one.metric} {one.statistic} of {one.request_class} is at least {one.least_s[i]:.4g} s "
            f"even without load, the limit is {one.limit_s:g} s"
        )


def ceilings_of(pools: Pools, setting: Setting, requests: Requests, slos: Mapping[str, Slo]) -> Ceilings:
    """Of all candidates under traffic like `requests`."""
    found = tuple(_promises(slos, len(pools)))
    model, hardware = setting.models[pools.model], setting.sites[pools.site].hardware
    formats = []
    for place in np.unique(pools.format):
        here = np.flatnonzero(pools.format == place)
        mine, weights = pools.take(here), pools.formats[place][0]
        cuts = cuts_of(model, mine.degrees, pools.formats[place], hardware)
        floors = floors_of(model, cuts, setting.profile, weights, setting.estimator)
        if floors is not None:
            one = _Format(mine, floors, setting, requests, _alone(mine, floors), floors.context_s())
            formats.append((here, one))
            for late in found:
                late.least_s[here] = one.least_s(late)
    return Ceilings(len(pools), tuple(formats), found)


def _alone(pools: Pools, floors: Floors) -> Floats:
    """A decode step of one sequence."""
    one = np.ones(len(pools))
    return one if np.all(pools.role == PREFILL) else floors.decode(one) + floors.experts(one)


def _promises(slos: Mapping[str, Slo], count: int) -> Iterator[Late]:
    for name, slo in slos.items():
        for metric, statistic, limit in slo.targets:
            if metric in ("ttft", "tpot"):
                yield Late(metric, statistic, name, limit, np.zeros(count))


@dataclass(frozen=True, slots=True)
class _Format:
    """Candidates in one pair of formats under one draw of requests.

    alone_s, context_s: a decode step of one sequence, and of each token that it has cached.
    """

    pools: Pools
    floors: Floors
    setting: Setting
    requests: Requests
    alone_s: Floats
    context_s: Floats

    def capacity(self, slos: Mapping[str, Slo]) -> Floats:
        """Of aggregated pools only the decode steps count: what prompts add to them is not bounded from below."""
        prefills = self.pools.role == PREFILL
        busy_s = self._decode_s(slos) if not prefills.all() else np.zeros(len(prefills))
        if prefills.any():
            busy_s = np.where(prefills, self._prompt_s(), busy_s)
        return np.asarray(np.divide(1.0, busy_s, out=np.full(len(busy_s), np.inf), where=busy_s > 0))

    def least_s(self, late: Late) -> Floats:
        """Floors of a statistic of one metric, 0 where a role does not have it."""
        mine = self.requests.class_index == self.requests.class_names.index(late.request_class)
        free = self.pools.role == (DECODE if late.metric == "ttft" else PREFILL)
        context = self.requests.input_tokens + self.requests.output_tokens / 2
        counted = mine if late.metric == "ttft" else mine & (self.requests.output_tokens > 1)
        if free.all() or not counted.any():
            return np.zeros(len(free))
        if late.metric == "ttft":
            found = self._ttft_s(_ranked(computed(self.requests)[0][mine], late.statistic))
        else:
            reading = self.context_s * _ranked(context[counted], late.statistic)
            found = self.pools.degrees.pp * (self.alone_s + reading)
        return np.where(free, 0.0, found)

    def _ttft_s(self, tokens: float) -> Floats:
        """Host, chunks at the price of the largest one, and the way through the later stages."""
        step = self._sampled(np.minimum(tokens, self.pools.max_tokens_per_step))
        one = self._prompts(np.ones(len(self.pools)))
        chunks = np.maximum(tokens * self._prompts(step) / step, one)
        return np.asarray(self.floors.profile.overhead.request_s + chunks + (self.pools.degrees.pp - 1) * one)

    def _prompt_s(self) -> Floats:
        """A request's prompt in full steps."""
        most = self._sampled(self.pools.max_tokens_per_step.astype(float))
        return np.asarray(_mean(computed(self.requests)[0]) * self._prompts(most) / most)

    def _prompts(self, tokens: Floats) -> Floats:
        alone = self.floors.profile.multipliers.prefill_alone
        return self.floors.prompt(tokens) * np.where(self.pools.role == PREFILL, alone, 1.0)

    def _sampled(self, tokens: Floats) -> Floats:
        """At least the next size that price tables hold: eight an octave, then sampled at up to 1/256 of the widest."""
        widest = (self.pools.max_tokens_per_step + self.pools.max_seqs).max()
        return np.asarray(1.25 * (tokens + widest / 256 + 8) + 2)

    def _decode_s(self, slos: Mapping[str, Slo]) -> Floats:
        """A request's tokens after the first, at the price of the fullest step or of one that keeps the promised gaps.

        Experts cost ever less per token, so those of the next batch that was priced bound them all.
        """
        requests, dp = self.requests, self.pools.degrees.dp
        after_first = np.maximum(requests.output_tokens - 1, 0).astype(float)
        least = max(1.0, float(computed(requests)[0].min()))
        most = np.maximum(1.0, np.minimum(self.pools.max_seqs, kv_tokens(self.pools, self.setting) / least))
        rank = np.maximum(1.0, most / dp)
        wide = np.minimum(np.maximum(1.25 * rank, rank + 2), np.maximum(2.0, np.ceil(self.pools.max_seqs / dp)))
        token_s = self.floors.decode(rank) / most
        token_s = token_s + self.floors.experts(wide) / wide * np.maximum(1.0 / dp, 1.0 / most)
        reading_s = self.context_s
        context = after_first * (requests.input_tokens + requests.output_tokens / 2)
        kept = sum(self._kept(slos[name], number, after_first, reading_s * least, token_s)
                   for number, name in enumerate(requests.class_names))  # fmt: skip
        return np.asarray(token_s * _mean(after_first) + reading_s * _mean(context) + kept)

    def _kept(self, slo: Slo, number: int, after_first: Floats, reading_s: Floats, token_s: Floats) -> Floats:
        """What tokens cost beyond `token_s` if the share of requests that a promise names keeps its gaps.

        Steps last A + B n or more; tokens in steps of L on average cost B L / (L - A) each (see `promised_decode_s`).
        """
        limit_s, share = tpot_limit(slo)
        if not np.isfinite(limit_s):
            return np.zeros(len(token_s))
        mine = np.sort(after_first[self.requests.class_index == number])
        kept = float(mine[: int(share * len(mine) * (1 - ERRORS / np.sqrt(max(len(mine), 10))))].sum())
        steps_s = limit_s / self.pools.degrees.pp
        each = reading_s * steps_s / np.maximum(steps_s - self.alone_s, 1e-12)
        return np.maximum(each - reading_s - token_s, 0.0) * kept / len(after_first)


def _mean(values: Floats) -> float:
    """At least this in longer draws."""
    return max(float(values.mean() - ERRORS * values.std() / np.sqrt(len(values))), 0.0)


def _ranked(values: Floats, statistic: str) -> float:
    """The value of that rank; of the mean."""
    if statistic == "mean":
        return _mean(values)
    level = LEVELS[statistic]
    level -= ERRORS * float(np.sqrt(level * (1 - level) / len(values)))
    return float(np.quantile(values, max(level, 0.0), method="lower"))


class FirstRung:
    """Which candidates of a family fall before they are priced. All are of one role and one site."""

    def __init__(self, setting: Setting, load: Load, candidates: Sequence[Candidate], drawn: Requests):
        self._places = {c: i for i, c in enumerate(candidates)}
        self._capacity = np.full(len(candidates), np.inf)
        self._ceilings: Ceilings | None = None
        if load.kind == "job":
            return  # its promises are judged over all of it, and its rate is that of a deadline
        slos = {name: promises_of(slo, candidates[0].role) for name, slo in load.slos.items()}
        self._ceilings = ceilings_of(pools_of(candidates), setting, drawn, slos)
        if load.kind == "open" and candidates[0].role != "aggregated":  # without prompts none would fall by it
            self._capacity = self._ceilings.capacity(slos) * UNFINISHED

    def against(self, candidate: Candidate, above: float) -> str:
        """Why the candidate keeps no promise, or cannot carry more than `above`; empty when it may."""
        i = self._places[candidate]
        if above * (1 + PRECISION) >= self._capacity[i]:
            return "another candidate carries more than its bound"
        return self._ceilings.words(i) if self._ceilings else ""
