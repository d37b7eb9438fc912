"""Workload: who asks how much, how often, as data. It draws nothing: `planner.traffic` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Name, Path, wrong
from planner.spec.graph import Graph, Session
from planner.spec.lengths import Length, exactly_one
from planner.spec.precision import Dtype, KvDtype
from planner.spec.slo import Slo
from planner.units import PerSecond, Seconds


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


MOST_PER_S = 1e9
"""No service sees more; the arithmetic of integer shares and counts stays in range below."""


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
        if self.rate_per_s is not None and self.rate_per_s > MOST_PER_S:
            yield ("rate",), "must be at most 1e9/s"
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
    variants: int = Field(1, gt=0, le=1_000_000_000)


class Precision(Frozen):
    """The narrowest formats that serve a class, by bits per value; empty = whatever the model is permitted in."""

    weights: Dtype | None = None
    kv: KvDtype | None = None


class RequestClass(Frozen):
    """One kind of request: its model, its lengths (preset, distribution, trace) or graph, its arrivals, its SLO.

    With a session, arrivals and `requests` are those of sessions; the SLO holds for their turns.
    """

    name: Name
    model: str
    """Key of `models` in the scenario."""
    preset: str | None = None
    lengths: Lengths | None = None
    trace: Trace | None = None
    graph: Graph | None = Field(None, exclude_if=lambda graph: graph is None)
    session: Session | None = Field(None, exclude_if=lambda session: session is None)
    arrivals: Arrivals | None = None
    """May be left out for a trace (its own times) and for a preset that carries arrivals."""
    requests: PositiveInt | None = None
    """Requests to simulate; offline classes: the size of the job."""
    prefix: SharedPrefix | None = None
    """What prompts have in common, for the prefix cache; the tokens are part of the input."""
    slo: Slo = Slo()
    priority: int = Field(0, exclude_if=lambda priority: priority == 0)
    """Lower goes first where the engine goes by priority."""
    regions: tuple[str, ...] = ()
    """Regions of node types that may serve it; empty = any."""
    precision: Precision = Precision()
    """What its answers need, when the model is permitted in formats that are not good enough for them."""

    @model_validator(mode="after")
    def _one_source(self) -> RequestClass:
        exactly_one(self, "preset", "lengths", "trace", "graph")
        if self.prefix is not None and self.trace is not None:
            wrong(self, [(("prefix",), "a trace says itself what its prompts have in common (`hash_ids`)")])
        if self.arrivals is None and (self.lengths is not None or self.graph is not None):
            given = "lengths" if self.graph is None else "graph"
            raise ValueError(f"`{given}` need `arrivals`: a rate, a concurrency or all_at_once")
        wrong(self, self._walks())
        if self.arrivals is not None and self.arrivals.all_at_once and self.trace is None and self.requests is None:
            wrong(self, [(("arrivals", "all_at_once"), "how many requests? - give `requests` of the class")])
        return self

    def _walks(self) -> Iterator[tuple[Path, str]]:
        if self.session is not None and self.trace is not None:
            yield ("session",), "belongs to `lengths`, `preset` or `graph`: a trace says by itself who comes back"
        if self.graph is not None and all(node.phase != "llm" for node in self.graph.nodes.values()):
            yield ("graph", "nodes"), "no node is an `llm`, so nobody answers"
        if self.walks and self.prefix is not None:
            yield ("prefix",), "belongs to plain requests: prompts of a graph or a session say what went before"

    @property
    def walks(self) -> bool:
        """Whether its requests are walks through a graph or turns of a session, not one prompt and one answer."""
        return self.graph is not None or self.session is not None
