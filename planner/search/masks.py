"""Masks: which of many candidates each rule is against, as arrays; what it has to say of one, `rules` knows.

A mask is the rule of its name for a whole array at once: 0 = it passes, k = the k-th of its verdicts is against it.
The two agree on every candidate. A rule without a mask is asked for each candidate, which takes longer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from planner.perf.cuts import cuts_of, rooms_of
from planner.perf.estimators import WHOLE_STEPS
from planner.search.rules import (
    FP8_BLOCK,
    ORDER,
    RULES,
    ffns_of,
    mixers_of,
    number_format,
    shares_by_position,
    size_limit,
)  # fmt: skip
from planner.search.setting import Setting
from planner.search.space import ROLES, Pools, copies_of_cache
from planner.spec.model import CrossAttention, DenseFfn, MoeFfn, SoftmaxAttention

Bools = NDArray[np.bool_]
Places = NDArray[np.int64]
Mask = Callable[[Pools, Setting], "Bools | Places"]
VERDICTS = {"context": ("whole-prompts", "context"), "memory": ("weights-fit", "kv-fits")}
"""Under which names a rule tells what; without an entry, its own."""


def refusals(pools: Pools, setting: Setting) -> list[str]:
    """For each candidate the name of the first verdict against it, empty when there is none."""
    found = np.full(len(pools), "", dtype=object)
    left = np.arange(len(pools))
    for rule in ORDER:
        if rule not in MASKS:
            found[left] = [RULES.get(rule)(pools[int(i)], setting).rule for i in left]
            left = left[found[left] == ""]
            continue
        against = MASKS[rule](pools.take(left), setting).astype(int) if len(left) else left
        for place, name in enumerate(VERDICTS.get(rule, (rule,)), start=1):
            found[left[against == place]] = name
        left = left[against == 0]
    return list(found)


def _none(pools: Pools) -> Bools:
    return np.zeros(len(pools), dtype=bool)


def _engine(pools: Pools, setting: Setting) -> Bools:
    if setting.unconstrained:
        return _none(pools)
    can, d = setting.profile.can, pools.degrees
    split = pools.role != ROLES.index("aggregated")
    used = {"pp": d.pp > 1, "dp": d.dp > 1, "ep": d.ep > 1, "cp": d.cp > 1, "dcp": d.dcp > 1, "split": split}
    against = _none(pools)
    for way, needed in used.items():
        against |= needed & (way not in can.ways)
    unknown = [bool(can.weights and w not in can.weights or can.kv and kv not in can.kv) for w, kv in pools.formats]
    against |= np.array(unknown)[pools.format]
    against |= d.tp > (can.max_tp or np.inf)
    return against | ((d.ep > 1) & (d.ep < d.tp * d.dp) & (not can.partial_ep))


def _inventory(pools: Pools, setting: Setting) -> Bools:
    return pools.degrees.gpus > setting.sites[pools.site].gpus


def _replica_size(pools: Pools, setting: Setting) -> Bools:
    return pools.degrees.gpus > (size_limit(setting) or np.inf)


def _whole_nodes(pools: Pools, setting: Setting) -> Bools:
    gpus, per_node = pools.degrees.gpus, setting.sites[pools.site].per_node
    against: Bools = (gpus > per_node) & (gpus % per_node != 0)
    return against


def _pipeline_layers(pools: Pools, setting: Setting) -> Bools:
    return pools.degrees.pp > len(setting.models[pools.model].layers)


def _scale_up(pools: Pools, setting: Setting) -> Bools:
    return pools.degrees.tp > setting.sites[pools.site].reach


def _heads(pools: Pools, setting: Setting) -> Bools:
    against = _none(pools)
    for mixer in mixers_of(setting.models[pools.model]):
        against |= mixer.heads % pools.degrees.tp != 0
    return against


def _kv_heads(pools: Pools, setting: Setting) -> Bools:
    against, tp = _none(pools), pools.degrees.tp
    for mixer in mixers_of(setting.models[pools.model]):
        if isinstance(mixer, SoftmaxAttention | CrossAttention):
            against |= (mixer.kv_heads % tp != 0) & (tp % mixer.kv_heads != 0)
    return against


def _over(pools: Pools, ffn: DenseFfn | MoeFfn) -> Places:
    """Ranks that share the width of a feed-forward network."""
    d = pools.degrees
    return d.tp if isinstance(ffn, DenseFfn) else np.maximum(1, d.tp * d.dp // d.ep)


def _ffn_width(pools: Pools, setting: Setting) -> Bools:
    against = _none(pools)
    for ffn in ffns_of(setting.models[pools.model]):
        against |= ffn.inner % _over(pools, ffn) != 0
    return against


def _experts(pools: Pools, setting: Setting) -> Bools:
    d = pools.degrees
    counts = [ffn.experts for ffn in ffns_of(setting.models[pools.model]) if isinstance(ffn, MoeFfn)]
    odd = (d.tp * d.dp) % d.ep != 0 if counts else np.ones(len(pools), dtype=bool)
    for count in counts:
        odd |= count % d.ep != 0
    against: Bools = (d.ep > 1) & odd
    return against


def _context_parallel(pools: Pools, setting: Setting) -> Bools:
    d, model = pools.degrees, setting.models[pools.model]
    used: Bools = d.cp * d.dcp > 1
    if not used.any() or not all(shares_by_position(mixer) for mixer in mixers_of(model)):
        return used
    tps, place = np.unique(d.tp, return_inverse=True)
    copies = np.array([copies_of_cache(model, int(tp)) for tp in tps])[place]
    against: Bools = used & (copies % d.dcp != 0)
    return against


def _fp8_blocks(pools: Pools, setting: Setting) -> Bools:
    model = setting.models[pools.model]
    if model.native_dtype != "fp8":
        return _none(pools)
    against = _none(pools)
    for ffn in ffns_of(model):
        against |= ffn.inner // _over(pools, ffn) % FP8_BLOCK != 0
    narrow: Bools = np.array([weights == "fp8" for weights, _ in pools.formats])[pools.format]
    return against & narrow


def _number_format(pools: Pools, setting: Setting) -> Bools:
    """The rule looks at formats only, so one candidate of each stands for all."""
    against = _none(pools)
    for place in np.unique(pools.format):
        here = np.flatnonzero(pools.format == place)
        against[here] = not number_format(pools[here[0]], setting).ok
    return against


def _context(pools: Pools, setting: Setting) -> Places:
    longest, most = setting.longest[pools.model], setting.models[pools.model].max_context
    short = pools.max_tokens_per_step // pools.degrees.dp < longest
    return np.where(short & setting.scenario.engine.whole_prompts, 1, 2 if most and longest > most else 0)


def _memory(pools: Pools, setting: Setting) -> Places:
    tokens = kv_tokens(pools, setting)
    return np.where(tokens <= 0, 1, np.where(tokens // pools.degrees.dp < setting.longest[pools.model], 2, 0))


def kv_tokens(pools: Pools, setting: Setting) -> NDArray[np.float64]:
    """Tokens that the cache of a replica holds."""
    model, hardware = setting.models[pools.model], setting.sites[pools.site].hardware
    found = np.zeros(len(pools))
    for place in np.unique(pools.format):
        here = np.flatnonzero(pools.format == place)
        cuts = cuts_of(model, pools.degrees.take(here), pools.formats[place], hardware)
        budget, weights = pools.max_tokens_per_step[here], pools.formats[place][0]
        found[here] = rooms_of(model, cuts, budget, setting.profile, weights).kv_tokens
    return found


def _step_times(pools: Pools, setting: Setting) -> Bools:
    """A source of whole steps is asked for each candidate."""
    source = setting.estimator or setting.sites[pools.site].accelerator.estimator
    if source is None or source not in WHOLE_STEPS:
        return _none(pools)
    return np.array([not RULES.get("step-times")(pools[i], setting).ok for i in range(len(pools))], dtype=bool)


MASKS: dict[str, Mask] = {
    "engine": _engine, "inventory": _inventory, "replica-size": _replica_size, "whole-nodes": _whole_nodes,
    "pipeline-layers": _pipeline_layers, "scale-up": _scale_up, "heads": _heads, "kv-heads": _kv_heads,
    "ffn-width": _ffn_width, "experts": _experts, "context-parallel": _context_parallel, "fp8-blocks": _fp8_blocks,
    "number-format": _number_format, "context": _context, "memory": _memory, "step-times": _step_times,
}  # fmt: skip
