"""Presets: published workloads as fitted facts, named in scenarios. Facts with a source, no trace content."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.base import Sourced
from planner.spec.workload import Arrivals, Lengths

TAIL = 0.9


class Preset(Sourced):
    """A published workload: lengths, and arrivals where the source recorded them.

    mean_input, mean_output: tokens as published, to compare with the fit; None where only quantiles are known.
    """

    description: str
    lengths: Lengths
    arrivals: Arrivals | None = None
    mean_input: float | None = None
    mean_output: float | None = None
    fitted_on: str


@cache
def presets() -> dict[str, Preset]:
    """Every preset by name (read once; treat as read-only)."""
    text = files("planner.traffic").joinpath("presets.yaml").read_text(encoding="utf-8")
    document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {name: _preset(entry, document["levels"]) for name, entry in document["presets"].items()}


def _preset(entry: dict[str, Any], levels: list[float]) -> Preset:
    lengths = {side: _with_levels(law, levels) for side, law in entry.pop("lengths").items()}
    return Preset.model_validate({**entry, "lengths": lengths})


def _with_levels(law: Any, levels: list[float]) -> Any:
    """A bare list is a quantile table at the common levels."""
    if not isinstance(law, list):
        return law
    table = [point for i in range(len(levels) - 1) for point in _segment(levels[i : i + 2], law[i : i + 2])]
    return {"quantiles": {"levels": [u for u, _ in table] + levels[-1:], "values": [v for _, v in table] + law[-1:]}}


def _segment(levels: list[float], values: list[float]) -> list[tuple[float, float]]:
    """Points from one level up to the next. In the tail, where levels are sparse and tables convex, straight lines
    overstate the mean (7.5 % for azure-code-2023 outputs, 4.7 % so): there the logarithm is linear, in eighths."""
    if levels[0] < TAIL:
        return [(levels[0], values[0])]
    shares = [i / 8 for i in range(8)]
    step, growth = levels[1] - levels[0], values[1] / values[0]
    return [(levels[0] + share * step, values[0] * growth**share) for share in shares]


def preset(name: str) -> Preset:
    """The preset called `name`; BadInput with the nearest names when there is none."""
    if name not in presets():
        hint = did_you_mean(name, presets()) or f"known: {', '.join(sorted(presets()))}"
        raise BadInput(Problem(f"unknown traffic preset {name!r}", hint=hint))
    return presets()[name]
