"""Request classes -> one arrival-ordered stream of requests, and what they offer. Not the distributions themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.errors import BadInput, Problem, raise_all
from planner.spec.requests import Requests
from planner.spec.workload import RequestClass
from planner.traffic.arrivals import require_positive_scale
from planner.traffic.chains import LINK_TOKENS, join, one_size
from planner.traffic.jobs import one_node
from planner.traffic.presets import Preset, preset, shipped
from planner.traffic.readers import read
from planner.traffic.stream import Drawn, Offered, Stream, priorities
from planner.traffic.tasks import as_tasks

DEFAULT_REQUESTS = 1000
"""A p99 needs about a thousand requests."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Request classes with presets looked up and traces read, so that many draws read each file once."""

    streams: tuple[Stream, ...]

    def draw(self, *, seed: int, requests: int | None = None, rate_scale: float = 1.0) -> Requests:
        """One stream of all classes in order of arrival, ties by class and then by index within the class.

        requests: most requests of all open classes together, and most of each job and closed loop. None: enough that
        each class gets on average what its `requests` says (a trace: all its rows; nobody says: 1000 per class).
        rate_scale multiplies every rate and never changes lengths or order within a class; jobs and closed loops
        have no rate. When a trace ends, the stream of several open classes ends with it.
        Raises BadInput when a closed loop stands beside other classes: then their shares in flight are not defined.
        """
        require_positive_scale(rate_scale)
        self._check_closed_loops()
        size = _open_size(self.streams) if requests is None else requests
        sizes = [size if stream.is_open else _closed_size(stream, requests) for stream in self.streams]
        link_tokens = _link_tokens(self.streams)
        drawn = [stream.draw(n, seed, rate_scale, link_tokens) for stream, n in zip(self.streams, sizes, strict=True)]
        concurrency = max((stream.concurrency for stream in self.streams), default=0)
        return _merge(self.streams, drawn, size, concurrency)

    def offered(self) -> tuple[Offered, ...]:
        """What each class asks for, in order."""
        return tuple(stream.offered() for stream in self.streams)

    def at_peak(self) -> Traffic:
        """The same classes at the flat rate of the busiest step of their profiles.

        A thousand requests last seconds or minutes: under a weekly profile they would show the first half hour only.
        """
        return Traffic(tuple(stream.at_peak() for stream in self.streams))

    @property
    def cycle_s(self) -> float:
        """Length of the longest profile, after which it repeats; 0 without profiles."""
        found = [s.arrivals for s in self.streams if s.arrivals is not None and s.arrivals.profile]
        return max((len(one.profile) * one.profile_step_s for one in found), default=0.0)

    def _check_closed_loops(self) -> None:
        closed = [stream.name for stream in self.streams if stream.concurrency]
        if closed and len(self.streams) > 1:
            what = f"class {closed[0]!r} is a closed loop and cannot share with other classes"
            raise BadInput(Problem(what, hint="give it a rate, or plan it alone"))


def load(classes: Sequence[RequestClass], folder: Path, known: Mapping[str, Preset] | None = None) -> Traffic:
    """Look up presets in `known` (None: the shipped ones) and read traces, relative ones from `folder`.

    Raises one BadInput with the problems of all classes.
    """
    streams: list[Stream] = []
    problems: list[Problem] = []
    for one in classes:
        try:
            streams.append(_stream(one, folder, shipped() if known is None else known))
        except BadInput as error:
            problems += error.problems
    raise_all(problems)
    return Traffic(tuple(streams))


def draw(
    classes: Sequence[RequestClass], *, seed: int, folder: Path, requests: int | None = None, rate_scale: float = 1.0
) -> Requests:
    """Load and draw once; see Traffic.draw. Who draws often loads once."""
    return load(classes, folder).draw(seed=seed, requests=requests, rate_scale=rate_scale)


def offered(classes: Sequence[RequestClass], folder: Path) -> tuple[Offered, ...]:
    """What each class asks for, in order."""
    return load(classes, folder).offered()


def mean_rate(classes: Sequence[RequestClass], folder: Path) -> float:
    """Requests per second of all classes together; classes without a rate count nothing."""
    return sum(one.rate_per_s or 0.0 for one in offered(classes, folder))


def _stream(one: RequestClass, folder: Path, known: Mapping[str, Preset]) -> Stream:
    if one.trace is not None:
        return _trace_stream(one, folder)
    lengths, arrivals = one.lengths, one.arrivals
    if one.preset is not None:
        chosen = preset(one.preset, known)
        lengths, arrivals = chosen.lengths, one.arrivals or chosen.arrivals
    if arrivals is None:
        hint = "give arrivals: rate, concurrency or all_at_once"
        raise BadInput(Problem(f"class {one.name!r}: preset {one.preset!r} has no arrivals of its own", hint=hint))
    graph = one_node(lengths) if one.session is not None and lengths is not None else one.graph
    session = None if graph is None else one.session
    return Stream(
        one.name, one.model, lengths, None, arrivals, one.requests, prefix=one.prefix, graph=graph, session=session,
        priority=one.priority,
    )  # fmt: skip


def _trace_stream(one: RequestClass, folder: Path) -> Stream:
    assert one.trace is not None
    recorded = read(folder / one.trace.file, one.trace.format).head(one.trace.limit)
    if one.arrivals is None and recorded.arrival_s is None:
        hint = "give arrivals: rate, concurrency or all_at_once"
        raise BadInput(Problem(f"class {one.name!r}: the trace holds lengths but no times", hint=hint))
    if one.arrivals is not None and one.trace.rate_scale != 1.0:
        hint = "leave it out, or leave out arrivals"
        raise BadInput(Problem(f"class {one.name!r}: rate_scale scales the trace's own times only", hint=hint))
    requests = one.requests
    if one.arrivals is not None and one.arrivals.all_at_once:
        requests = requests or len(recorded)
    return Stream(
        one.name, one.model, None, recorded, one.arrivals, requests, one.trace.rate_scale, priority=one.priority
    )


def _link_tokens(streams: Sequence[Stream]) -> int:
    """Of a trace with prefix hashes, else the usual."""
    traces = [stream.recorded.chains for stream in streams if stream.recorded is not None]
    known = [chains for chains in traces if chains is not None]
    return one_size(known) if known else LINK_TOKENS


def _closed_size(stream: Stream, requests: int | None) -> int:
    if stream.concurrency:
        return requests or stream.requests or DEFAULT_REQUESTS
    assert stream.requests is not None  # RequestClass asks a job for its size, a trace has one
    return min(stream.requests, requests or stream.requests)


def _open_size(streams: Sequence[Stream]) -> int:
    """Requests of all open streams together, such that each gets on average as many as it says."""
    opened = [stream for stream in streams if stream.is_open]
    total_per_s = sum(stream.rate_per_s or 0.0 for stream in opened)
    wanted = [(stream.requests or stream.available, stream.rate_per_s) for stream in opened]
    sizes = [n * total_per_s / rate if rate else float(n) for n, rate in wanted if n]
    return math.ceil(max(sizes, default=DEFAULT_REQUESTS * len(opened)) - 1e-6)


def _merge(streams: Sequence[Stream], drawn: Sequence[Drawn], open_size: int, concurrency: int) -> Requests:
    """All streams in order, cut at `open_size` open requests and at the end of a trace; jobs come at 0, hence whole."""
    arrival_s = np.concatenate([d.arrival_s for d in drawn])
    class_index = np.repeat(np.arange(len(drawn), dtype=np.int64), [len(d.arrival_s) for d in drawn])
    order = np.argsort(arrival_s, kind="stable")
    opened = np.array([stream.is_open for stream in streams])[class_index[order]]
    ends = [d.arrival_s[-1] for s, d in zip(streams, drawn, strict=True) if s.is_open and len(d.arrival_s) < open_size]
    order = order[(np.cumsum(opened) <= open_size) & (arrival_s[order] <= min(ends, default=np.inf))]
    if any(d.jobs is not None for d in drawn):
        return as_tasks(streams, drawn, order, concurrency)
    chains = join([(len(d.arrival_s), d.chains) for d in drawn])
    return Requests(
        arrival_s[order],
        np.concatenate([d.input_tokens for d in drawn])[order],
        np.concatenate([d.output_tokens for d in drawn])[order],
        class_index[order],
        tuple(stream.name for stream in streams),
        concurrency,
        chains=chains.of(order) if chains is not None else None,
        priorities=priorities(streams),
    )
