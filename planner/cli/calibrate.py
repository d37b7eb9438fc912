"""serveplan calibrate: a user's own measurements make the next plan better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.options import CatalogDirs, Json, NoColor, Quiet

if TYPE_CHECKING:
    from planner.calibrate.calibrate import Outcome
    from planner.catalog import Catalog

METRICS = {"tpot": "TPOT", "ttft": "TTFT", "e2e": "whole request"}


def calibrate(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Benchmark results: JSON or CSV.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Catalog folder to write; plan with --catalog DIR.")
    ],
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="SCENARIO", help="Model, GPU and engine as in this scenario.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML of settings that hold for all points.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of all points, like tp=4.")
    ] = None,
    catalog: CatalogDirs = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Fit corrections to your own measurements, for the next plan.

    Reads vLLM bench, GuideLLM and AIPerf results and CSV tables; --set and --config say what a file does not.
    """
    from planner.calibrate.calibrate import calibrate, columns
    from planner.catalog import Catalog
    from planner.cli.output import Progress, print_json, print_text

    earlier = [output] if (output / "engines").is_dir() else []
    opened = Catalog.open([*(catalog or ()), *earlier])
    stated = columns([*_of_scenario(scenario, opened), *_of_file(config), *_of_options(settings or ())])
    with Progress(quiet, no_color) as progress:
        outcomes = calibrate(results, output, opened, stated, progress)
    if json:
        print_json([_as_dict(one) for one in outcomes])
    else:
        print_text("\n\n".join(_text(one, output) for one in outcomes))


def _of_scenario(path: Path | None, catalog: Catalog) -> list[tuple[str, str]]:
    """What a scenario says without doubt: its engine, and its model and GPU when there is one of each."""
    if path is None:
        return []
    from planner.catalog import load_scenario

    scenario = load_scenario(path, catalog).scenario
    models = {served.model for served in scenario.models.values()}
    gpus = {catalog.node(entry.node).accelerator for entry in scenario.fleet.nodes}
    found = [
        ("engine", {scenario.engine.name}),
        ("version", {scenario.engine.version}),
        ("model", models),
        ("gpu", gpus),
    ]
    return [(key, next(iter(values))) for key, values in found if len(values) == 1 and any(values)]


def _of_file(path: Path | None) -> list[tuple[str, str]]:
    if path is None:
        return []
    from planner.catalog.yaml_reader import read_yaml
    from planner.errors import BadInput, raise_all

    document = read_yaml(path)
    raise_all(document.problems)
    if not isinstance(document.data, dict):
        raise BadInput(document.problem((), "expected settings like `tp: 4`, one a line"))
    wrong = [key for key, value in document.data.items() if isinstance(value, dict | list | bool | None)]
    raise_all([document.problem((key,), "expected one word or number") for key in wrong])
    return [(key, document.raw((key,)) or str(value)) for key, value in document.data.items()]


def _of_options(settings: list[str] | tuple[str, ...]) -> list[tuple[str, str]]:
    from planner.errors import Problem, raise_all

    raise_all([Problem(f"--set {text!r}: expected KEY=VALUE") for text in settings if "=" not in text])
    return [(key.strip(), value.strip()) for key, _, value in (text.partition("=") for text in settings)]


def _text(one: Outcome, folder: Path) -> str:
    """What became of one configuration, for people."""
    head = f"{one.model} {one.weights} on {one.accelerator}, {one.engine} {one.version}".rstrip()
    lines = [f"{head}: {one.points} points", "  factor on the profile"]
    for name, value in one.factors:
        lines.append(
            f"    {name:14} {value:6.3f}" if name in one.free else f"    {name:14}      -  (too few points to tell)"
        )
    lines.append(f"  {'median error':16} {'before':>8} {'held out':>9} {'in sample':>10}")
    for metric, shown in METRICS.items():
        found = [errors.median(metric) for errors in (one.before, one.held_out, one.in_sample)]
        if all(value is not None for value in found):
            before, left_out, in_sample = (value for value in found if value is not None)
            worse = "  not better held out: more points would tell" if left_out > before else ""
            lines.append(f"  {shown:16} {before:>8.1%} {left_out:>9.1%} {in_sample:>10.1%}{worse}")
    lines.append(f"  80 % band of a step: ±{one.rel_error_before:.0%} before, ±{one.rel_error:.0%} now")
    version = f" and `engine: {{name: {one.engine}, version: {one.version}}}`" if one.version else ""
    return "\n".join([*lines, f"  wrote {one.file}; plan with `--catalog {folder}`{version}"])


def _as_dict(one: Outcome) -> dict[str, Any]:
    from dataclasses import asdict

    found = asdict(one) | {"factors": one.factors.model_dump()}
    for name in ("before", "held_out", "in_sample"):
        errors = getattr(one, name)
        found[name] = {metric: errors.median(metric) for metric in errors.by_metric}
    return found
