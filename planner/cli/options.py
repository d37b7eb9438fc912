"""Options: the flags that several commands share, declared once. What they mean is the command's affair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colors; NO_COLOR does the same.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws; default from the scenario.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default one per core.")]
TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", min=0, metavar="SECONDS", help="Stop searching after this long.")
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="Where to simulate: processes (of this machine), ray, ray://auto or ray://host:port.",
    ),
]
CatalogDirs = Annotated[
    list[Path] | None,
    typer.Option("--catalog", metavar="DIR", help="Lay a catalog of yours over the shipped one; may be repeated."),
]
ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO", help="Scenario file (YAML).", show_default=False)]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="plan.json", show_default=False)]
