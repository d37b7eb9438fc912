"""Deployment: pools of equal replicas, the edges between them, and who serves which class. What runs, not how well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Name, Path, twice, wrong
from planner.spec.precision import Dtype, KvDtype
from planner.units import BytesPerSecond, Seconds

ServicePhase = Literal["preprocess", "tool", "retrieve", "lookup"]
Phase = Literal["preprocess", "encode", "prefill", "decode", "denoise", "tool", "retrieve", "lookup", "train"]


SERVICES: tuple[ServicePhase, ...] = get_args(ServicePhase)
LLM = "llm"
"""What a node of a graph calls prefill and decode together."""


class Parallelism(Frozen):
    """How one replica is cut: tensor, pipeline, attention-data, expert and context parallel degrees.

    tp * pp * dp * cp accelerators make a replica; ep divides tp * dp (1 = experts are tensor-parallel).
    Independent copies are `Pool.replicas`, never dp. cp: ranks with copies of the weights share the tokens of a prompt
    and its cache (prefill context parallelism). dcp: ranks of one tensor-parallel group share a cache that they would
    hold copies of (decode context parallelism); it takes no further accelerators.
    """

    tp: PositiveInt = 1
    pp: PositiveInt = 1
    dp: PositiveInt = 1
    ep: PositiveInt = 1
    cp: PositiveInt = 1
    dcp: PositiveInt = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.dp * self.cp

    def __str__(self) -> str:
        degrees = [f"{name}{n}" for name, n in self if n > 1 or name == "tp"]
        return " ".join(degrees)


class Pool(Frozen):
    """Equal replicas that run the same phases of one model."""

    name: Name
    model: str
    """Catalog name."""
    node: str
    """Node type of the fleet (its `name`)."""
    accelerator: str
    phases: tuple[Phase, ...] = ("prefill", "decode")
    parallelism: Parallelism = Parallelism()
    replicas: PositiveInt = 1
    weights: Dtype = "bf16"
    kv: KvDtype = "bf16"
    max_seqs: PositiveInt = 256
    max_tokens_per_step: PositiveInt = 8192

    @property
    def gpus(self) -> int:
        return self.replicas * self.parallelism.gpus

    @property
    def encodes(self) -> bool:
        """Whether it runs the encoder of its model instead of the model."""
        return self.phases == ("encode",)


class Service(Frozen):
    """Equal replicas that no accelerator runs: tools, retrieval, look-ups. Each works on `servers` tasks at a time."""

    name: Name
    phases: tuple[ServicePhase, ...] = Field(min_length=1)
    replicas: PositiveInt = 1
    servers: PositiveInt = 1
    service_s: Seconds = 0.0
    """Time of a task on top of what its node says."""


class Edge(Frozen):
    """Bytes move from pool to pool or service: KV from prefill to decode, what a task made to those that wait for it.

    All that leaves a replica goes over its one link in turn, at this bandwidth and after this latency each.
    """

    source: str
    target: str
    bandwidth_bytes_per_s: BytesPerSecond = Field(gt=0)
    latency_s: Seconds = 20e-6
    streamed: bool = Field(False, exclude_if=lambda streamed: not streamed)
    """The cache of a prompt goes layer by layer while the prompt is computed, not whole behind it."""


class Route(Frozen):
    """A share of a request class goes to a pool (the prefill pool of a split) or a service.

    Of a class with a graph it takes the nodes whose phase it runs and whose model it has; with `node`, that one only.
    """

    request_class: str
    pool: str
    share: float = Field(1.0, gt=0, le=1)
    node: str | None = Field(None, exclude_if=lambda node: node is None)


class Deployment(Frozen):
    """What runs: pools of replicas, edges between them, and which pool serves which class."""

    pools: tuple[Pool, ...] = Field(min_length=1)
    services: tuple[Service, ...] = Field((), exclude_if=lambda services: not services)
    edges: tuple[Edge, ...] = ()
    routes: tuple[Route, ...] = Field(min_length=1)
    router: str = "round_robin"
    nodes: dict[str, PositiveInt] = Field({}, exclude_if=lambda nodes: not nodes)
    """Nodes that replicas are spread over, by type, where they are more than the fewest that hold them."""

    @property
    def places(self) -> tuple[Pool | Service, ...]:
        """Where tasks can go: the pools, then the services."""
        return (*self.pools, *self.services)

    def routes_of(self, class_name: str, node: str, phase: str, model: str = "") -> tuple[Route, ...]:
        """Routes of a class whose pools run a node of this phase (`llm`: a pool that prefills) and model ("" = any)."""
        starts = "prefill" if phase == LLM else phase
        serving = {one.name for one in self.places if starts in one.phases and model in ("", getattr(one, "model", ""))}
        mine = (route for route in self.routes if route.request_class == class_name and route.pool in serving)
        return tuple(route for route in mine if route.node in (None, node))

    def ends(self, pool: str) -> tuple[str, ...]:
        """Pools in which a request that enters at `pool` ends: itself, or the decode pools behind it."""
        phases = {one.name: one.phases for one in self.places}
        if "prefill" not in phases[pool] or "decode" in phases[pool]:
            return (pool,)
        return tuple(edge.target for edge in self.edges if edge.source == pool and "decode" in phases[edge.target])

    @model_validator(mode="after")
    def _names_resolve(self) -> Deployment:
        wrong(self, self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[Path, str]]:
        """Names inside the deployment that mean nothing or two things."""
        names = [one.name for one in self.places]
        for index in twice(names):
            at = ("pools", index) if index < len(self.pools) else ("services", index - len(self.pools))
            yield (*at, "name"), f"another pool is called {names[index]!r} too"
        for index, edge in enumerate(self.edges):
            for end, name in (("source", edge.source), ("target", edge.target)):
                if name not in names:
                    yield ("edges", index, end), f"no pool is called {name!r}"
        for index, route in enumerate(self.routes):
            if route.pool not in names:
                yield ("routes", index, "pool"), f"no pool is called {route.pool!r}"
