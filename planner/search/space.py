"""Space: every pool configuration that could be meant, lazily, as small candidates. What is legal, the rules say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from planner.search.setting import Setting, Site
from planner.spec.deployment import Parallelism, Phase, Pool
from planner.spec.model import Model
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

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def parallelism(self) -> Parallelism:
        return Parallelism(tp=self.tp, pp=self.pp, dp=self.dp, ep=self.ep)

    @property
    def shape(self) -> str:
        """What makes two plans different to a person: hardware, cut and role; not formats or batch limits."""
        return "-".join(part for part in (self.model, self.site, self.cut, self.role) if part != "aggregated")

    @property
    def cut(self) -> str:
        """`tp4-pp2`."""
        degrees = (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
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
    cuts = tuple(_cuts(scenario, model, site))
    formats = tuple(product(served.weights or (model.native_dtype,), served.kv))
    per_rank = setting.profile.limits_per_dp_rank
    for role in _roles(scenario):
        batches = product(_seqs(setting), _tokens(setting, role))
        for (tp, pp, dp, ep), (weights, kv), (seqs, tokens) in product(cuts, formats, tuple(batches)):
            ranks = dp if per_rank else 1
            yield Candidate(key, site.name, role, tp, pp, dp, ep, weights, kv, seqs * ranks, tokens * ranks)


def _roles(scenario: Scenario) -> Iterator[str]:
    if "aggregated" in scenario.search.roles:
        yield "aggregated"
    if "disaggregated" in scenario.search.roles:
        yield from ("prefill", "decode")


def _cuts(scenario: Scenario, model: Model, site: Site) -> Iterator[tuple[int, int, int, int]]:
    """(tp, pp, dp, ep). Without experts attention-data parallelism equals more replicas, so it is left out."""
    asked = scenario.search
    most = min(site.gpus, asked.max_gpus_per_replica or site.gpus)
    tps = asked.tp or _powers(min(most, site.reach))
    pps = asked.pp or _powers(min(most, MOST_PIPELINE_STAGES))
    dps = asked.dp or (_powers(most) if model.is_moe else (1,))
    for tp, pp, dp in product(tps, pps, dps):
        if tp * pp * dp <= most:
            for ep in asked.ep or _expert_degrees(model, tp * dp):
                yield tp, pp, dp, ep


def _expert_degrees(model: Model, width: int) -> tuple[int, ...]:
    """Experts cut by tensor (1) or spread over all ranks; in between is only tried when asked for."""
    return tuple(sorted({1, width})) if model.is_moe else (1,)


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
