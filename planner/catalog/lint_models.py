"""Plausibility of models: weights counted from the blocks against published figures, cache sizes, windows.

Not a check of quality or licence.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.catalog.lint_rules import Remark, in_range, ordered
from planner.spec.counting import active_parameters, kv_elements_per_token, total_parameters
from planner.spec.model import CompressedAttention, LatentAttention, Model, SoftmaxAttention, StageModel

TOLERANCE = 0.005
"""Largest difference of counted and published weights that needs no explanation."""


def deviation(model: Model) -> float | None:
    """Counted over published weights, less one; None without a published total."""
    published = model.published
    if published.total is None:
        return None
    left_out = model.encoder.parameters if published.text_only and model.encoder else 0
    return (total_parameters(model) - left_out) / published.total - 1


def context_kv_elements(model: Model) -> float:
    """Elements one token adds over the layers that cache the whole context, index keys left out."""
    cached = zip(model.layers, kv_elements_per_token(model), strict=True)
    return sum(
        elements - (0 if getattr(layer.attention, "index_shared", False) else getattr(layer.attention, "index_dim", 0))
        for layer, (elements, window) in cached
        if window is None and elements
    )


def check_model(model: Model) -> Iterator[Remark]:
    """Weights, cache and window of one model."""
    yield from _weights(model)
    stated = model.published.kv_elements_per_token
    if stated is not None and stated != context_kv_elements(model):
        yield "error", f"caches {context_kv_elements(model):g} elements per token, {stated:g} are published", ""
    yield from _windows(model)
    if model.coverage and not model.is_moe:
        yield "error", "coverage of experts, but no layer has experts", "remove it"
    if not model.max_context:
        yield "warning", "max_context is not given", "0 means unlimited"


def _weights(model: Model) -> Iterator[Remark]:
    off, explained = deviation(model), model.published.exception
    if off is not None and abs(off) > TOLERANCE and not explained:
        hint = "mend the blocks, or say why in published.exception"
        yield "error", f"weights counted from the blocks differ by {off:+.2%} from the published total", hint
    if explained and (off is None or abs(off) <= TOLERANCE):
        yield "warning", "published.exception explains a difference that is not there", "remove it"
    yield from in_range("weights", total_parameters(model) / 1e9, 0.05, 10_000, "billion")
    # Cards leave out embeddings, head and encoder, so the counted active weights are the larger ones.
    active = active_parameters(model)
    yield from ordered("published active weights", model.published.active, "1.1 times the counted ones", 1.1 * active)


def _windows(model: Model) -> Iterator[Remark]:
    """A window that the context never reaches is no window."""
    for index, layer in enumerate(model.layers):
        mixer = layer.attention
        if isinstance(mixer, SoftmaxAttention) and mixer.window and 0 < model.max_context < mixer.window:
            yield "warning", f"layer {index}: window {mixer.window} exceeds max_context {model.max_context}", ""
            return
        if isinstance(mixer, LatentAttention | SoftmaxAttention) and mixer.index_heads and not mixer.index_top_k:
            yield "error", f"layer {index}: an indexer without index_top_k", ""
        if isinstance(mixer, CompressedAttention) and not mixer.kv_elements_per_token and not mixer.window:
            yield "error", f"layer {index}: neither compressed cache nor window", ""


def check_stage_model(model: StageModel) -> Iterator[Remark]:
    """Size of one model that is not a decoder; embedding tables of recommenders reach terabytes."""
    yield from in_range("weights", model.parameters / 1e6, 0.5, 5e6, "million")
    if not model.flop_per_item:
        yield "warning", "flop_per_item is not given", "its time cannot be estimated without it"
