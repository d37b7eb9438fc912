"""Owner: stops when another installed distribution owns the top-level package name `planner` too. Nothing else."""

from __future__ import annotations

from importlib.metadata import distributions

from planner.errors import BadInput, Problem

OURS = "serveplan"


def refuse_second_owner() -> None:
    """BadInput when files of another distribution lie in `planner/`; reading the file lists costs milliseconds."""
    others = sorted(set(_owners()) - {OURS})
    if others:
        raise BadInput(
            Problem(
                f"{' and '.join(others)} also installs a package called `planner`, so files of both are mixed",
                hint=f"install serveplan in an environment without {others[0]}",
            )
        )


def _owners() -> list[str]:
    """Distributions whose file list holds planner/__init__.py; `packages_distributions()` takes ten times as long."""
    return [d.name for d in distributions() if "\nplanner/__init__.py," in "\n" + (d.read_text("RECORD") or "")]
