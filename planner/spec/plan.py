"""Plan: the answer, one versioned document (plan.json) that review, report and export read. Not how it was found.

schema_version: minor = additions and readers ignore unknown fields; major = refused with a migration.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from planner.spec.deployment import Deployment

SCHEMA_VERSION = "1.1"


class Document(BaseModel):
    """Base of plan parts: frozen, unknown fields ignored so that a newer minor version can be read.

    Numbers are SI with the unit in the name, except usd_per_mtok (dollars per million output tokens).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), allow_inf_nan=False)


class Value(Document):
    """A prediction and its 80 % interval."""

    value: float
    lo: float
    hi: float


class SloRow(Document):
    """One promise and what is predicted: `statistic` is mean, p50..p99, or `attainment` (share of requests)."""

    metric: str
    statistic: str
    limit: float
    predicted: float
    met: bool


class ClassPrediction(Document):
    """What a request class gets. metrics: ttft, tpot, itl, e2e -> statistic (mean, p50, p90, p95, p99) -> seconds."""

    name: str
    model: str
    offered_per_s: float
    completed_per_s: float
    goodput_per_s: float
    output_tokens_per_s: float
    requests: int
    metrics: dict[str, dict[str, Value]]
    slo: tuple[SloRow, ...]


class PoolPlan(Document):
    """What a pool of the deployment is made of and how it fares (same order as deployment.pools)."""

    name: str
    gpus: int
    nodes: float
    weights_bytes_per_gpu: float
    kv_bytes_per_gpu: float
    kv_tokens: int
    utilisation: float
    kv_occupancy: float
    usd_per_hour: float
    watts: float
    source: str
    rel_error: float
    checkpoint: str = ""
    """Hub id of the model; empty when the catalog names none."""


class Bill(Document):
    """Price of the whole plan. watts at the wall including PUE; joules per output token at the wall."""

    usd_per_hour: float
    usd_per_mtok: Value
    watts: float
    joules_per_token: Value
    kwh_per_mtok: float
    kgco2_per_hour: float | None = None


class Objective(Document):
    """One goal in lexicographic order: value of the plan, proven bound of the column model, relative gap."""

    goal: str
    value: float
    bound: float
    gap: float


class Refusal(Document):
    """A rule and how many candidates it refused, with one of them in words."""

    rule: str
    count: int
    example: str
    reason: str


class RunnerUp(Document):
    """The best plan of another shape: what it is, what it would cost, and why it lost."""

    summary: str
    usd_per_hour: float
    gpus: int
    metrics: dict[str, float]
    reason: str


class ParetoPoint(Document):
    """A plan between two goals: none of the others is better in both. deployment: ready to simulate."""

    summary: str
    objectives: tuple[Objective, ...]
    usd_per_hour: float
    gpus: int
    metrics: dict[str, float]
    deployment: Deployment


class Beyond(Document):
    """What would be best if the engine had no limits. lacking: per pool what it does not run; empty = it runs it all.

    evaluated: candidates of the opened space. reason: by how much it is better than the plan.
    """

    summary: str
    deployment: Deployment
    lacking: tuple[str, ...]
    usd_per_hour: float
    gpus: int
    objectives: tuple[Objective, ...]
    evaluated: int
    reason: str


class Evidence(Document):
    """What was looked at and how the choice was confirmed."""

    enumerated: int
    refused: tuple[Refusal, ...]
    pruned: int
    evaluated: int
    columns: int
    rounds: int
    cuts: tuple[str, ...]
    solver: dict[str, Any]


class Plan(Document):
    """The whole answer. `scenario` is the scenario as resolved, so that `check` can plan it again."""

    schema_version: str = SCHEMA_VERSION
    serveplan_version: str
    packages: dict[str, str]
    catalog_hash: str
    seed: int
    scenario: dict[str, Any]
    status: Literal["optimal", "feasible"]
    deployment: Deployment
    pools: tuple[PoolPlan, ...]
    classes: tuple[ClassPrediction, ...]
    bill: Bill
    objectives: tuple[Objective, ...]
    evidence: Evidence
    runners_up: tuple[RunnerUp, ...] = ()
    pareto: tuple[ParetoPoint, ...] = ()
    unconstrained: Beyond | None = None
    """A second result, only where the scenario asks for it; since 1.1."""
    placement: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _pools_match(self) -> Plan:
        if [pool.name for pool in self.pools] != [pool.name for pool in self.deployment.pools]:
            raise ValueError("pools must be those of the deployment, in the same order")
        return self
