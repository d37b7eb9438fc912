"""Length: a distribution of token counts, as data. It draws nothing: `planner.traffic` does."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen, yaml_name


class Uniform(Frozen):
    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) exceeds high ({self.high})")
        return self


class Lognormal(Frozen):
    """Token counts with this mean and coefficient of variation, cut at `max`."""

    mean: float = Field(gt=0)
    cv: float = Field(gt=0)
    max: PositiveInt | None = None


class Quantiles(Frozen):
    """Piecewise-linear inverse CDF: `values[i]` tokens at level `levels[i]`, levels rising from 0 to 1."""

    levels: tuple[float, ...] = Field(min_length=2)
    values: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> Quantiles:
        if len(self.levels) != len(self.values):
            raise ValueError("levels and values differ in length")
        if self.levels[0] != 0 or self.levels[-1] != 1 or list(self.levels) != sorted(set(self.levels)):
            raise ValueError("levels must rise from 0 to 1")
        if list(self.values) != sorted(self.values) or self.values[0] < 1:
            raise ValueError("values must not fall and must be at least 1 token")
        return self


class Length(Frozen):
    """Distribution of a token count; exactly one form."""

    fixed: PositiveInt | None = None
    uniform: Uniform | None = None
    lognormal: Lognormal | None = None
    quantiles: Quantiles | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Length:
        exactly_one(self, "fixed", "uniform", "lognormal", "quantiles")
        return self


def exactly_one(noun: Any, *fields: str) -> None:
    """A problem unless one of the fields is given, and only one."""
    given = [yaml_name(field) for field in fields if getattr(noun, field) is not None]
    if len(given) != 1:
        one_of = ", ".join(yaml_name(field) for field in fields)
        raise ValueError(f"give exactly one of {one_of}" + (f", not {' and '.join(given)}" if given else ""))
