"""Scenario: the question a user asks. Models, request classes, fleet, engine, limits, objective; never the answer.

Every later technique is one more optional block here, and leaving it out means not using it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Name, Path, Share, twice, wrong
from planner.spec.hardware import EstimatorName
from planner.spec.precision import Dtype, KvDtype
from planner.spec.workload import RequestClass
from planner.units import Bytes, BytesPerSecond, KgPerKwh, Seconds, Usd, UsdPerHour, UsdPerKwh, Watts

Goal = Literal["usd_per_hour", "usd_per_mtok", "joules_per_token", "gpus", "goodput"]
PER_TOKEN = {"usd_per_mtok": "usd_per_hour", "joules_per_token": "usd_per_hour"}
"""Quotients, which need to know how many tokens are served, as goodput decides; and what to ask instead."""
Role = Literal["aggregated", "disaggregated"]
Certainty = Literal["expected", "pessimistic"]


class ServedModel(Frozen):
    """A catalog model and the formats the user accepts, best quality first."""

    model: str
    weights: tuple[Dtype, ...] = Field(default=(), description="permitted weight formats; empty = as shipped")
    kv: tuple[KvDtype, ...] = ("bf16",)


class Owned(Frozen):
    """Hardware the user buys: the annuity of the capex, energy and hosting make its price."""

    capex_usd: Usd
    amortisation_years: float = Field(5.0, gt=0)
    interest: Share = Field(0.08, ge=0, lt=1)
    residual: Share = Field(0.0, ge=0, lt=1)
    maintenance: Share = Field(0.02, ge=0, lt=1)
    """Share of the capex per year."""
    electricity_usd_per_kwh: UsdPerKwh = 0.08
    pue: float = Field(1.25, ge=1)


class NodeType(Frozen):
    """Nodes the user has or can rent. `price` per node and hour, or `own`, or the catalog price of `price_key`."""

    node: str
    count: int = Field(gt=0, le=1_000_000)
    name: str = ""
    """How the plan calls it; the node's catalog name when empty."""
    price_usd_per_hour: UsdPerHour | None = None
    """Per node and hour."""
    price_key: str | None = None
    """`provider:instance[:region]` in the price catalog."""
    price_source: str = ""
    """Where the price comes from; filled in when it is read from the price catalog."""
    term: Literal["on_demand", "spot", "reserved_1y", "reserved_3y"] = "on_demand"
    own: Owned | None = None
    carbon_kg_per_kwh: KgPerKwh | None = None
    pue: float | None = Field(None, ge=1)
    zone: str = ""
    """What fails together with it; empty = nothing but entries without a zone of their own."""
    region: str = ""
    """Where it stands, for classes that may be served in some regions only."""

    @model_validator(mode="after")
    def _one_price(self) -> NodeType:
        given = [f for f in ("price_usd_per_hour", "price_key", "own") if getattr(self, f) is not None]
        if len(given) > 1:
            raise ValueError("give one of price, price_key, own")
        return self


class Network(Frozen):
    """A link between the nodes of two node types; the catalog's scale-out fabric is used when none is given."""

    between: tuple[str, str]
    bandwidth_bytes_per_s: BytesPerSecond = Field(gt=0)
    """Per accelerator, one direction."""
    latency_s: Seconds = 20e-6


class Fleet(Frozen):
    nodes: tuple[NodeType, ...] = Field(min_length=1)
    networks: tuple[Network, ...] = ()


class KvMemory(Frozen):
    """Memory of each replica for prefixes: host memory, disk or a remote store (its share of it)."""

    capacity_bytes: Bytes
    bandwidth_bytes_per_s: BytesPerSecond = Field(gt=0)
    latency_s: Seconds = 0.0


class Engine(Frozen):
    name: str
    version: str
    max_tokens_per_step: PositiveInt | None = None
    """Token budget; empty = the search chooses among the engine's usual values."""
    max_seqs: PositiveInt | None = None
    memory_fraction: Share | None = Field(None, gt=0, le=1)
    router: str = "round_robin"
    kv_transfer: Literal["whole", "layers"] = "whole"
    """How the cache of a prompt goes to the pool that decodes: behind the prompt, or layer by layer beside it."""
    prefix_cache: bool = True
    """Whether computed prompts stay for requests that begin alike."""
    kv_tiers: tuple[KvMemory, ...] = ()
    """Where prefixes go when the accelerators' memory is full, nearest first."""
    estimator: EstimatorName | None = None
    """Source of step times; empty = what the accelerator's catalog entry says, else fitted."""
    scheduling: Literal["fcfs", "priority"] = Field("fcfs", exclude_if=lambda value: value == "fcfs")
    """Who goes first: in order of arrival, or by the `priority` of the classes (vLLM --scheduling-policy)."""
    preemption: Literal["recompute", "swap"] = Field("recompute", exclude_if=lambda value: value == "recompute")
    """What becomes of the cache of who must make room: swapped to host memory over PCIe (vLLM before 0.8)."""
    long_prompt_tokens: PositiveInt | None = Field(None, exclude_if=lambda value: value is None)
    """Most tokens of one prompt in a step (vLLM --long-prefill-token-threshold)."""
    whole_prompts: bool = Field(False, exclude_if=lambda value: not value)
    """Prompts are not cut at the token budget (no chunked prefill), which must hold the longest request then."""
    mixed_chunks: bool = Field(False, exclude_if=lambda value: not value)
    """Decodes share the steps of prompts (SGLang --enable-mixed-chunk)."""
    conservativeness: float | None = Field(None, gt=0, exclude_if=lambda value: value is None)
    """How much room running requests keep for their answers (SGLang --schedule-conservativeness)."""
    balance_steps: PositiveInt | None = Field(None, exclude_if=lambda value: value is None)
    """Most steps that prompts wait until every attention-data-parallel rank has one (TensorRT-LLM attention_dp_config:
    {enable_balance: true, timeout_iters, batching_wait_iters: 0})."""
    too_long: Literal["refuse", "reject"] = Field("refuse", exclude_if=lambda value: value == "refuse")
    """Requests longer than the model's context or a KV cache refuse the simulation, or are rejected one by one, as
    engines do. Plans never reject any."""


class Search(Frozen):
    """What the planner may try; empty = everything that is legal."""

    tp: tuple[PositiveInt, ...] = ()
    pp: tuple[PositiveInt, ...] = ()
    dp: tuple[PositiveInt, ...] = ()
    ep: tuple[PositiveInt, ...] = ()
    cp: tuple[PositiveInt, ...] = ()
    """Ranks that share the tokens of a prompt; empty = 1, or more where the engine can."""
    dcp: tuple[PositiveInt, ...] = ()
    """Tensor-parallel ranks that share one cache instead of copies; empty = as the engine can."""
    max_tokens_per_step: tuple[PositiveInt, ...] = ()
    max_seqs: tuple[PositiveInt, ...] = ()
    roles: tuple[Role, ...] = ("aggregated", "disaggregated")
    max_gpus_per_replica: PositiveInt | None = None
    requests_per_probe: int = Field(1000, gt=0, le=10_000_000)
    seed: int = 0
    mixed_weights: bool = False
    """Whether prefill and decode of one request may run different weight formats."""
    unconstrained: bool = False
    """Also search what the engine cannot run, as a second result; the plan itself never uses it."""


class Survive(Frozen):
    """What may fail at a time with all demand still carried: any `nodes` nodes of one type, any `zones` zones."""

    nodes: int = Field(0, ge=0)
    zones: int = Field(0, ge=0)


class Quota(Frozen):
    """Most accelerators on some node types together, as a cloud grants them; whole nodes count."""

    nodes: tuple[str, ...] = Field(min_length=1)
    gpus: int = Field(ge=0)


class Pareto(Frozen):
    """Plans between two goals: the best in the first for each of `points` levels of the second."""

    goals: tuple[Goal, Goal]
    points: int = Field(5, ge=2, le=50)


class Limits(Frozen):
    """Hard limits on the whole plan; each binds or the scenario is infeasible."""

    usd_per_hour: UsdPerHour | None = None
    power_w: Watts | None = None
    gpus: PositiveInt | None = None
    min_replicas: PositiveInt = 1
    """Of every pool that is used."""
    max_replicas: PositiveInt | None = None
    max_pools: PositiveInt | None = None
    headroom: Share = Field(0.0, ge=0, lt=1)
    """Share of capacity kept free."""
    survive: Survive = Survive()
    """Failures after which the promises still hold; capacity then counts without headroom."""
    quotas: tuple[Quota, ...] = ()
    hold_at: Certainty = "expected"
    """Whether promises must hold as predicted, or even if every step takes longer by its error (80 % interval)."""


class Tolerances(Frozen):
    """Relative differences that `check` forgives; topology and counts must be equal."""

    usd_per_hour: Share = Field(0.02, ge=0)
    metrics: Share = Field(0.05, ge=0)


class Scenario(Frozen):
    """A question to the planner: which models, which traffic and promises, on what hardware, for which goals."""

    version: Literal[1]
    name: Name
    description: str = ""
    models: dict[Name, ServedModel] = Field(min_length=1)
    classes: tuple[RequestClass, ...] = Field(min_length=1)
    fleet: Fleet
    engine: Engine
    search: Search = Search()
    limits: Limits = Limits()
    objective: tuple[Goal, ...] = Field(("usd_per_hour",), min_length=1)
    pareto: Pareto | None = None
    """Further plans to compare with; the plan itself follows `objective`."""
    check: Tolerances = Tolerances()

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_a_number(cls, version: object) -> object:
        if type(version) is int and version != 1:
            raise ValueError(f"this release reads version 1, not {version}")
        if type(version) is not int:
            raise ValueError("must be 1")
        return version

    @model_validator(mode="after")
    def _names_resolve(self) -> Scenario:
        wrong(self, self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[Path, str]]:
        """Names inside the scenario that mean nothing or two things."""
        nodes = [node.name or node.node for node in self.fleet.nodes]
        for index, one in enumerate(self.classes):
            if one.model not in self.models:
                yield ("classes", index, "model"), f"no model of this scenario is called {one.model!r}"
            for name, node in one.graph.nodes.items() if one.graph is not None else ():
                if node.model is not None and node.model not in self.models:
                    at = ("classes", index, "graph", "nodes", name, "model")
                    yield at, f"no model of this scenario is called {node.model!r}"
        for index, network in enumerate(self.fleet.networks):
            for end, name in enumerate(network.between):
                if name not in nodes:
                    yield ("fleet", "networks", index, "between", end), f"no node of the fleet is called {name!r}"
        for index, quota in enumerate(self.limits.quotas):
            for place, name in enumerate(quota.nodes):
                if name not in nodes:
                    yield ("limits", "quotas", index, "nodes", place), f"no node of the fleet is called {name!r}"
        for index, one in enumerate(self.classes):
            if one.priority and self.engine.scheduling != "priority":
                yield ("classes", index, "priority"), "needs `engine: {scheduling: priority}`"
        regions = {node.region for node in self.fleet.nodes}
        for index, one in enumerate(self.classes):
            for place, region in enumerate(one.regions):
                if region not in regions:
                    yield ("classes", index, "regions", place), f"no node of the fleet stands in {region!r}"
        yield from self._goal_mistakes()
        for index in twice(one.name for one in self.classes):
            yield ("classes", index, "name"), f"another class is called {self.classes[index].name!r} too"
        for index in twice(nodes):
            key = "name" if self.fleet.nodes[index].name else "node"
            yield ("fleet", "nodes", index, key), f"another entry is called {nodes[index]!r} too - give each a `name`"
        for path, listed in self._lists():
            yield from (((*path, index), "is listed twice") for index in twice(listed))

    def _goal_mistakes(self) -> Iterator[tuple[Path, str]]:
        """Goals that cannot stand where they stand."""
        if self.pareto is not None and self.pareto.goals[0] == self.pareto.goals[1]:
            yield ("pareto", "goals"), "must be two different goals"
        if self.pareto is not None and "goodput" in self.pareto.goals:
            for index, goal in enumerate(self.pareto.goals):
                if goal in PER_TOKEN:
                    yield ("pareto", "goals", index), f"{goal} cannot be set against goodput - use {PER_TOKEN[goal]}"
        for index, goal in enumerate(self.objective):
            if goal in PER_TOKEN and "goodput" in self.objective[index:]:
                yield (
                    ("objective", index),
                    f"{goal} cannot come before goodput - put it after, or {PER_TOKEN[goal]} first",
                )

    def _lists(self) -> Iterator[tuple[Path, Sequence[object]]]:
        """Lists in which a repeated entry is a slip."""
        yield ("objective",), self.objective
        for key, served in self.models.items():
            yield ("models", key, "weights"), served.weights
            yield ("models", key, "kv"), served.kv
        for field in ("tp", "pp", "dp", "ep", "cp", "dcp", "max_tokens_per_step", "max_seqs", "roles"):
            yield ("search", field), getattr(self.search, field)
