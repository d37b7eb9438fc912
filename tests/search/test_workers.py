"""Answers keep the order of the items whatever computes them."""

from __future__ import annotations

from planner.search.workers import Processes, Serial


def test_processes_answer_as_serial_does() -> None:
    items = list(range(11))
    with Processes(2, chunk=3) as two:
        assert list(two.map(abs, items)) == list(Serial().map(abs, items)) == items
