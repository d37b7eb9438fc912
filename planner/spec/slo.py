"""SLO: what a request class promises. TTFT, TPOT, ITL and e2e mean what `planner.sim.metrics` defines; not how to meet them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from planner.spec.base import Frozen
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
        return self

    @property
    def limits(self) -> dict[str, float]:
        """Statistic name ("mean", "p99", ...) -> seconds."""
        found = {name: getattr(self, f"{name}_s") for name in ("mean", "p50", "p90", "p95", "p99")}
        return {name: limit for name, limit in found.items() if limit is not None}


class Slo(Frozen):
    """Either percentiles of a metric (`ttft: {p99: 2 s}`) or a limit for each request (`ttft: 2 s`).

    Limits for each request hold jointly: at least the share `attainment` of requests meets all of them. No limit at
    all means that only throughput counts.
    """

    ttft: Percentiles | Seconds | None = None
    tpot: Percentiles | Seconds | None = None
    itl: Percentiles | Seconds | None = None
    e2e: Percentiles | Seconds | None = None
    attainment: float = Field(0.95, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _one_message_per_metric(cls, data: Any) -> Any:
        """Choose the branch of the union by the shape of the value, so that an error speaks of that branch only."""
        if isinstance(data, dict):
            data = {k: Percentiles.model_validate(v) if k in METRICS and isinstance(v, dict) else v for k, v in data.items()}
        return data

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
