"""A Hugging Face config.json -> Model, trait by trait; what it does not understand it refuses by name.

Not a reader of weights, and not a list of models: `import_hf_tables` holds what each architecture leaves unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from planner.catalog import import_hf_mixers as mixers
from planner.catalog.import_hf_ffn import dense, has_experts, mixture, native_dtype
from planner.catalog.import_hf_fields import Fields
from planner.catalog.import_hf_tables import FAMILIES, HARMLESS, Traits
from planner.catalog.import_hf_vision import vision_encoder
from planner.errors import BadInput, Problem, Where, did_you_mean
from planner.spec.base import yaml_name
from planner.spec.model import Attention, Block, CrossAttention, DenseFfn, Encoder, Layer, Model

MOST_LAYERS = 10_000
FULL, WINDOW, LINEAR, NOTHING = "full", "window", "linear", "nothing"
_TYPE_NAMES = {
    "full_attention": FULL, "attention": FULL, "sliding_attention": WINDOW, "chunked_attention": WINDOW,
    "linear_attention": LINEAR, "mamba": LINEAR, "moe": NOTHING, "mlp": NOTHING,
    "*": FULL, "M": LINEAR, "-": NOTHING, "E": NOTHING,
}  # fmt: skip
_SINGLE = {"attention": "", "mamba": "", "moe": "moe", "mlp": "dense", "*": "", "M": "", "-": "dense", "E": "moe"}


def import_config(config: Mapping[str, Any], name: str, encoder: Encoder | None = None) -> Model:
    """Model of a config.json; BadInput names each field that is missing or not understood.

    `encoder` completes configs of vision models that do not describe their tower. Published counts are the caller's
    to add: the source given here is the config itself.
    """
    try:
        return _import(config, name, encoder)
    except ValidationError as error:
        places = [(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise BadInput(*(Problem(f"{place}: {said}", Where(name)) for place, said in places)) from None


def _import(config: Mapping[str, Any], name: str, encoder: Encoder | None) -> Model:
    top, text = Fields(config, name), Fields(_text_part(config), name)
    family = _family(text, config)
    traits = FAMILIES[family]
    model = Model(
        name=name,
        hf_id=str(config.get("_hub_id", "")),
        family=family,
        hidden=text.number("hidden"),
        vocab=text.number("vocab"),
        tied_embeddings=bool(text.get("tied", traits.tied)),
        learned_positions=_positions(text, traits),
        embedding_parameters_extra=_embedding_extra(text, traits),
        final_norms=traits.final_norms,
        max_context=text.number("max_context", 0),
        native_dtype=native_dtype(text),
        blocks=blocks_of(_layers(text, traits)),
        encoder=encoder or vision_encoder(top, text.number("hidden")),
        source=f"config.json: {config.get('_source') or config.get('_hub_id') or name}",
    )
    text.refuse_unread()
    return model


def _text_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's own fields; fields that only the top level has complete them."""
    nested = config.get("text_config")
    if nested is None:
        return dict(config)
    if not isinstance(nested, Mapping):
        raise BadInput(Problem(f"text_config: expected an object, not {nested!r}"))
    beside = {k: v for k, v in config.items() if k not in {"text_config", "vision_config", "model_type"}}
    return beside | dict(nested)


def _family(text: Fields, config: Mapping[str, Any]) -> str:
    """The architecture's key in FAMILIES."""
    text.raw("text_config"), text.raw("vision_config")
    family = text.raw("model_type") or config.get("model_type")
    if not isinstance(family, str) or not family:
        raise text.bad("model_type is missing", "add it: the config does not say which architecture it describes")
    if family not in FAMILIES:
        hint = did_you_mean(family, FAMILIES) or f"known: {', '.join(sorted(FAMILIES))}"
        fields = ", ".join(sorted(set(config) - HARMLESS))
        raise text.bad(f"architecture {family!r} is not known; its structural fields: {fields}", hint)
    return family


def _layers(text: Fields, traits: Traits) -> list[Layer]:
    if text.raw("block_configs"):
        return _searched_layers(text, traits)
    types = _layer_types(text, traits)
    stated = text.number("layers", len(types))
    if stated != len(types):
        raise text.bad(f"{stated} layers are stated but {len(types)} are described")
    return [_layer(text, traits, index, kind) for index, kind in enumerate(types)]


def _layer_types(text: Fields, traits: Traits) -> list[str]:
    """One word per layer, from whichever field describes the order."""
    described = text.words("layer_types") or text.words("hybrid_pattern")
    text.raw("full_attention_interval")  # says the same where the layers are listed
    count = text.number("layers", len(described) or None)
    if count > MOST_LAYERS:
        raise text.bad(f"{count} layers are more than {MOST_LAYERS}")
    switch = text.get("use_window", True)
    window = bool(text.get("window")) and switch is not False
    every = text.number("full_every", traits.full_every)
    if unknown := sorted(set(described) - set(_TYPE_NAMES)):
        raise text.bad(f"layer types {', '.join(map(repr, unknown))} are not understood")
    if described:
        return list(described[:count])
    if flags := text.per_layer("hybrid_layer_pattern"):
        return ["sliding_attention" if flag else "full_attention" for flag in flags]
    if linear := _linear_layers(text, count):
        return ["linear_attention" if index in linear else "full_attention" for index in range(count)]
    if not window:
        return ["full_attention"] * count
    return ["full_attention" if every and index % every == every - 1 else "sliding_attention" for index in range(count)]


def _linear_layers(text: Fields, count: int) -> set[int]:
    """Layers, from 0, with a linear mixer where the config lists or spaces the full ones."""
    if layers := text.sub("linear_attn_config").numbers("kda_layers"):
        return {layer - 1 for layer in layers}
    if flags := text.per_layer("attn_type_list"):
        return {index for index, flag in enumerate(flags) if not flag}
    if interval := text.exact("full_attention_interval", 0):
        return {index for index in range(count) if index % interval != interval - 1}
    if period := text.exact("attn_layer_period", 0):
        offset = text.exact("attn_layer_offset", 0)
        return {index for index in range(count) if index % period != offset}
    return set()


def _layer(text: Fields, traits: Traits, index: int, word: str) -> Layer:
    mixer = _mixer(text, traits, index, _TYPE_NAMES[word])
    if word in _SINGLE:
        moe = {"moe": True, "dense": False}.get(_SINGLE[word])
        ffn = None if moe is None else mixture(text, traits) if moe else dense(text, traits)
    else:
        moe = has_experts(text, index)
        ffn = mixture(text, traits) if moe else dense(text, traits)
    norms = traits.moe_norms if moe and traits.moe_norms else _norms(text, traits)
    return Layer(attention=mixer, ffn=ffn, norms=norms, extra_parameters=_extra(text, traits, mixer, bool(moe)))


def _norms(text: Fields, traits: Traits) -> int:
    """Falcon's newer blocks norm the two parallel branches apart."""
    text.skip("norm_class", "parallel")
    return traits.norms * (2 if text.raw("new_decoder_architecture", False) else 1)


def _extra(text: Fields, traits: Traits, mixer: Attention | None, moe: bool) -> int:
    """Small weights beside the matrices: sinks, router scales, head-wise gates, hyper-connections."""
    hidden, streams = text.number("hidden"), text.exact("hc_mult", 0)
    # Two learned gates scale what a cross-attention layer adds.
    extra = traits.layer_extra + (2 if isinstance(mixer, CrossAttention) else 0)
    heads = getattr(mixer, "heads", 0)
    windowed = getattr(mixer, "window", None)
    if traits.sinks == "all" or (traits.sinks == "window" and windowed):
        extra += heads
    if moe and traits.router_scale:
        extra += hidden + text.number("experts")
    # Hyper-connections (2409.19606): two mixes of `streams` residual streams per layer, with base and scales.
    mixes = (2 + streams) * streams
    return extra + (2 * (mixes * streams * hidden + mixes + 3) if streams else 0)


def _mixer(text: Fields, traits: Traits, index: int, kind: str) -> Attention | None:
    if kind == NOTHING:
        return None
    if kind == LINEAR:
        return _linear(text)
    if ratios := text.per_layer("compress_ratios"):
        return mixers.compressed(text, ratios[index])
    if index in text.numbers("cross_attention_layers"):
        return mixers.cross(text)
    if text.has("kv_lora"):
        return mixers.latent(text, index)
    shape = mixers.window_softmax(text, traits) if kind == WINDOW else mixers.global_softmax(text, traits, index)
    readers_of_earlier_kv = text.exact("num_kv_shared_layers", 0)
    group = text.exact("cla_share_factor", 1) or 1
    shares = readers_of_earlier_kv > 0 and index >= text.number("layers") - readers_of_earlier_kv or index % group > 0
    return shape.model_copy(update={"shares_kv": True}) if shares else shape


_LINEAR_MIXERS: dict[str, Callable[[Fields], Attention]] = {
    "linear_num_value_heads": mixers.gated_delta_net,
    "mamba_num_heads": mixers.mamba2,
    "linear_attn_config": mixers.kimi_delta,
    "mamba_d_state": mixers.mamba1,
    "attn_type_list": mixers.lightning,
}
"""The field that only this kind of mixer has -> its reader."""


def _linear(text: Fields) -> Attention:
    for field, mixer in _LINEAR_MIXERS.items():
        if text.raw(field) is not None:
            return mixer(text)
    raise text.bad("linear layers are described, but none of " + ", ".join(_LINEAR_MIXERS))


def _searched_layers(text: Fields, traits: Traits) -> list[Layer]:
    """Layers found by architecture search (`block_configs`): each has its own heads and width, or lacks a part."""
    text.skip("layers", "kv_heads")
    return [_searched_layer(text, traits, block) for block in text.objects("block_configs")]


def _searched_layer(text: Fields, traits: Traits, block: Fields) -> Layer:
    attention, ffn = block.sub("attention"), block.sub("ffn")
    mixer = (
        None if attention.raw("no_op") else mixers.grouped_softmax(text, traits, attention.exact("n_heads_in_group"))
    )
    network = None if ffn.raw("no_op") else DenseFfn(inner=_multiple_of_256(text.number("hidden"), _factor(ffn)))
    for part in (block, attention, ffn):
        part.refuse_unread()
    norms = traits.norms // 2 * ((mixer is not None) + (network is not None))
    return Layer(attention=mixer, ffn=network, norms=norms)


def _factor(ffn: Fields) -> float:
    factor = ffn.raw("ffn_mult")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1000:
        raise ffn.bad(f"ffn_mult: expected a number between 0 and 1000, not {factor!r}")
    return float(factor)


def _multiple_of_256(hidden: int, factor: float) -> int:
    """Width of a searched network: 2/3 * 4 * hidden cut by its factor, rounded up (DeciLM's rule)."""
    return -(-int(2 * factor * hidden / 3) // 256) * 256


def _positions(text: Fields, traits: Traits) -> int:
    rows = traits.position_rows_beyond_context
    return 0 if rows is None else text.number("max_context") + rows


def _embedding_extra(text: Fields, traits: Traits) -> int:
    """Norm of the embedding, bias of the head, and rows that only the input table has (image tokens)."""
    hidden, extra_rows = text.number("hidden"), text.exact("extra_input_embeddings", 0)
    return traits.embedding_norms * hidden + (text.number("vocab") if traits.head_bias else 0) + extra_rows * hidden


def blocks_of(layers: Sequence[Layer]) -> tuple[Block, ...]:
    """Layers as few repeated blocks: at each place the shortest period that covers most layers."""
    blocks: list[Block] = []
    start = 0
    while start < len(layers):
        period, repeat = max(
            ((p, _repeats(layers, start, p)) for p in range(1, 13)),
            key=lambda pr: (pr[0] * pr[1] if pr[1] > 1 else 0, -pr[0]),
        )
        blocks.append(Block(repeat=repeat, layers=tuple(layers[start : start + period])))
        start += period * repeat
    return tuple(blocks)


def _repeats(layers: Sequence[Layer], start: int, period: int) -> int:
    pattern, count = layers[start : start + period], 1
    if len(pattern) < period:
        return 0
    while layers[start + count * period : start + (count + 1) * period] == pattern:
        count += 1
    return count


def to_yaml(model: Model) -> str:
    """Catalog text of a model: name first, source last, defaults left out, keys in the order of the noun."""
    data = _plain(model)
    last = {key: data.pop(key) for key in ("source", "confidence", "notes") if key in data}
    return yaml.safe_dump({"name": data.pop("name")} | data | last, sort_keys=False, allow_unicode=True, width=116)


def _plain(value: Any) -> Any:
    """Nouns as mappings without defaults; `kind`, which chooses the noun, always stays."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        given = [name for name, field in fields if name == "kind" or getattr(value, name) != field.default]
        return {yaml_name(name): _plain(getattr(value, name)) for name in given}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
