"""serveplan validate: predict every point of a measured table, and score the predictions."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import CatalogDirs, Jobs, Json, NoColor, Quiet

LINE = "{:20} {:32} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8}"

if TYPE_CHECKING:
    from planner.calibrate.validate import Report


def validate(
    measured: Annotated[Path, typer.Argument(metavar="MEASURED.csv", help="Measured points.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PREDICTIONS.csv", help="Write the predictions here.")
    ],
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw measured against predicted (.svg or .html).")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Colours: engine, gpu, model, load_kind.")] = "engine",
    catalog: CatalogDirs = None,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Predict every point of a measured table and score it.

    Only configuration and load of a row are read for its prediction; the measurements only score it.
    """
    from planner.calibrate.scatter import check, draw
    from planner.calibrate.validate import validate
    from planner.cli.output import Progress, note, print_json, print_text

    if picture:
        check(picture, by)
    workers = jobs or os.cpu_count() or 1
    try:
        with Progress(quiet, no_color) as progress:
            report = validate(measured, output, workers, lambda d, n: progress(d, n, "points"), catalog or ())
    except KeyboardInterrupt:
        note("stopped; finished answers are kept beside the output, the same command goes on from there")
        raise
    note(f"wrote {output}", quiet)
    if picture:
        draw(measured, output, picture, by)
        note(f"wrote {picture}", quiet)
    if json:
        print_json(asdict(report))
    else:
        print_text(_text(report))


def _text(report: Report) -> str:
    lines = [f"{report.rows} points: " + ", ".join(f"{n} {status}" for status, n in sorted(report.statuses.items()))]
    lines += [f"  {n:6d}  {reason}" for reason, n in report.reasons]
    head = ("metric", "slice", "groups", "points", "median", "mean", "bias", "in band")
    lines += ["", "relative error by group, in percent", LINE.format(*head)]
    for s in report.scores:
        inside = "" if s.inside is None else f"{s.inside:.0f}"
        errors = (f"{s.median_ape:.1f}", f"{s.mean_ape:.1f}", f"{s.bias:+.1f}", inside)
        lines.append(LINE.format(s.metric, s.slice, s.groups, s.rows, *errors))
    return "\n".join(lines)
