"""Workload: who asks how much, how often, as data. It draws nothing: `planner.traffic` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Name, Path, wrong
from planner.spec.precision import Dtype, KvDtype
from planner.spec.slo import Slo
from planner.units import PerSecond, Seconds


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
        _exactly_one(self, "fixed", "uniform", "lognormal", "quantiles")
        return self


class Lengths(Frozen):
    """Input and output tokens of a request; `correlation` is the Gaussian-copula rho between them."""

    input: Length
    output: Length
    correlation: float = Field(0.0, ge=-1, le=1)


class Trace(Frozen):
    """Recorded requests. A relative `file` is found from the scenario's folder.

    `rate_scale` 2 plays the trace twice as fast. Without `format` the reader is chosen by the file's columns.
    """

    file: str
    format: Literal["csv", "azure", "mooncake", "burstgpt", "sharegpt"] | None = None
    rate_scale: float = Field(1.0, gt=0)
    limit: PositiveInt | None = None


class Arrivals(Frozen):
    """When requests come: exactly one of an open-loop rate, a closed loop, or all at once.

    `cv` of the gaps turns Poisson (1) into Gamma arrivals; `profile` multiplies the rate over time, one value for each
    `profile_step`, again from its start when it ends. `concurrency` keeps that many requests in flight. `all_at_once`
    queues `requests` at time zero and `deadline` bounds the last.
    """

    rate_per_s: PerSecond | None = None
    cv: float = Field(1.0, gt=0)
    profile: tuple[float, ...] = ()
    profile_step_s: Seconds = 60.0
    concurrency: PositiveInt | None = None
    all_at_once: bool = False
    deadline_s: Seconds | None = None

    @model_validator(mode="after")
    def _one_process(self) -> Arrivals:
        given = [self.rate_per_s is not None, self.concurrency is not None, self.all_at_once]
        if sum(given) != 1:
            raise ValueError("give exactly one of rate, concurrency, all_at_once")
        wrong(self, self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[Path, str]]:
        """Settings that cannot be, and settings that the chosen process would ignore."""
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            yield ("rate",), "must be above 0"
        if self.deadline_s is not None and not self.all_at_once:
            yield ("deadline",), "belongs to `all_at_once`"
        if self.rate_per_s is None and self.cv != 1.0:
            yield ("cv",), "belongs to `rate`"
        if self.rate_per_s is None and self.profile:
            yield ("profile",), "belongs to `rate`"
        yield from ((("profile", i), "must not be negative") for i, factor in enumerate(self.profile) if factor < 0)
        if self.profile and not any(factor > 0 for factor in self.profile):
            yield ("profile",), "is never above 0, so no request would come"
        if self.profile_step_s <= 0:
            yield ("profile_step",), "must be longer than 0 s"


class SharedPrefix(Frozen):
    """The first tokens of each prompt are one of `variants` texts, each as likely: system prompts, documents, tools."""

    tokens: PositiveInt
    variants: PositiveInt = 1


class Precision(Frozen):
    """The narrowest formats that serve a class, by bits per value; empty = whatever the model is permitted in."""

    weights: Dtype | None = None
    kv: KvDtype | None = None


class RequestClass(Frozen):
    """One kind of request: its model, its lengths (preset, distribution or trace), its arrivals, its SLO."""

    name: Name
    model: str
    """Key of `models` in the scenario."""
    preset: str | None = None
    lengths: Lengths | None = None
    trace: Trace | None = None
    arrivals: Arrivals | None = None
    """May be left out for a trace (its own times) and for a preset that carries arrivals."""
    requests: PositiveInt | None = None
    """Requests to simulate; offline classes: the size of the job."""
    prefix: SharedPrefix | None = None
    """What prompts have in common, for the prefix cache; the tokens are part of the input."""
    slo: Slo = Slo()
    regions: tuple[str, ...] = ()
    """Regions of node types that may serve it; empty = any."""
    precision: Precision = Precision()
    """What its answers need, when the model is permitted in formats that are not good enough for them."""

    @model_validator(mode="after")
    def _one_source(self) -> RequestClass:
        _exactly_one(self, "preset", "lengths", "trace")
        if self.prefix is not None and self.trace is not None:
            wrong(self, [(("prefix",), "a trace says itself what its prompts have in common (`hash_ids`)")])
        if self.lengths is not None and self.arrivals is None:
            raise ValueError("`lengths` need `arrivals`: a rate, a concurrency or all_at_once")
        if self.arrivals is not None and self.arrivals.all_at_once and self.trace is None and self.requests is None:
            wrong(self, [(("arrivals", "all_at_once"), "how many requests? - give `requests` of the class")])
        return self


def _exactly_one(noun: Any, *fields: str) -> None:
    given = [field for field in fields if getattr(noun, field) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {', '.join(fields)}" + (f", not {' and '.join(given)}" if given else ""))
