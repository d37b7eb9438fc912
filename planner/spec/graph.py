"""Graph: what a request does beside one prompt and one answer - tools, encoders, loops - as data. It draws nothing.

A request starts at the entry. After a node it takes every edge without a probability, and at most one of those with
one; when an edge has been taken `max_visits` times, the others share its probability. A node is visited each time an
edge leads to it, except a `join`: it waits for all that can still come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from planner.spec.base import Frozen
from planner.spec.checks import Name, Path, Share, wrong
from planner.spec.lengths import Length, exactly_one
from planner.units import Bytes, Seconds

NodePhase = Literal["llm", "encode", "preprocess", "tool", "retrieve", "lookup"]
ROUNDING = 1e-9


class UniformTime(Frozen):
    low_s: Seconds
    high_s: Seconds

    @model_validator(mode="after")
    def _ordered(self) -> UniformTime:
        if self.low_s > self.high_s:
            raise ValueError(f"low ({self.low_s:g} s) exceeds high ({self.high_s:g} s)")
        return self


class LognormalTime(Frozen):
    """Times with this mean and coefficient of variation, cut at `max`."""

    mean_s: Seconds = Field(gt=0)
    cv: float = Field(gt=0)
    max_s: Seconds | None = None


class Duration(Frozen):
    """Distribution of a time; exactly one form. `exponential` is its mean."""

    fixed_s: Seconds | None = None
    uniform: UniformTime | None = None
    exponential_s: Seconds | None = None
    lognormal: LognormalTime | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Duration:
        exactly_one(self, "fixed_s", "uniform", "exponential_s", "lognormal")
        return self


class Node(Frozen):
    """One phase of a request. `llm` is prefill and decode; `encode` works on `input` tokens of images or sound.

    The others take `seconds`, on a service of the deployment or, where none is routed, as a mere delay. `tokens` is
    what their result adds to later prompts; an encoder adds its input.
    """

    phase: NodePhase
    model: str | None = None
    """Key of `models` in the scenario; empty = that of the class."""
    input: Length | None = None
    """Tokens that are new with this node: the prompt without the history, or what an encoder works on."""
    output: Length | None = None
    correlation: float = Field(0.0, ge=-1, le=1)
    seconds: Duration | None = None
    tokens: Length | None = None
    history: bool = True
    """Whether the prompt begins with what went before in the session; without it only the output goes on to others."""
    join: bool = False


class Arc(Frozen):
    """From the end of one node to the start of another, after `bytes` have moved and then `delay` has passed."""

    source: str
    target: str
    probability: Share | None = Field(None, gt=0, le=1)
    max_visits: PositiveInt | None = None
    """Most times a request takes this edge; a loop needs one."""
    bytes: Bytes = 0.0
    bytes_per_token: Bytes = 0.0
    """Times the tokens that the source made: its output, its result, or what it encoded."""
    delay_s: Seconds = 0.0


class Graph(Frozen):
    """Nodes by name, edges between them, and where a request enters."""

    entry: str
    nodes: dict[Name, Node] = Field(min_length=1)
    edges: tuple[Arc, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Graph:
        wrong(self, self._strangers())
        wrong(self, self._mistakes())
        return self

    def _strangers(self) -> Iterator[tuple[Path, str]]:
        """Names of nodes that are not there."""
        if self.entry not in self.nodes:
            yield ("entry",), f"no node is called {self.entry!r}"
        for index, edge in enumerate(self.edges):
            for end, name in (("source", edge.source), ("target", edge.target)):
                if name not in self.nodes:
                    yield ("edges", index, end), f"no node is called {name!r}"

    def _mistakes(self) -> Iterator[tuple[Path, str]]:
        reached = self.reach(self.entry) | {self.entry}
        for name, node in self.nodes.items():
            if name not in reached:
                yield ("nodes", name), "is never reached from the entry"
            yield from ((("nodes", name, key), what) for key, what in _misfits(node))
            if node.join and sum(edge.target == name for edge in self.edges) < 2:
                yield ("nodes", name, "join"), "waits for nobody: fewer than two edges lead here"
            if node.join and name == self.entry:
                yield ("nodes", name, "join"), "the entry has nobody to wait for"
        yield from self._improbable()
        yield from self._endless()

    def _improbable(self) -> Iterator[tuple[Path, str]]:
        """Probabilities of the edges that leave a node must not exceed 1."""
        total: dict[str, float] = {}
        for index, edge in enumerate(self.edges):
            total[edge.source] = total.get(edge.source, 0.0) + (edge.probability or 0.0)
            if edge.probability is not None and total[edge.source] > 1 + ROUNDING:
                sum_ = f"{total[edge.source]:g}"
                yield ("edges", index, "probability"), f"the edges from {edge.source!r} add up to {sum_}, more than 1"

    def _endless(self) -> Iterator[tuple[Path, str]]:
        """Edges without a bound must not close a loop; the edge that closes it is named."""
        free = [(index, edge) for index, edge in enumerate(self.edges) if edge.max_visits is None]
        for k, (index, edge) in enumerate(free):
            if edge.source == edge.target or edge.source in _reach([e for _, e in free[:k]], edge.target):
                yield ("edges", index), f"closes a loop through {edge.target!r} without a bound - give it `max_visits`"

    def reach(self, name: str) -> set[str]:
        """Nodes that can follow a node."""
        return _reach(self.edges, name)


def _reach(edges: tuple[Arc, ...] | list[Arc], name: str) -> set[str]:
    found: set[str] = set()
    front = [name]
    while front:
        here = front.pop()
        following = {edge.target for edge in edges if edge.source == here} - found
        found |= following
        front += sorted(following)
    return found


def _misfits(node: Node) -> Iterator[tuple[str, str]]:
    """Fields that a phase needs or cannot use."""
    engine = node.phase in ("llm", "encode")
    needed = {"llm": ["input", "output"], "encode": ["input"]}
    needs = needed.get(node.phase, [])
    useless = ["seconds"] if engine else ["input", "output", "model"]
    useless += {"llm": ["tokens"], "encode": ["output"]}.get(node.phase, [])
    yield from ((key, f"a node of phase {node.phase} needs `{key}`") for key in needs if getattr(node, key) is None)
    yield from ((key, f"means nothing in phase {node.phase}") for key in useless if getattr(node, key) is not None)


class Session(Frozen):
    """A user who comes back: `turns` requests, each `think` after the answer before, with all of it in the prompt."""

    turns: Length
    think: Duration = Duration(fixed_s="0 s")
