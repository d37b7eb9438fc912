"""serveplan trace: what a trace file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import Json

if TYPE_CHECKING:
    from planner.traffic.about import About


def trace(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Trace file, gzipped or not.", show_default=False)],
    format: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Its reader; default by the file's columns.")
    ] = None,
    json: Json = False,
) -> None:
    """Describe a trace: its format, requests, rate, lengths, and how much prompts have in common."""
    from dataclasses import asdict

    from planner.cli.output import print_json, print_text
    from planner.traffic.about import about

    found = about(file, format)
    if json:
        print_json(asdict(found))
    else:
        print_text("\n".join(_lines(found)))


def _lines(found: About) -> Iterator[str]:
    yield f"format    {found.format}"
    failed = f", {found.failed:,} more failed and are left out" if found.failed else ""
    yield f"requests  {found.requests:,}{failed}"
    yield f"arrivals  {_arrivals(found)}"
    if found.seen_before is not None:
        yield f"prefixes  {found.seen_before:.1%} of the prompt tokens were in an earlier prompt, in the same place"
    names = list(found.input_tokens)
    yield "tokens  " + "".join(f"{name:>10}" for name in names)
    for side, tokens in (("input", found.input_tokens), ("output", found.output_tokens)):
        yield f"{side:<8}" + "".join(f"{tokens[name]:>10,.0f}" for name in names)


def _arrivals(found: About) -> str:
    if found.rate_per_s is None:
        return "no times that differ: give `arrivals` with the trace"
    gaps = f", gaps with cv {found.gaps_cv:.2f}" if found.gaps_cv is not None else ""
    grid = f", times in steps of {found.grid_s:g} s" if found.grid_s else ""
    return f"{found.rate_per_s:.4g} requests/s over {found.span_s:,.0f} s{gaps}{grid}"
