"""serveplan merge: journals of shards -> one journal that `plan` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import Quiet


def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="JOURNAL...", help="Journals of shards.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Write the joined journal here.")],
    quiet: Quiet = False,
) -> None:
    """Join the journals of shards, for `serveplan plan --journal FILE`."""
    from planner.cli.output import note
    from planner.search.shards import merge

    answers = merge(parts, output)
    note(f"wrote {output}: {answers} families of candidates from {len(parts)} journals", quiet)
