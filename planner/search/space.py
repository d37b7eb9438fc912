"""Space: every pool configuration that could be meant, lazily, as small candidates. What is legal, the rules say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from planner.search.setting import Setting, Site
from planner.spec.deployment import Parallelism, Phase, Pool
from planner.spec.model import LatentAttention, Model
from planner.spec.precision import Dtype, KvDtype
from planner.spec.scenario import Scenario, ServedModel

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


def enumerate_pools(setting: Setting) -> Iterator[Candidate]:
    """All candidates, in an order that depends on the scenario only."""
    for key in sorted({one.model for one in setting.scenario.classes}):
        served, model = setting.scenario.models[key], setting.models[key]
        for site in setting.sites.values():
            yield from _on_site(setting, key, served, model, site)


def _on_site(setting: Setting, key: str, served: ServedModel, model: Model, site: Site) -> Iterator[Candidate]:
    scenario = setting.scenario
    cuts = tuple(_cuts(setting, model, site))
    formats = tuple(product(served.weights or (model.native_dtype,), served.kv))
    per_rank = setting.profile.limits_per_dp_rank
    for role in _roles(scenario):
        batches = product(_seqs(setting), _tokens(setting, role))
        for (tp, pp, dp, ep, cp, dcp), (weights, kv), (seqs, tokens) in product(cuts, formats, tuple(batches)):
            ranks = dp if per_rank else 1
            if dcp == 1 or role != "prefill":  # who never decodes has no use for a shared cache
                yield Candidate(
                    key, site.name, role, tp, pp, dp, ep, weights, kv, seqs * ranks, tokens * ranks, cp, dcp
                )


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
    for tp, pp, dp, cp in product(tps, pps, dps, cps):
        if tp * pp * dp * cp <= most:
            eps = asked.ep or _expert_degrees(model, tp * dp, between=setting.unconstrained)
            dcps = asked.dcp or _cache_shares(setting, model, tp)
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
    heads = (layer.attention for layer in model.layers if layer.attention is not None)
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
