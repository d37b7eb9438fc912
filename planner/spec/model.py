"""Model: an ordered list of repeated blocks, an embedding and a head. Not weights, and never one class per model.

Shapes: hidden H, `heads` query heads, `kv_heads` key/value heads, `head_dim` d; counts are elements, not bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen, Sourced
from planner.spec.precision import Dtype


class SoftmaxAttention(Frozen):
    """MHA (kv_heads = heads), GQA, or MQA (kv_heads = 1); with `window` it sees only the last `window` tokens."""

    kind: Literal["softmax"] = "softmax"
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    v_head_dim: PositiveInt | None = None
    window: PositiveInt | None = None
    bias: bool = False
    """Bias of the query, key and value projections."""
    output_bias: bool = False
    qk_norm: bool = False
    qk_norm_full: bool = False
    """The norms of q and k span all heads (heads * head_dim weights) instead of one head_dim for all."""
    output_gate: bool = False
    index_heads: int = Field(0, ge=0)
    index_dim: int = Field(0, ge=0)
    index_top_k: int = Field(0, ge=0)
    """Sparse attention: as in LatentAttention; top-k counted in tokens (blocks * block size)."""
    shares_kv: bool = False
    """True when the layer reads the KV cache of an earlier layer and stores none."""
    keys_are_values: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> SoftmaxAttention:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def variant(self) -> str:
        if self.kv_heads == self.heads:
            return "mha"
        return "mqa" if self.kv_heads == 1 else "gqa"


class LatentAttention(Frozen):
    """MLA (DeepSeek-V2, 2405.04434): the cache holds one latent of kv_lora + qk_rope_dim elements per token."""

    kind: Literal["mla"] = "mla"
    heads: PositiveInt
    q_lora: int = Field(0, ge=0)
    kv_lora: PositiveInt
    qk_nope_dim: PositiveInt
    qk_rope_dim: int = Field(ge=0)
    v_head_dim: PositiveInt
    index_heads: int = Field(0, ge=0)
    index_dim: int = Field(0, ge=0)
    index_top_k: int = Field(0, ge=0)
    """DSA: the indexer keeps index_dim more elements per token and attention reads only index_top_k tokens."""
    index_shared: bool = False
    """The layer selects with the index of an earlier layer: index_top_k holds, but it keeps no index keys."""
    output_gate: bool = False


class CompressedAttention(Frozen):
    """Attention over a cache that stores one entry per `ratio` tokens (DeepSeek-V4), plus a dense recent window."""

    kind: Literal["compressed"] = "compressed"
    heads: PositiveInt
    kv_elements_per_token: float = Field(ge=0)
    """Growth of the cache with the context, index keys included; 0 = the layer keeps the window alone."""
    head_dim: PositiveInt
    window: int = Field(0, ge=0)
    """Recent tokens kept uncompressed, head_dim elements each: constant per sequence once it is full."""
    read_tokens: PositiveInt
    """Most cache entries one query reads (top-k of the indexer plus the window)."""
    parameters: PositiveInt


class LinearAttention(Frozen):
    """A mixer with constant state: Mamba, gated delta net, lightning, KDA."""

    kind: Literal["linear"] = "linear"
    flavour: str
    parameters: PositiveInt
    """Parameters of the mixer of one layer, projections included."""
    state_elements: PositiveInt
    """State of one sequence in one layer, elements."""
    heads: PositiveInt


class CrossAttention(Frozen):
    """Attention onto encoder output (Llama-3.2-Vision); its cache has the length of the image tokens."""

    kind: Literal["cross"] = "cross"
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt


Attention = Annotated[
    SoftmaxAttention | LatentAttention | CompressedAttention | LinearAttention | CrossAttention,
    Field(discriminator="kind"),
]


class DenseFfn(Frozen):
    """Feed-forward network: gated (3 matrices, SwiGLU) or plain (2 matrices)."""

    kind: Literal["dense"] = "dense"
    inner: PositiveInt
    gated: bool = True
    bias: bool = False


class MoeFfn(Frozen):
    """Mixture of experts: `top_k` of `experts` per token, plus shared experts that every token uses."""

    kind: Literal["moe"] = "moe"
    experts: PositiveInt
    top_k: PositiveInt
    inner: PositiveInt
    gated: bool = True
    bias: bool = False
    shared_inner: int = Field(0, ge=0)
    """Summed width of the shared experts; 0 = none."""
    shared_gate: bool = False
    router_bias: bool = False
    latent: int = Field(0, ge=0)
    """Width the routed experts work in when it is not the hidden size (Nemotron-3, Kimi-K3); 0 = hidden."""
    expert_dtype: Dtype | None = None
    """Format the routed experts ship in when it differs from the rest (gpt-oss mxfp4, Kimi int4)."""

    @model_validator(mode="after")
    def _top_k_fits(self) -> MoeFfn:
        if self.top_k > self.experts:
            raise ValueError(f"top_k ({self.top_k}) exceeds experts ({self.experts})")
        return self


Ffn = Annotated[DenseFfn | MoeFfn, Field(discriminator="kind")]


class Layer(Frozen):
    """One residual layer: a token mixer, a feed-forward network, or both; norms are counted in hidden-size vectors."""

    attention: Attention | None = None
    ffn: Ffn | None = None
    norms: int = Field(2, ge=0)
    extra_parameters: int = Field(0, ge=0)


class Block(Frozen):
    """`layers` in order, repeated `repeat` times."""

    repeat: PositiveInt
    layers: tuple[Layer, ...] = Field(min_length=1)


class Encoder(Frozen):
    """Vision or audio front end: its weights, and the tokens and FLOP of one item (image tile, audio clip)."""

    parameters: PositiveInt
    tokens_per_item: int = Field(0, ge=0)
    flop_per_item: float = Field(0, ge=0)


class Coverage(Frozen):
    """Distinct experts touched, C(n) = 1 - (1 - K/E)^(a n^g), for decode batches and for tokens of one prompt."""

    decode_a: float
    decode_g: float
    prefill_a: float
    prefill_g: float
    source: str


class Published(Frozen):
    """Parameter counts as the publisher states them, for the lint."""

    total: float | None = None
    active: float | None = None
    text_only: bool = False
    """The published total leaves the encoder out."""
    kv_elements_per_token: float | None = None
    """Elements one token adds over all layers that cache the whole context, index keys left out."""
    source: str = ""
    exception: str = ""
    """Why the count from the blocks may differ by more than 0.5 %; empty = it may not."""


class Model(Sourced):
    """A language model as blocks. `native_dtype` is the format the checkpoint ships in."""

    name: str
    hf_id: str = ""
    family: str = ""
    modality: str = "text"
    hidden: PositiveInt
    vocab: PositiveInt
    tied_embeddings: bool = False
    learned_positions: int = Field(0, ge=0)
    embedding_parameters_extra: int = Field(0, ge=0)
    """Beside vocab * hidden and positions: a norm of the embedding, a bias of the head, a projector."""
    final_norms: int = Field(1, ge=0)
    """Norm after the last layer in hidden-size vectors; 2 = LayerNorm with bias."""
    max_context: int = Field(0, ge=0)
    """Longest context in tokens; 0 = not limited or unknown."""
    native_dtype: Dtype = "bf16"
    blocks: tuple[Block, ...] = Field(min_length=1)
    encoder: Encoder | None = None
    coverage: Coverage | None = None
    published: Published = Published()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in order, repeats expanded."""
        return tuple(layer for block in self.blocks for _ in range(block.repeat) for layer in block.layers)

    @cached_property
    def is_moe(self) -> bool:
        return any(isinstance(layer.ffn, MoeFfn) for layer in self.layers)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Pydantic's, but a copy with other blocks finds its layers anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("layers", "is_moe"):
            copied.__dict__.pop(name, None)
        return copied


class StageModel(Sourced):
    """A model that is not a decoder: encoder, embedder, speech, diffusion, video, recommender.

    One item is one image, sequence, clip or denoising step; `flop_per_item` is its forward pass.
    """

    name: str
    hf_id: str = ""
    kind: str
    parameters: float = Field(gt=0)
    flop_per_item: float = Field(0, ge=0)
    layers: str = ""
    hidden: int = 0
    heads: int = 0
    ffn: int = 0
    tokens_per_item: str = ""
    input: str = ""
    native_dtype: str = "fp16"
