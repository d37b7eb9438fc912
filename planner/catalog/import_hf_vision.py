"""Vision towers of the config.json importer: weights of the encoder and its projector, counted from vision_config.

Not preprocessing: how many tiles an image becomes belongs to the workload.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from planner.catalog.import_hf_fields import Fields
from planner.spec.model import Encoder

_HARMLESS = frozenset({
    "out_hidden_size", "max_position_embeddings", "num_heads", "num_attention_heads", "num_key_value_heads",
    "vt_num_attention_heads", "global_head_dim", "attention_bias", "attn_bias",
})  # fmt: skip
"""Heads cut the width without adding weights; biases are part of each tower's formula."""


def vision_encoder(top: Fields, hidden: int) -> Encoder | None:
    """Encoder of a `vision_config`; None when the config describes none."""
    vision = top.sub("vision_config")
    for field, tower in _TOWERS.items():
        if vision.raw(field):
            tokens = top.exact("vision_soft_tokens_per_image", top.exact("mm_tokens_per_image", 0))
            encoder = Encoder(parameters=tower(vision, hidden), tokens_per_item=tokens)
            vision.refuse_unread(_HARMLESS)
            return encoder
    vision.refuse_unread()
    return None


def _block(width: int, inner: int) -> int:
    """Pre-norm transformer block with biases: two LayerNorms, fused qkv, output, two-matrix network."""
    return 4 * width + (3 * width * width + 3 * width) + (width * width + width) + (2 * width * inner + inner + width)


def _merged_vit(vision: Fields, hidden: int) -> int:
    """Qwen3-VL: 3-D patches, 48x48 learned positions, a merger of 2x2 patches; VL models have three deep ones too."""
    width, merge = vision.exact("hidden_size"), vision.exact("spatial_merge_size") ** 2
    patch = 3 * vision.exact("temporal_patch_size") * vision.exact("patch_size") ** 2 * width + width
    merged = width * merge
    projection = merged * merged + merged + merged * hidden + hidden
    deep = 3 if str(vision.raw("model_type", "")).startswith("qwen3_vl") else 0
    positions = 48 * 48 * width
    blocks = vision.exact("depth") * _block(width, vision.exact("intermediate_size"))
    return blocks + patch + positions + 2 * width + projection + deep * (2 * merged + projection)


def _patch_merger_vit(vision: Fields, hidden: int) -> int:
    """MoonViT (2504.07491): 64x64 learned positions, final norm, 2x2 patches projected by two matrices."""
    width = vision.exact("vt_hidden_size")
    merged = width * prod(vision.numbers("merge_kernel_size"))
    patch = 3 * vision.exact("patch_size") ** 2 * width + width + 64 * 64 * width
    blocks = vision.exact("vt_num_hidden_layers") * _block(width, vision.exact("vt_intermediate_size"))
    return blocks + patch + 2 * width + 2 * width + merged * merged + merged + merged * hidden + hidden


def _gated_vit(vision: Fields, hidden: int) -> int:
    """Gemma-4: gated networks, four norms and q, k norms per block, no biases, two position tables of 10,240 rows."""
    width, inner, layers = (
        vision.exact("hidden_size"),
        vision.exact("intermediate_size"),
        vision.exact("num_hidden_layers"),
    )
    heads_width = vision.exact("num_attention_heads") * vision.exact("head_dim")
    block = 4 * width * heads_width + 3 * width * inner + 4 * width + 2 * vision.exact("head_dim")
    patch = 3 * vision.exact("patch_size") ** 2 * width + 2 * 10240 * width
    return layers * block + patch + width * hidden


_TOWERS: dict[str, Callable[[Fields, int], int]] = {
    "depth": _merged_vit,
    "vt_num_hidden_layers": _patch_merger_vit,
    "num_hidden_layers": _gated_vit,
}
"""How a tower spells its number of layers -> its formula."""
