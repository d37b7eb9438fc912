"""Jobs: many walks drawn into arrays of tasks, sessions as walks one after the other. It knows no arrivals.

Every purpose has a random stream of its own that is used up in the order of the jobs, so a longer draw only goes on
where a shorter one ends, and a graph of one node draws what a class without a graph draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.spec.deployment import LLM
from planner.spec.graph import Graph, Node, Session
from planner.spec.requests import Floats, Ints
from planner.spec.workload import Lengths
from planner.traffic.durations import seconds
from planner.traffic.lengths import correlated, tokens
from planner.traffic.walk import Map, Visit, ends, walk

Dice = Callable[[str], np.random.Generator]
"""A purpose -> its random stream."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """n jobs as m tasks. start [n + 1]: first task of each. turn [m]: 0, 1, ... within the job. node [m].

    Links [k], sorted by parent: parent, child (tasks), delay_s, bytes.
    """

    start: Ints
    turn: Ints
    node: Ints
    input_tokens: Ints
    output_tokens: Ints
    history_tokens: Ints
    service_s: Floats
    parent: Ints
    child: Ints
    delay_s: Floats
    bytes: Floats


@dataclass(slots=True)
class Shape:
    """Tasks and links of many jobs while they are collected; lists of equal meaning as in Jobs. edge -1: a pause."""

    start: list[int]
    turn: list[int]
    node: list[int]
    parent: list[int]
    child: list[int]
    edge: list[int]
    pause: list[int]


def one_node(lengths: Lengths) -> Graph:
    """A plain class as a graph."""
    node = Node(phase=LLM, input=lengths.input, output=lengths.output, correlation=lengths.correlation)
    return Graph(entry=LLM, nodes={LLM: node})


def draw_jobs(graph: Graph, session: Session | None, n: int, dice: Dice) -> Jobs:
    """n jobs of a class."""
    shape, pauses = _shapes(graph, session, n, dice)
    node, m = np.array(shape.node, np.int64), len(shape.node)
    scores, times = dice("lengths").standard_normal((m, 2)), dice("seconds").standard_normal(m)
    own, output, result = np.zeros(m, np.int64), np.zeros(m, np.int64), np.zeros(m, np.int64)
    service_s = np.zeros(m)
    for k, one in enumerate(graph.nodes.values()):
        mine = np.flatnonzero(node == k)
        own[mine], output[mine], result[mine] = _counts(one, scores[mine])
        if one.seconds is not None:
            service_s[mine] = seconds(one.seconds, times[mine])
    parent, child = np.array(shape.parent, np.int64), np.array(shape.child, np.int64)
    before, history = _contexts(graph, shape, own, output, result)
    edge, paused = np.array(shape.edge, np.int64), np.array(shape.pause, np.int64)
    arcs = [*graph.edges]
    fixed = np.array([*(arc.bytes for arc in arcs), 0.0])
    per_token = np.array([*(arc.bytes_per_token for arc in arcs), 0.0])
    delays = np.array([*(arc.delay_s for arc in arcs), 0.0])
    delay_s = np.where(edge < 0, pauses[paused] if len(pauses) else 0.0, delays[edge])
    order = np.argsort(parent, kind="stable")
    return Jobs(
        start=np.array(shape.start, np.int64), turn=np.array(shape.turn, np.int64), node=node,
        input_tokens=own + before, output_tokens=output, history_tokens=history, service_s=service_s,
        parent=parent[order], child=child[order], delay_s=delay_s[order],
        bytes=np.asarray(fixed[edge] + per_token[edge] * result[parent], np.float64)[order],
    )  # fmt: skip


def _shapes(graph: Graph, session: Session | None, n: int, dice: Dice) -> tuple[Shape, Floats]:
    """Walks of n jobs, and the pauses between turns, seconds."""
    shape, of, random = Shape([0], [], [], [], [], [], []), Map.of(graph), dice("graph")
    turns = np.ones(n, np.int64) if session is None else tokens(session.turns, dice("turns").standard_normal(n))
    pauses = 0
    for count in turns.tolist():
        last: list[int] = []
        for turn in range(count):
            pauses += turn > 0
            last = _append(shape, walk(of, random), turn, last, pauses - 1)
        shape.start.append(len(shape.node))
    thought = dice("think").standard_normal(pauses)
    return shape, np.zeros(0) if session is None else seconds(session.think, thought)


def _append(shape: Shape, visits: Sequence[Visit], turn: int, last: Sequence[int], pause: int) -> list[int]:
    """Add one walk; it begins when the last tasks of the turn before have ended. Its own last tasks."""
    base = len(shape.node)
    for row in last:
        _link(shape, row, base, -1, pause)
    for row, visit in enumerate(visits):
        shape.turn.append(turn)
        shape.node.append(visit.node)
        for parent, edge in visit.came:
            _link(shape, base + parent, base + row, edge, -1)
    return [base + row for row in ends(visits)]


def _link(shape: Shape, parent: int, child: int, edge: int, pause: int) -> None:
    shape.parent.append(parent)
    shape.child.append(child)
    shape.edge.append(edge)
    shape.pause.append(pause)


def _counts(node: Node, scores: Floats) -> tuple[Ints, Ints, Ints]:
    """(own input, output, tokens of the result) of the visits of a node, from two scores each."""
    of_input, of_output = correlated(scores, node.correlation)
    none = np.zeros(len(scores), np.int64)
    if node.input is None:
        return none, none, none if node.tokens is None else tokens(node.tokens, of_input)
    own = tokens(node.input, of_input)
    if node.output is not None:
        output = tokens(node.output, of_output)
        return own, output, output
    return own, none + 1, own if node.tokens is None else tokens(node.tokens, of_output)


def _contexts(graph: Graph, shape: Shape, own: Ints, output: Ints, result: Ints) -> tuple[Ints, Ints]:
    """(tokens before the own ones in each prompt, how many of those an llm task of the job has seen)."""
    nodes = list(graph.nodes.values())
    keeps = np.array([node.phase == LLM and node.history for node in nodes], np.bool_)[shape.node]
    adds = np.where(keeps, own + output, result).tolist()
    before, history = [0] * len(shape.node), [0] * len(shape.node)
    seen = [0] * len(shape.node)
    came: list[list[int]] = [[] for _ in shape.node]
    for parent, child in zip(shape.parent, shape.child, strict=True):
        came[child].append(parent)
    past: list[int] = []  # of the tasks of a job: which of the earlier ones lead to it, as bits
    first = 0
    for row, parents in enumerate(came):
        if not parents:
            first, past = row, []
        mask = 0
        for p in parents:
            mask |= past[p - first] | 1 << (p - first)
        past.append(mask)
        if len(parents) == 1:
            before[row] = before[parents[0]] + adds[parents[0]]
        elif parents:
            before[row] = sum(adds[first + bit] for bit in range(row - first) if mask >> bit & 1)
        history[row] = max((seen[p] for p in parents), default=0)
        seen[row] = max(history[row], before[row] + own[row] + output[row]) if keeps[row] else history[row]
    begins = np.where(keeps, np.array(before, np.int64), 0)
    return begins, np.where(keeps, np.array(history, np.int64), 0)
