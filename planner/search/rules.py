"""Rules: what makes a pool configuration legal, one small judge each, with words. Not whether it is good.

A rule looks at one candidate and answers with a Verdict in words and numbers. New limits are new rules; rules from
elsewhere come through the entry point group `serveplan.rule` when a setting names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from planner.errors import NotPriced
from planner.perf.estimators import WHOLE_STEPS
from planner.perf.memory import Memory, memory_of
from planner.perf.replica import step_cost
from planner.registry import Registry
from planner.search.setting import Setting, Site
from planner.search.space import Candidate, copies_of_cache
from planner.spec.engine import EngineProfile, Way
from planner.spec.model import (
    Attention,
    CrossAttention,
    DenseFfn,
    LatentAttention,
    Model,
    MoeFfn,
    SoftmaxAttention,
)  # fmt: skip

FP8_BLOCK = 128
"""Rows of a scale block in checkpoints that ship in fp8 (DeepSeek-V3, 2412.19437, section 3.3)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rule's word on one candidate; numbers are the ones the reason speaks of."""

    ok: bool
    rule: str = ""
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


Rule = Callable[[Candidate, Setting], Verdict]
RULES: Registry[Rule] = Registry("rule")
PASSED = Verdict(True)
ORDER = (
    "engine", "inventory", "replica-size", "whole-nodes", "pipeline-layers", "scale-up", "heads", "kv-heads",
    "ffn-width", "experts", "context-parallel", "fp8-blocks", "number-format", "context", "memory", "step-times",
)  # fmt: skip
"""Cheap before costly; the first refusal is the one that is told."""


def refuse(rule: str, reason: str, **numbers: float) -> Verdict:
    return Verdict(False, rule, reason, numbers)


def _parts(candidate: Candidate, setting: Setting) -> tuple[Model, Site]:
    return setting.models[candidate.model], setting.sites[candidate.site]


WAYS: dict[Way, str] = {
    "pp": "pipeline parallelism", "dp": "attention-data parallelism", "ep": "expert parallelism",
    "cp": "prefill context parallelism", "dcp": "decode context parallelism", "split": "prefill apart from decode",
}  # fmt: skip


@RULES.register("engine")
def engine(c: Candidate, setting: Setting) -> Verdict:
    """The engine of the scenario, in its version, can run it; unconstrained, nothing is held against it."""
    if setting.unconstrained or not (reason := beyond_engine(c, setting.profile)):
        return PASSED
    return refuse("engine", reason)


def beyond_engine(c: Candidate, profile: EngineProfile) -> str:
    """What the profile says its engine cannot run of a candidate, in words; empty when it can run it."""
    used: dict[Way, bool] = {
        "pp": c.pp > 1, "dp": c.dp > 1, "ep": c.ep > 1, "cp": c.cp > 1, "dcp": c.dcp > 1,
        "split": c.role != "aggregated",
    }  # fmt: skip
    can = profile.can
    lacking = [WAYS[way] for way, needed in used.items() if needed and way not in can.ways]
    lacking += [f"{c.weights} weights"] if can.weights and c.weights not in can.weights else []
    lacking += [f"a {c.kv} KV cache"] if can.kv and c.kv not in can.kv else []
    lacking += [f"tp {c.tp}"] if can.max_tp and c.tp > can.max_tp else []
    lacking += [f"experts over {c.ep} of {c.tp * c.dp} ranks"] if not can.partial_ep and 1 < c.ep < c.tp * c.dp else []
    return f"{profile.name} does not run {', '.join(lacking)}" if lacking else ""


@RULES.register("inventory")
def inventory(c: Candidate, setting: Setting) -> Verdict:
    """One replica fits into the nodes of its type."""
    _, site = _parts(c, setting)
    if c.gpus <= site.gpus:
        return PASSED
    reason = f"a replica of {c.gpus} accelerators is larger than the {site.gpus} of {site.name}"
    return refuse("inventory", reason, needed=c.gpus, available=site.gpus)


def size_limit(setting: Setting) -> int:
    """Most accelerators of a replica that the scenario allows; 0 = it sets no limit."""
    limits = (setting.scenario.search.max_gpus_per_replica, setting.scenario.limits.gpus)
    return min((n for n in limits if n), default=0)


@RULES.register("replica-size")
def replica_size(c: Candidate, setting: Setting) -> Verdict:
    """A replica stays within the limits that the scenario sets on accelerators."""
    limit = size_limit(setting)
    if not limit or c.gpus <= limit:
        return PASSED
    return refuse(
        "replica-size", f"a replica of {c.gpus} accelerators exceeds the limit of {limit}", needed=c.gpus, limit=limit
    )


@RULES.register("whole-nodes")
def whole_nodes(c: Candidate, setting: Setting) -> Verdict:
    """A replica larger than a node takes whole nodes."""
    _, site = _parts(c, setting)
    if c.gpus <= site.per_node or c.gpus % site.per_node == 0:
        return PASSED
    reason = f"{c.gpus} accelerators do not fill whole nodes of {site.per_node}"
    return refuse("whole-nodes", reason, gpus=c.gpus, per_node=site.per_node)


@RULES.register("pipeline-layers")
def pipeline_layers(c: Candidate, setting: Setting) -> Verdict:
    """Every pipeline stage has a layer."""
    layers = len(setting.models[c.model].layers)
    if c.pp <= layers:
        return PASSED
    return refuse("pipeline-layers", f"{c.pp} pipeline stages for {layers} layers", pp=c.pp, layers=layers)


@RULES.register("scale-up")
def scale_up(c: Candidate, setting: Setting) -> Verdict:
    """Tensor parallelism stays where the fast links are."""
    _, site = _parts(c, setting)
    if c.tp <= site.reach:
        return PASSED
    reason = f"tp {c.tp} leaves the scale-up domain of {site.reach} accelerators of {site.name}"
    return refuse("scale-up", reason, tp=c.tp, domain=site.reach)


def mixers_of(model: Model) -> list[Attention]:
    """The kinds of token mixers of a model."""
    return list(dict.fromkeys(x.attention for block in model.blocks for x in block.layers if x.attention is not None))


@RULES.register("heads")
def heads(c: Candidate, setting: Setting) -> Verdict:
    """Tensor parallelism gives every rank the same number of query heads."""
    for mixer in mixers_of(setting.models[c.model]):
        if mixer.heads % c.tp:
            return refuse(
                "heads", f"{mixer.heads} attention heads do not divide by tp {c.tp}", heads=mixer.heads, tp=c.tp
            )
    return PASSED


@RULES.register("kv-heads")
def kv_heads(c: Candidate, setting: Setting) -> Verdict:
    """Key/value heads are split evenly, or each is copied to the same number of ranks."""
    for mixer in mixers_of(setting.models[c.model]):
        if isinstance(mixer, SoftmaxAttention | CrossAttention) and mixer.kv_heads % c.tp and c.tp % mixer.kv_heads:
            reason = f"{mixer.kv_heads} KV heads can neither be split nor copied evenly over tp {c.tp}"
            return refuse("kv-heads", reason, kv_heads=mixer.kv_heads, tp=c.tp)
    return PASSED


def ffns_of(model: Model) -> list[DenseFfn | MoeFfn]:
    """The kinds of feed-forward networks of a model."""
    return list(dict.fromkeys(x.ffn for block in model.blocks for x in block.layers if x.ffn is not None))


@RULES.register("ffn-width")
def ffn_width(c: Candidate, setting: Setting) -> Verdict:
    """Feed-forward widths divide by the ranks that share them."""
    for ffn in ffns_of(setting.models[c.model]):
        over = c.tp if isinstance(ffn, DenseFfn) else max(1, c.tp * c.dp // c.ep)
        if ffn.inner % over:
            return refuse(
                "ffn-width",
                f"a feed-forward width of {ffn.inner} does not divide by {over}",
                width=ffn.inner,
                over=over,
            )
    return PASSED


@RULES.register("experts")
def experts(c: Candidate, setting: Setting) -> Verdict:
    """Expert parallelism needs experts, whole groups of ranks, and the same number of experts on each."""
    if c.ep == 1:
        return PASSED
    counts = [ffn.experts for ffn in ffns_of(setting.models[c.model]) if isinstance(ffn, MoeFfn)]
    if not counts:
        return refuse("experts", f"ep {c.ep} for a model without experts", ep=c.ep)
    if (c.tp * c.dp) % c.ep:
        return refuse("experts", f"ep {c.ep} does not divide tp x dp = {c.tp * c.dp}", ep=c.ep, ranks=c.tp * c.dp)
    if odd := [n for n in counts if n % c.ep]:
        return refuse("experts", f"{odd[0]} experts do not divide by ep {c.ep}", experts=odd[0], ep=c.ep)
    return PASSED


def shares_by_position(mixer: Attention) -> bool:
    """Whether each query of the layer sees all positions, so that ranks can share them."""
    if isinstance(mixer, SoftmaxAttention):
        return not (mixer.window or mixer.index_heads or mixer.index_top_k)
    return isinstance(mixer, LatentAttention) and not (mixer.index_heads or mixer.index_top_k)


@RULES.register("context-parallel")
def context_parallel(c: Candidate, setting: Setting) -> Verdict:
    """Sequences are shared by position only where every layer attends to all of them; copies alone become shares."""
    if c.cp * c.dcp == 1:
        return PASSED
    model = setting.models[c.model]
    for mixer in mixers_of(model):
        if not shares_by_position(mixer):
            return refuse("context-parallel", f"{model.name} has layers whose cache cannot be shared by position")
    copies = copies_of_cache(model, c.tp)
    if copies % c.dcp:
        reason = f"tp {c.tp} makes {copies} copies of the cache, which dcp {c.dcp} does not divide"
        return refuse("context-parallel", reason, copies=copies, dcp=c.dcp)
    return PASSED


@RULES.register("fp8-blocks")
def fp8_blocks(c: Candidate, setting: Setting) -> Verdict:
    """A checkpoint that ships in fp8 is cut between its scale blocks, not through them."""
    model = setting.models[c.model]
    if c.weights != "fp8" or model.native_dtype != "fp8":
        return PASSED
    for ffn in ffns_of(model):
        width = ffn.inner // (c.tp if isinstance(ffn, DenseFfn) else max(1, c.tp * c.dp // c.ep))
        if width % FP8_BLOCK:
            reason = f"{width} feed-forward columns per rank cut through the fp8 scale blocks of {FP8_BLOCK}"
            return refuse("fp8-blocks", reason, width=width, block=FP8_BLOCK)
    return PASSED


@RULES.register("number-format")
def number_format(c: Candidate, setting: Setting) -> Verdict:
    """The accelerator computes in the weight format or in one that holds its values; an fp8 cache needs fp8 units."""
    _, site = _parts(c, setting)
    peak = site.accelerator.peak
    native = {"fp32": peak.fp32_flop_per_s, "bf16": peak.bf16_flop_per_s, "fp16": peak.fp16_flop_per_s,
              "fp8": peak.fp8_flop_per_s, "int8": peak.int8_flop_per_s}  # fmt: skip
    if c.kv in ("fp8", "bf16") and not native[c.kv]:
        return refuse("number-format", f"{site.accelerator.name} has no {c.kv} units for the KV cache")
    if c.weights == "bf16" and not native["bf16"]:
        return refuse("number-format", f"{site.accelerator.name} does not compute in bf16")
    if not any((native.get(c.weights), native["bf16"], native["fp16"])):
        return refuse("number-format", f"{site.accelerator.name} cannot run {c.weights} weights")
    return PASSED


@RULES.register("context")
def context(c: Candidate, setting: Setting) -> Verdict:
    """The model's context holds the longest request of its classes; so does a step, if prompts are not cut."""
    model, longest = setting.models[c.model], setting.longest[c.model]
    step = c.max_tokens_per_step // c.dp
    if setting.scenario.engine.whole_prompts and longest > step:
        reason = f"the longest request has {longest} tokens, a step that cuts no prompts takes {step}"
        return refuse("whole-prompts", reason, longest=longest, step_tokens=step)
    if not model.max_context or longest <= model.max_context:
        return PASSED
    reason = f"the longest request has {longest} tokens, {model.name} takes {model.max_context}"
    return refuse("context", reason, longest=longest, max_context=model.max_context)


@RULES.register("memory")
def memory(c: Candidate, setting: Setting) -> Verdict:
    """Weights, activations and buffers leave room on every accelerator; a rank's cache holds the longest request."""
    model, site = _parts(c, setting)
    found = memory_of(model, c.pool(setting), site.hardware, setting.profile)
    if not found.fits:
        return _too_small(c, site, found)
    room, longest = found.kv_tokens // c.dp, setting.longest[c.model]
    if room >= longest:
        return PASSED
    reason = f"the KV cache holds {room:,} tokens, the longest request has {longest:,}"
    return refuse("kv-fits", reason, kv_tokens=room, longest=longest)


def _too_small(c: Candidate, site: Site, found: Memory) -> Verdict:
    reason = (
        f"{c.weights} weights take {found.weights_bytes / 1e9:.1f} GB of the {found.capacity_bytes / 1e9:.1f} GB of a "
        f"{site.accelerator.name}; {found.missing_bytes / 1e9:.1f} GB are missing for buffers and any KV cache"
    )
    return refuse("weights-fit", reason, weights_bytes=found.weights_bytes, missing_bytes=found.missing_bytes)


@RULES.register("step-times")
def step_times(c: Candidate, setting: Setting) -> Verdict:
    """The source of step times knows this configuration; those that add up operators know every one."""
    site = setting.sites[c.site]
    source = setting.estimator or site.accelerator.estimator
    if source is None or source not in WHOLE_STEPS:
        return PASSED
    try:
        step_cost(setting.models[c.model], c.pool(setting), site.hardware, setting.profile, estimator=source)
    except NotPriced as unknown:
        return refuse("step-times", unknown.problems[0].what)
    return PASSED
