"""Space: every pool configuration that could be meant, as arrays and as small candidates. What is legal, rules say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from planner.perf.cuts import Degrees, Ints
from planner.search.setting import Setting, Site
from planner.spec.deployment import Parallelism, Phase, Pool
from planner.spec.model import LatentAttention, Model
from planner.spec.precision import Dtype, KvDtype
from planner.spec.scenario import Scenario

PHASES: dict[str, tuple[Phase, ...]] = {
    "aggregated": ("prefill", "decode"),
    "prefill": ("prefill",),
    "decode": ("decode",),
}
MOST_PIPELINE_STAGES = 4
"""Unless the scenario names more: deeper pipelines only pay when nothing else fits."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run one replica. role: aggregated, prefill or decode. model: key of the scenario's models."""

    model: str
    site: str
    role: str
    tp: int
    pp: int
    dp: int
    ep: int
    weights: Dtype
    kv: KvDtype
    max_seqs: int
    max_tokens_per_step: int
    cp: int = 1
    dcp: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.dp * self.cp

    @property
    def parallelism(self) -> Parallelism:
        return Parallelism(tp=self.tp, pp=self.pp, dp=self.dp, ep=self.ep, cp=self.cp, dcp=self.dcp)

    @property
    def shape(self) -> str:
        """What makes two plans different to a person: hardware, cut and role; not formats or batch limits."""
        return "-".join(part for part in (self.model, self.site, self.cut, self.role) if part != "aggregated")

    @property
    def cut(self) -> str:
        """`tp4-pp2`."""
        degrees = (
            ("tp", self.tp),
            ("pp", self.pp),
            ("dp", self.dp),
            ("ep", self.ep),
            ("cp", self.cp),
            ("dcp", self.dcp),
        )
        return "-".join(f"{name}{n}" for name, n in degrees if n > 1 or name == "tp")

    @property
    def key(self) -> str:
        return f"{self.shape}-{self.weights}-{self.kv}-s{self.max_seqs}-t{self.max_tokens_per_step}"

    def pool(self, setting: Setting, name: str = "", replicas: int = 1) -> Pool:
        """The pool of this candidate, as physics and simulation know it."""
        return Pool(
            name=name or self.shape, model=setting.models[self.model].name, node=self.site,
            accelerator=setting.sites[self.site].accelerator.name, phases=PHASES[self.role],
            parallelism=self.parallelism, replicas=replicas, weights=self.weights, kv=self.kv, max_seqs=self.max_seqs,
            max_tokens_per_step=self.max_tokens_per_step,
        )  # fmt: skip


ROLES = tuple(PHASES)


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """Candidates of one model on one site as arrays of one length. role, format: places in ROLES and `formats`."""

    model: str
    site: str
    formats: tuple[tuple[Dtype, KvDtype], ...]
    degrees: Degrees
    role: Ints
    format: Ints
    max_seqs: Ints
    max_tokens_per_step: Ints

    def __len__(self) -> int:
        return len(self.role)

    def __getitem__(self, i: int) -> Candidate:
        d, (weights, kv) = self.degrees, self.formats[self.format[i]]
        return Candidate(
            self.model, self.site, ROLES[self.role[i]], int(d.tp[i]), int(d.pp[i]), int(d.dp[i]), int(d.ep[i]),
            weights, kv, int(self.max_seqs[i]), int(self.max_tokens_per_step[i]), int(d.cp[i]), int(d.dcp[i]),
        )  # fmt: skip

    def take(self, where: Ints) -> Pools:
        rows = (getattr(self, name)[where] for name in ("role", "format", "max_seqs", "max_tokens_per_step"))
        return Pools(self.model, self.site, self.formats, self.degrees.take(where), *rows)


def pools_of(candidates: Sequence[Candidate]) -> Pools:
    """Candidates of one model and site as arrays."""
    formats = tuple(dict.fromkeys((c.weights, c.kv) for c in candidates))
    degrees = np.array([(c.tp, c.pp, c.dp, c.ep, c.cp, c.dcp) for c in candidates], dtype=np.int64).T
    rows = [(ROLES.index(c.role), formats.index((c.weights, c.kv)), c.max_seqs, c.max_tokens_per_step)
            for c in candidates]  # fmt: skip
    return Pools(candidates[0].model, candidates[0].site, formats, Degrees(*degrees), *np.array(rows, dtype=np.int64).T)


@dataclass(frozen=True, slots=True)
class Space:
    """All candidates, as arrays; one by one when iterated over."""

    arrays: tuple[Pools, ...]

    def __iter__(self) -> Iterator[Candidate]:
        return (pools[i] for pools in self.arrays for i in range(len(pools)))


def enumerate_pools(setting: Setting) -> Space:
    """All candidates, in an order that depends on the scenario only: model by model, site by site."""
    models = sorted({one.model for one in setting.scenario.classes})
    return Space(tuple(_on_site(setting, key, site) for key in models for site in setting.sites.values()))


def _on_site(setting: Setting, key: str, site: Site) -> Pools:
    served, model = setting.scenario.models[key], setting.models[key]
    cuts = np.array(list(_cuts(setting, model, site)), dtype=np.int64).reshape(-1, 6)
    formats = tuple(product(served.weights or (model.native_dtype,), served.kv))
    rows = [np.empty((0, 5), dtype=np.int64)]
    for role in _roles(setting.scenario):
        batches = list(product(_seqs(setting), _tokens(setting, role)))
        every = np.indices((len(cuts), len(formats), len(batches))).reshape(3, -1)
        place = np.full(len(every[0]), ROLES.index(role))
        rows.append(np.column_stack((every[0], place, every[1], np.array(batches, dtype=np.int64)[every[2]])))
    which, *columns = np.concatenate(rows).T
    found = Pools(key, site.name, formats, Degrees(*cuts[which].T), *columns)
    # who never decodes has no use for a shared cache
    found = found.take(np.flatnonzero((found.degrees.dcp == 1) | (found.role != ROLES.index("prefill"))))
    if not setting.profile.limits_per_dp_rank:
        return found
    ranks = found.degrees.dp
    return replace(found, max_seqs=found.max_seqs * ranks, max_tokens_per_step=found.max_tokens_per_step * ranks)


def _roles(scenario: Scenario) -> Iterator[str]:
    if "aggregated" in scenario.search.roles:
        yield "aggregated"
    if "disaggregated" in scenario.search.roles:
        yield from ("prefill", "decode")


def _cuts(setting: Setting, model: Model, site: Site) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(tp, pp, dp, ep, cp, dcp). Without experts attention-data parallelism equals more replicas: it is left out."""
    asked = setting.scenario.search
    most = min(site.gpus, asked.max_gpus_per_replica or site.gpus)
    tps = asked.tp or _powers(min(most, site.reach))
    pps = asked.pp or _powers(min(most, MOST_PIPELINE_STAGES))
    dps = asked.dp or (_powers(most) if model.is_moe else (1,))
    cps = asked.cp or (_powers(most) if setting.can("cp") else (1,))
    shares = {tp: asked.dcp or _cache_shares(setting, model, tp) for tp in tps}
    for tp, pp, dp, cp in product(tps, pps, dps, cps):
        if tp * pp * dp * cp <= most:
            eps = asked.ep or _expert_degrees(model, tp * dp, between=setting.unconstrained)
            dcps = shares[tp]
            yield from ((tp, pp, dp, ep, cp, dcp) for ep, dcp in product(eps, dcps))


def _expert_degrees(model: Model, width: int, *, between: bool) -> tuple[int, ...]:
    """Experts cut by tensor (1) or spread over all ranks, as engines do; in between when asked for or unconstrained."""
    if not model.is_moe:
        return (1,)
    return _powers(width) if between else tuple(sorted({1, width}))


def _cache_shares(setting: Setting, model: Model, tp: int) -> tuple[int, ...]:
    """Copies of the cache that tensor parallelism makes: kept, or all turned into shares."""
    copies = copies_of_cache(model, tp)
    return (1, copies) if copies > 1 and setting.can("dcp") else (1,)


def copies_of_cache(model: Model, tp: int) -> int:
    """Ranks of a tensor-parallel group that hold the same keys and values, in every layer."""
    heads = (x.attention for block in model.blocks for x in block.layers if x.attention is not None)
    copies = {tp if isinstance(a, LatentAttention) else max(1, tp // getattr(a, "kv_heads", tp)) for a in set(heads)}
    return min(copies, default=1)


def _powers(most: int) -> tuple[int, ...]:
    return tuple(1 << i for i in range(most.bit_length()))


def _seqs(setting: Setting) -> Iterable[int]:
    engine, asked = setting.scenario.engine, setting.scenario.search.max_seqs
    return (engine.max_seqs,) if engine.max_seqs else asked or (setting.profile.max_seqs,)


def _tokens(setting: Setting, role: str) -> tuple[int, ...]:
    """Token budgets. It hardly matters to a pool that only prefills, and not at all to one that only decodes."""
    engine, asked, usual = setting.scenario.engine, setting.scenario.search.max_tokens_per_step, setting.profile
    if engine.max_tokens_per_step:
        return (engine.max_tokens_per_step,)
    choices = asked or usual.max_tokens_choices
    if role == "aggregated":
        return tuple(choices)
    return (choices[-1],) if role == "decode" or len(choices) == 1 else (choices[0], choices[-1])
