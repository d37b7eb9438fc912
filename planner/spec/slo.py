"""SLO: what a request class promises, not how to meet it. `planner.sim.metrics` defines TTFT, TPOT, ITL and e2e."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Share, wrong
from planner.units import Seconds

Metric = Literal["ttft", "tpot", "itl", "e2e"]
METRICS: tuple[Metric, ...] = ("ttft", "tpot", "itl", "e2e")


class Percentiles(Frozen):
    """Limits at percentiles of one metric over requests (over gaps for itl); `mean` limits the average."""

    mean_s: Seconds | None = None
    p50_s: Seconds | None = None
    p90_s: Seconds | None = None
    p95_s: Seconds | None = None
    p99_s: Seconds | None = None

    @model_validator(mode="after")
    def _something_is_limited(self) -> Percentiles:
        if not self.limits:
            raise ValueError("give at least one of mean, p50, p90, p95, p99")
        wrong(self, (((name,), "must be longer than 0 s") for name, limit in self.limits.items() if limit <= 0))
        return self

    @property
    def limits(self) -> dict[str, float]:
        """Statistic name ("mean", "p99", ...) -> seconds."""
        found = {name: getattr(self, f"{name}_s") for name in ("mean", "p50", "p90", "p95", "p99")}
        return {name: limit for name, limit in found.items() if limit is not None}


def _form(value: object) -> str:
    """Which form a limit has, so that an error speaks of that form only."""
    return "percentiles" if isinstance(value, dict | Percentiles) else "each"


Limit = Annotated[
    Annotated[Percentiles, Tag("percentiles")] | Annotated[Seconds, Tag("each")],
    Discriminator(_form),
]


class Slo(Frozen):
    """Either percentiles of a metric (`ttft: {p99: 2 s}`) or a limit for each request (`ttft: 2 s`).

    Limits for each request hold jointly: at least the share `attainment` of requests meets all of them. No limit at
    all means that only throughput counts.
    """

    ttft: Limit | None = None
    tpot: Limit | None = None
    itl: Limit | None = None
    e2e: Limit | None = None
    attainment: Share = Field(0.95, gt=0, le=1)
    """Share of requests that meets all limits for each request."""

    @model_validator(mode="after")
    def _every_limit_can_bind(self) -> Slo:
        wrong(
            self, (((metric,), "must be longer than 0 s") for metric, limit in self.per_request.items() if limit <= 0)
        )
        if self.attainment != Slo.model_fields["attainment"].default and not self.per_request:
            wrong(self, [(("attainment",), "counts requests that meet limits like `ttft: 2 s`, but there is none")])
        return self

    @property
    def targets(self) -> tuple[tuple[Metric, str, float], ...]:
        """Percentile targets as (metric, statistic, limit in seconds)."""
        return tuple(
            (metric, statistic, limit)
            for metric in METRICS
            if isinstance(value := getattr(self, metric), Percentiles)
            for statistic, limit in value.limits.items()
        )

    @property
    def per_request(self) -> dict[Metric, float]:
        """Limits that each request must meet, seconds by metric."""
        values = {metric: getattr(self, metric) for metric in METRICS}
        return {metric: value for metric, value in values.items() if isinstance(value, float)}
