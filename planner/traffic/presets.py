"""Presets: published workloads as fitted facts, named in scenarios. Facts with a source, no trace content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from planner.errors import BadInput, Problem, Where, did_you_mean
from planner.spec.base import Frozen, Sourced
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

    @model_validator(mode="after")
    def _open_arrivals(self) -> Preset:
        if self.arrivals is not None and self.arrivals.rate_per_s is None:
            raise ValueError("arrivals of a preset are a rate; jobs and closed loops are the scenario's choice")
        return self


class PresetList(Frozen):
    """A presets file; `levels` belong to every quantile table written as a bare list."""

    levels: tuple[float, ...] = ()
    presets: dict[str, Preset] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, data: Any) -> Any:
        """Give every bare list its levels."""
        if not isinstance(data, dict) or not isinstance(data.get("presets"), dict):
            return data
        levels = data.get("levels", [])
        return {**data, "presets": {name: _preset(entry, levels) for name, entry in data["presets"].items()}}


@cache
def shipped() -> Mapping[str, Preset]:
    """The presets of this package by name, read once."""
    return MappingProxyType(read_presets(Path(__file__).with_name("presets.yaml")))


def read_presets(path: Path) -> dict[str, Preset]:
    """The presets of a file by name; BadInput with every problem. A user's catalog is merged over shipped()."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return PresetList.model_validate(data).presets
    except ValidationError as error:
        raise BadInput(*(_problem(path, detail) for detail in error.errors())) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(Problem(f"cannot read the presets: {error}", Where(str(path)))) from error


def _problem(path: Path, detail: ErrorDetails) -> Problem:
    place = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return Problem(f"{place}: {message}" if place else message, Where(str(path)))


def _preset(entry: Any, levels: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("lengths"), dict):
        return entry
    return {**entry, "lengths": {side: _with_levels(law, levels) for side, law in entry["lengths"].items()}}


def _with_levels(law: Any, levels: Any) -> Any:
    """A bare list is a quantile table at the common levels."""
    if not isinstance(law, list):
        return law
    fits = isinstance(levels, list) and len(law) == len(levels) and all(map(_is_number, levels + law))
    if not fits or min(law) < 1:
        raise ValueError("a quantile table needs one token count from 1 for each of `levels`")
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def preset(name: str, known: Mapping[str, Preset]) -> Preset:
    """The preset called `name`; BadInput with the nearest names when there is none."""
    if name not in known:
        hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known))}"
        raise BadInput(Problem(f"unknown traffic preset {name!r}", hint=hint))
    return known[name]
