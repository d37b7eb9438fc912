"""EngineProfile: what one serving engine, in a range of versions, defaults to and costs. Not its flags (see export).

The numbers of `overhead` and `multipliers` come from measurements of whole runs, so they compensate each other: none
of them is a kernel efficiency by itself. `families` holds what differs on a GPU family ("blackwell") and there for a
weight format ("blackwell/nvfp4"); only the fields it states replace those of the profile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal, TypeVar

from pydantic import Field, PositiveInt

from planner.spec.base import Frozen, Sourced
from planner.spec.correction import Correction, narrowest
from planner.spec.precision import Dtype, KvDtype
from planner.units import Bytes, Seconds

Version = tuple[int, ...]
Part = TypeVar("Part", bound=Frozen)
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class Overhead(Frozen):
    """Time that no operator explains. Per step unless the name says otherwise."""

    launch_s: Seconds = 5e-6
    """One kernel: 1 per GEMM or elementwise operator, 2 per attention, 6 per mixture-of-experts block."""
    step_s: Seconds = 0.0
    per_layer_s: Seconds = 0.0
    per_seq_s: Seconds = 34e-6
    """Host time per sequence in the batch of one attention-data-parallel rank."""
    chunk_s: Seconds = 0.0
    """Per prefill chunk in a step."""
    prefill_floor_per_layer_s: Seconds = 0.6e-3
    """A step with prefill takes at least this times the layers of the stage: the host launches kernels eagerly."""
    request_s: Seconds = 12e-3
    """Per request before the queue: API, tokenizer."""
    handover_s: Seconds = 0.0
    """Per request that one pool prefills and another decodes, besides the copy: second API, handshake, polling."""
    detokenise_s: Seconds = 0.0
    """Per output token, off the critical path."""
    admission_lag_steps: float = Field(0.0, ge=0)


class Multipliers(Frozen):
    """Measured time over the base time of the analytic model, by part of the step; floors keep the roofline."""

    gemm: float = Field(0.81, ge=0.5)
    attn_decode: float = Field(1.21, ge=0.5)
    attn_group: float = Field(0.0, ge=0, le=1)
    """Exponent of query heads per KV head by which decode attention is slower: 0 = the cache is read once for all of
    them, 1 = once for each, as kernels without grouped queries do."""
    moe: float = Field(0.80, ge=0.5)
    comm: float = Field(1.68, ge=0.3)
    """Scales the latency of a collective (ranks wait for each other), not the time its bytes take."""
    prefill: float = Field(1.0, ge=0.5)
    """Scales the prefill share of a mixed step only, never the decode part."""
    prefill_alone: float = Field(0.8, ge=0.3)
    """Scales `prefill` in a pool that only prefills: no decodes share its steps. The best of 1, .8 and .65 on 16 groups
    of prefill/decode splits, none of which any other scalar was fitted on."""
    moe_prefill: float = Field(1.0, ge=0.5)
    """Scales the routed experts of that share once more: grouped products of prompts run below decode efficiency."""


class MemoryRule(Frozen):
    """How the engine sizes its KV cache: a fraction of total memory, or of what is free once the weights are loaded."""

    of: Literal["total", "free"] = "total"
    fraction: float = Field(0.92, gt=0, le=1)
    reserve_bytes: Bytes = 0.0
    """Besides weights, activations, communication buffers and graphs."""
    activation_factor: float = Field(1.0, gt=0)
    graph_bytes: Bytes = 0.5e9
    watermark: float = Field(0.0, ge=0, lt=1)
    """Share of blocks that an admission leaves free."""


Way = Literal["pp", "dp", "ep", "cp", "dcp", "split"]
Option = Literal[
    "scheduling", "preemption", "long_prompt_tokens", "whole_prompts", "mixed_chunks", "conservativeness",
    "balance_steps",
]  # fmt: skip
"""Settings of a scenario's engine that not every engine has a flag for."""


class Abilities(Frozen):
    """What the engine can run in these versions, as its documentation says; what is not listed it cannot.

    ways: pipeline, attention-data, expert, prefill context and decode context parallelism, and `split`: prefill apart
    from decode. weights, kv: number formats, empty = all that the accelerator has. max_tp: ranks of a tensor-parallel
    group, None = any number. options: flags of its scheduler that a scenario may set.
    """

    ways: tuple[Way, ...] = ("pp", "dp", "ep", "split")
    weights: tuple[Dtype, ...] = ()
    kv: tuple[KvDtype, ...] = ()
    max_tp: PositiveInt | None = None
    partial_ep: bool = True
    """Whether experts may be spread over some of the ranks that share them, not all."""
    options: tuple[Option, ...] = ()


class Patch(Frozen):
    """Stated fields replace those of the profile; `rel_error` likewise."""

    overhead: Overhead = Overhead()
    multipliers: Multipliers = Multipliers()
    rel_error: float | None = Field(None, gt=0)


class EngineProfile(Sourced):
    """One engine in the versions [since, before); both empty = any version.

    images: regular expressions; group 1 of the first that matches is the version of a container tag.
    default: chosen when no version is stated. graph_sizes: decode batches with a captured graph, rounded up to the
    next; empty = none. limits_per_dp_rank: max_seqs and max_tokens_per_step bound each attention-data-parallel rank.
    rel_error: relative half-width of the 80 % interval of a step.
    """

    name: str
    engine: str
    since: str = ""
    before: str = ""
    known_to: str = ""
    """The newest minor version that somebody has looked at; planning for a later one is refused. Empty = no limit."""
    default: bool = False
    images: tuple[str, ...] = ()
    scheduler: str
    max_tokens_per_step: PositiveInt = 8192
    max_tokens_choices: tuple[PositiveInt, ...] = (2048, 4096, 8192, 16384)
    max_seqs: PositiveInt = 256
    max_seqs_drafting: PositiveInt = 2**20
    """Default limit with speculative decoding, where the engine sets a lower one."""
    block_tokens: PositiveInt = 16
    limits_per_dp_rank: bool = True
    graph_sizes: tuple[PositiveInt, ...] = ()
    graphs_hold_prompts: bool = False
    """Steps with prompts run captured graphs too, up to the largest size (piecewise graphs of vLLM V1)."""
    quantises_apart: bool = False
    """Whether activations of 8-bit products are quantised in kernels of their own, not fused into those before."""
    kernels_like: str = ""
    """Engine whose fitted operator forms are nearest; empty = none fit this engine's kernels."""
    kv_for_fp8_weights: Literal["", "fp8"] = ""
    """KV format that this engine picks by itself for fp8 checkpoints."""
    can: Abilities = Abilities()
    memory: MemoryRule = MemoryRule()
    overhead: Overhead = Overhead()
    multipliers: Multipliers = Multipliers()
    families: dict[str, Patch] = {}
    corrections: tuple[Correction, ...] = ()
    """From a user's own measurements; the narrowest that matches a pool is applied to its price."""
    rel_error: float = Field(0.27, gt=0)

    def covers(self, version: str) -> bool:
        """Whether this profile describes `version` ("0.19.0", or a container tag that `images` reads)."""
        number = self.read_version(version)
        if number is None:
            return False
        return _at_least(number, self.since) and not (self.before and _at_least(number, self.before))

    def read_version(self, text: str) -> Version | None:
        """The version in `text`: by `images`, else the first dotted number; None when there is none."""
        for pattern in self.images:
            if found := re.search(pattern, text):
                return version_tuple(found[1])
        return version_tuple(text)

    def on(self, family: str, weights: str = "") -> EngineProfile:
        """This profile with what differs on a GPU family filled in, then what differs there for a weight format."""
        return self._patched(family)._patched(f"{family}/{weights}")

    def correction(self, family: str, accelerator: str, model: str, weights: str) -> Correction | None:
        """The measured correction that belongs to a pool, if there is one."""
        return narrowest(c for c in self.corrections if c.matches(family, accelerator, model, weights))

    def _patched(self, key: str) -> EngineProfile:
        patch = self.families.get(key)
        if patch is None:
            return self
        return self.model_copy(update={
            "overhead": _merged(self.overhead, patch.overhead),
            "multipliers": _merged(self.multipliers, patch.multipliers),
            "rel_error": patch.rel_error or self.rel_error,
        })  # fmt: skip


def narrowest_profile(covering: Iterable[EngineProfile]) -> EngineProfile:
    """Of profiles that cover one version the one with the fewest others; of equals the last."""
    return max(enumerate(covering), key=lambda found: (*_span(found[1]), found[0]))[1]


def _span(profile: EngineProfile) -> tuple[Version, tuple[float, ...]]:
    """Larger = narrower: a later beginning, then an earlier end."""
    end = version_tuple(profile.before)
    return version_tuple(profile.since) or (), tuple(-part for part in end) if end else (-math.inf,)


def version_tuple(text: str) -> Version | None:
    """(major, minor, patch) of the first dotted number in `text`, or None."""
    found = _NUMBERS.search(text)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def _at_least(version: Version, bound: str) -> bool:
    limit = version_tuple(bound)
    return limit is None or version >= limit


def _merged(base: Part, patch: Part) -> Part:
    return base.model_copy(update={name: getattr(patch, name) for name in patch.model_fields_set})
