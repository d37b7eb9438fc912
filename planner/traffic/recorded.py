"""Recorded: a trace as checked columns. Not how a file is laid out (the readers) nor how it is played (streams)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from planner.errors import BadInput, Problem, Where, raise_all
from planner.spec.requests import Chains, Floats, Ints

MOST_PROBLEMS = 20
MOST_TOKENS = 2**31


@dataclass(frozen=True, slots=True)
class Recorded:
    """n recorded requests in file order.

    arrival_s: float64 [n], not falling, the first at 0; None when the file holds lengths only. input_tokens,
    output_tokens: int64 [n], >= 1. grid_s: the publisher rounded the times down to multiples of it (0 = exact).
    failed: rows left out because the recorded service answered nothing. chains: what the prompts have in common, if the
    file says so.
    """

    arrival_s: Floats | None
    input_tokens: Ints
    output_tokens: Ints
    grid_s: float = 0.0
    failed: int = 0
    chains: Chains | None = None

    def __len__(self) -> int:
        return len(self.input_tokens)

    @property
    def span_s(self) -> float:
        """Seconds from the first to the last arrival; 0 without times."""
        return float(self.arrival_s[-1]) if self.arrival_s is not None else 0.0

    @property
    def rate_per_s(self) -> float | None:
        """Mean rate, None without times or without a span."""
        return (len(self) - 1) / self.span_s if self.span_s > 0 else None

    def head(self, limit: int | None) -> Recorded:
        """The first `limit` rows."""
        times = self.arrival_s[:limit] if self.arrival_s is not None else None
        chains = self.chains.of(np.arange(len(self))[:limit]) if self.chains is not None else None
        return Recorded(times, self.input_tokens[:limit], self.output_tokens[:limit], self.grid_s, self.failed, chains)


@dataclass(slots=True)
class Sheet:
    """Rows while a file is read: raw numbers, their lines, and the problems so far."""

    file: str
    lines: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    inputs: list[float] = field(default_factory=list)
    outputs: list[float] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: int = 0

    def add(self, line: int, time_s: float, input_tokens: float, output_tokens: float) -> None:
        """One row as read, not yet checked."""
        self.lines.append(line)
        self.times.append(time_s)
        self.inputs.append(input_tokens)
        self.outputs.append(output_tokens)

    def refuse(self, line: int, what: str, hint: str = "") -> None:
        """Note a problem; after MOST_PROBLEMS give up, for the rest is likely the same."""
        self.problems.append(Problem(what, Where(self.file, line), hint))
        if len(self.problems) >= MOST_PROBLEMS:
            raise BadInput(*self.problems)

    def finish(self, *, timed: bool = True, grid_s: float = 0.0) -> Recorded:
        """The checked columns, or one BadInput with every problem."""
        if not self.lines and not self.problems:
            raise BadInput(Problem("no requests in the trace", Where(self.file)))
        self._check_tokens("input", self.inputs)
        self._check_tokens("output", self.outputs)
        if timed:
            self._check_times()
        raise_all(self.problems)
        times = np.array(self.times, dtype=np.float64)
        inputs, outputs = (np.array(column).astype(np.int64) for column in (self.inputs, self.outputs))
        return Recorded(times - times[0] if timed else None, inputs, outputs, grid_s, self.failed)

    def _check_tokens(self, side: str, column: Sequence[float]) -> None:
        values = np.array(column, dtype=np.float64)
        fine = (values >= 1) & (values <= MOST_TOKENS) & (values == np.floor(values))
        self._refuse_rows(~fine, lambda i: f"{side} tokens must be a whole number from 1, not {column[i]:.15g}")

    def _check_times(self) -> None:
        times = np.array(self.times, dtype=np.float64)
        fine = np.isfinite(times) & (times >= 0)
        self._refuse_rows(~fine, lambda i: f"arrival time must be finite and not negative, not {times[i]:.15g}")
        falls = np.flatnonzero(times[1:] < times[:-1]) + 1
        if len(falls):
            line = self.lines[int(falls[0])]
            self.refuse(line, "arrival time is earlier than in the row before", "sort the trace by its time column")

    def _refuse_rows(self, bad: NDArray[np.bool_], what: Callable[[int], str]) -> None:
        for i in np.flatnonzero(bad)[:MOST_PROBLEMS].tolist():
            self.refuse(self.lines[i], what(i))
