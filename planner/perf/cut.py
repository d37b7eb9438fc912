"""Cut: how one replica of a model is cut over ranks, and the number formats of its parts. No times, no token counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from planner.perf.hardware import Hardware
from planner.spec.deployment import Parallelism, Pool
from planner.spec.model import Layer, Model, MoeFfn
from planner.spec.precision import BYTES_PER_KV, BYTES_PER_WEIGHT

_FOUR_BIT = ("int4", "nvfp4", "mxfp4", "q4_k_m")


@dataclass(frozen=True, slots=True)
class Formats:
    """Weight formats: projections of the mixers, feed-forward networks, routed experts. Embedding, head, router and
    norms stay in 16 bits in every quantised checkpoint except those of llama.cpp."""

    attention: str
    ffn: str
    experts: str
    head: str


def formats_of(model: Model, pool: Pool) -> Formats:
    """Formats of a pool of `model`.

    A 4-bit checkpoint of a mixture of experts quantises the experts and leaves attention in 16 bits (gpt-oss, Kimi-K2,
    DeepSeek-R1-FP4); a model that ships narrow experts keeps them unless the pool asks for another 4-bit format.
    """
    asked = pool.weights
    narrow = asked in _FOUR_BIT
    attention = "bf16" if narrow and model.is_moe and asked != "q4_k_m" else asked
    ffn = asked if asked == "nvfp4" or not (narrow and model.is_moe) else attention
    head = "q4_k_m" if asked == "q4_k_m" else ("fp32" if asked == "fp32" else "bf16")
    shipped = next((x.ffn.expert_dtype for x in model.layers if isinstance(x.ffn, MoeFfn) and x.ffn.expert_dtype), None)
    return Formats(attention, ffn, shipped if shipped and not narrow else asked, head)


@dataclass(frozen=True, slots=True)
class Cut:
    """Degrees of one replica, its formats and where it runs. Experts live on all tp * dp ranks of a stage."""

    hardware: Hardware
    degrees: Parallelism
    formats: Formats
    hidden: int
    kv_bytes: float
    block_scaled: bool
    """Whether fp8 weights carry a scale per block (checkpoints that ship in fp8), which runs in slower kernels."""
    quantises_apart: bool = False
    """Whether activations are quantised in kernels of their own."""

    @property
    def experts_over(self) -> int:
        return self.degrees.tp * self.degrees.dp

    @property
    def expert_tp(self) -> float:
        return max(1.0, self.experts_over / self.degrees.ep)

    @property
    def kv_split(self) -> int:
        """Ranks over which the cache of one sequence is cut by position."""
        return self.degrees.cp * self.degrees.dcp

    def heads(self, heads: int) -> float:
        """Query heads on one rank."""
        return max(1.0, heads / self.degrees.tp)

    def kv_heads(self, kv_heads: int) -> float:
        """KV heads on one rank: replicated when tp exceeds them."""
        return max(1.0, kv_heads / self.degrees.tp)

    def weight_bytes(self, kind: str) -> float:
        return BYTES_PER_WEIGHT[kind]


# Publishers whose fp8 checkpoints, shipped beside a 16-bit one, carry one scale per 128 x 128 block (model cards of
# Qwen3-*-FP8, Qwen3.5-*-FP8, GLM-*-FP8); others use one per tensor or channel.
BLOCK_SCALED_FAMILIES = ("qwen3", "glm")


def cut_of(model: Model, pool: Pool, hardware: Hardware) -> Cut:
    ships_blocks = model.native_dtype == "fp8" or model.family.startswith(BLOCK_SCALED_FAMILIES)
    block_scaled = pool.weights == "fp8" and ships_blocks
    return Cut(hardware, pool.parallelism, formats_of(model, pool), model.hidden, BYTES_PER_KV[pool.kv], block_scaled)


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage: how many layers of each kind, and whether it embeds or samples."""

    layers: tuple[tuple[Layer, int], ...]
    first: bool
    last: bool

    @property
    def depth(self) -> int:
        return sum(count for _, count in self.layers)


@lru_cache(maxsize=256)
def stages_of(model: Model, pp: int) -> tuple[Stage, ...]:
    """The distinct stages of `pp` contiguous pieces, as equal as can be; engines give spare layers to inner stages."""
    if pp == 1:
        return (Stage(_kinds(model), True, True),)
    edges = stage_edges(len(model.layers), pp)
    pieces = [Counter(model.layers[lo:hi]) for lo, hi in zip(edges, edges[1:], strict=False)]
    stages = [Stage(tuple(piece.items()), i == 0, i == pp - 1) for i, piece in enumerate(pieces)]
    return tuple(dict.fromkeys(stages))


def _kinds(model: Model) -> tuple[tuple[Layer, int], ...]:
    kinds: Counter[Layer] = Counter()
    for block in model.blocks:
        for layer in block.layers:
            kinds[layer] += block.repeat
    return tuple(kinds.items())


def stage_edges(depth: int, pp: int) -> list[int]:
    """First layer of each stage, and the end."""
    sizes = [depth // pp] * pp
    for i in range(depth % pp):
        sizes[-2 - i] += 1
    edges = [0]
    for size in sizes:
        edges.append(edges[-1] + size)
    return edges
