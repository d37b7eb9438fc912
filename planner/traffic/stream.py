"""Stream: one request class ready to draw, preset looked up and trace read. Not the merging of several classes.

Each class has its own random streams, seeded by (seed, class name, purpose): another class, another rate or a longer
draw never changes its requests; a longer draw only goes on where a shorter one ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.spec.deployment import LLM
from planner.spec.graph import Graph, Session
from planner.spec.requests import Chains, Floats, Ints
from planner.spec.workload import Arrivals, Lengths, SharedPrefix
from planner.traffic import arrivals as process
from planner.traffic import chains
from planner.traffic.jobs import Jobs, draw_jobs
from planner.traffic.lengths import mean_tokens, token_pairs
from planner.traffic.recorded import Recorded

SAMPLE = 1000
"""Jobs from which the means of a graph are taken."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What a class asks for. Rates in requests per second, tokens are means per request.

    A walk of a graph or a turn of a session is a request here, its tokens those of all its prompts and answers.
    rate_per_s: mean over the profile or trace; of a job with a deadline, the rate that meets it; None when the class
    sets no rate (closed loop, job without deadline, trace without a span). peak_per_s: rate in the busiest step of the
    profile, else the same. concurrency: 0 unless closed loop. requests: size of a job or as the class says, else None.
    """

    name: str
    model: str
    rate_per_s: float | None
    peak_per_s: float | None
    input_tokens: float
    output_tokens: float
    concurrency: int = 0
    requests: int | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The first requests of one stream: arrival_s float64 [n] not falling, input_tokens and output_tokens int64 [n].

    chains: what their prompts have in common, None = nothing. jobs: what the n are instead, when they are walks of a
    graph or sessions; then no tokens stand here.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    chains: Chains | None = None
    jobs: Jobs | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One class: lengths from a distribution or from `recorded`, times from `arrivals` or (None) as recorded."""

    name: str
    model: str
    lengths: Lengths | None
    recorded: Recorded | None
    arrivals: Arrivals | None
    requests: int | None
    trace_scale: float = 1.0
    prefix: SharedPrefix | None = None
    graph: Graph | None = None
    session: Session | None = None
    priority: int = 0

    @property
    def concurrency(self) -> int:
        """Requests kept in flight; 0 unless this is a closed loop."""
        return (self.arrivals.concurrency or 0) if self.arrivals else 0

    @property
    def is_open(self) -> bool:
        """True when requests come in their own time: neither a closed loop nor a job."""
        return self.arrivals is None or self.arrivals.rate_per_s is not None

    @property
    def available(self) -> int | None:
        """Rows of a trace played in its own times; None when requests never run out."""
        return len(self.recorded) if self.recorded is not None and self.arrivals is None else None

    @property
    def rate_per_s(self) -> float | None:
        """Mean rate of an open loop; None for other streams and for a trace without a span."""
        if self.arrivals is None:
            rate = self.recorded.rate_per_s if self.recorded is not None else None
            return None if rate is None else rate * self.trace_scale
        return process.mean_rate_per_s(self.arrivals) if self.is_open else None

    @property
    def peak_per_s(self) -> float | None:
        """Rate in the busiest step of the profile; the mean rate without one."""
        if self.arrivals is not None and self.is_open:
            return process.peak_rate_per_s(self.arrivals)
        return self.rate_per_s

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean input and output tokens per request; of graphs and sessions from a sample, for nothing sums them up."""
        if self.graph is not None:
            return self._sampled[1:]
        if self.lengths is not None:
            return mean_tokens(self.lengths.input), mean_tokens(self.lengths.output)
        assert self.recorded is not None  # a stream has lengths or a trace
        return float(self.recorded.input_tokens.mean()), float(self.recorded.output_tokens.mean())

    def draw(self, n: int, seed: int, rate_scale: float, link_tokens: int = chains.LINK_TOKENS) -> Drawn:
        """The first n requests (fewer when a trace ends); jobs and closed loops all arrive at 0.

        link_tokens: links of a shared prefix; a trace brings its own.
        """
        times = self._times(n, seed, rate_scale)
        if self.graph is not None:
            none = np.zeros(0, np.int64)
            jobs = self._jobs(self.graph, n, seed)
            return Drawn(times, none, none, chains.of_jobs(jobs, link_tokens), jobs)
        if self.lengths is None:
            assert self.recorded is not None  # a stream has lengths or a trace
            rows = self._rows(n, seed)
            shared = self.recorded.chains.of(rows) if self.recorded.chains is not None else None
            return Drawn(times, self.recorded.input_tokens[rows], self.recorded.output_tokens[rows], shared)
        tokens = token_pairs(self.lengths, self._random(seed, "lengths").standard_normal((n, 2)))
        return Drawn(times, *tokens, self._shared(tokens[0], seed, link_tokens))

    def _shared(self, input_tokens: Ints, seed: int, link_tokens: int) -> Chains | None:
        if self.prefix is None:
            return None
        texts = self._random(seed, "prefix").integers(0, self.prefix.variants, len(input_tokens))
        return chains.shared(self.prefix, input_tokens, texts, link_tokens)

    def _jobs(self, graph: Graph, n: int, seed: int) -> Jobs:
        return draw_jobs(graph, self.session, n, lambda purpose: self._random(seed, purpose))

    @property
    def _sampled(self) -> tuple[float, float, float]:
        """Turns per job, and input and output tokens of all llm tasks per turn, of SAMPLE jobs."""
        assert self.graph is not None
        jobs = self._jobs(self.graph, SAMPLE, 0)
        is_llm = np.array([node.phase == LLM for node in self.graph.nodes.values()], np.bool_)[jobs.node]
        turns = int(jobs.turn[jobs.start[1:] - 1].sum()) + SAMPLE
        tokens = (float(jobs.input_tokens[is_llm].sum() / turns), float(jobs.output_tokens[is_llm].sum() / turns))
        return turns / SAMPLE, *tokens

    def _times(self, n: int, seed: int, rate_scale: float) -> Floats:
        if self.arrivals is None:
            return self._replay(seed)[:n] / (self.trace_scale * rate_scale)
        if not self.is_open:
            return np.zeros(n)
        gaps = process.unit_gaps(self._random(seed, "gaps"), self.arrivals.cv, n)
        return process.open_loop(self.arrivals, gaps, rate_scale)

    def _replay(self, seed: int) -> Floats:
        """Recorded times; times rounded to a grid are spread evenly over it, or bursts appear that never were."""
        assert self.recorded is not None  # a stream has arrivals or a trace
        times = self.recorded.arrival_s
        assert times is not None  # load() refuses a trace without times and arrivals
        if self.recorded.grid_s == 0:
            return times
        return np.sort(times + self.recorded.grid_s * self._random(seed, "jitter").random(len(times)))

    def _rows(self, n: int, seed: int) -> Ints:
        """Rows of the trace in its order; under another arrival process drawn with replacement."""
        assert self.recorded is not None
        if self.arrivals is None:
            return np.arange(min(n, len(self.recorded)))
        return np.floor(self._random(seed, "lengths").random(n) * len(self.recorded)).astype(np.int64)

    def _random(self, seed: int, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{seed}/{self.name}/{purpose}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))

    def offered(self) -> Offered:
        """What this class asks for."""
        deadline = self.arrivals.deadline_s if self.arrivals else None
        rate, peak = self.rate_per_s, self.peak_per_s
        if deadline and self.requests:
            rate = peak = self.requests / deadline
        if self.session is not None:
            turns = self._sampled[0]
            rate, peak = rate and rate * turns, peak and peak * turns
        return Offered(
            self.name, self.model, rate, peak, *self.mean_tokens, self.concurrency, self.requests, deadline
        )  # fmt: skip

    def at_peak(self) -> Stream:
        """The same stream without profile, at the rate of its busiest step."""
        if self.arrivals is None or not self.arrivals.profile:
            return self
        flat = self.arrivals.model_copy(update={"rate_per_s": self.peak_per_s, "profile": ()})
        return replace(self, arrivals=flat)


def priorities(streams: Sequence[Stream]) -> tuple[int, ...]:
    """Of each class; nothing when all are equal."""
    found = tuple(stream.priority for stream in streams)
    return found if len(set(found)) > 1 else ()
