"""Main: runs the command line and turns every ending into an exit code. The one place that catches all exceptions.

0 done, 1 difference found, 2 bad input, 3 infeasible, 4 stopped at a limit, 70 our bug, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from planner.errors import Infeasible, Problem, ServeplanError

INTERNAL_ERROR = 70
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (usage errors and --help leave by SystemExit, as Typer does)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(words)
    except ServeplanError as error:
        _explain(error, as_json="--json" in words)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _internal(error, debug="--debug" in words or bool(os.environ.get("SERVEPLAN_DEBUG")))


def _run(words: list[str]) -> int:
    from planner.cli.app import app

    app(args=words, prog_name="serveplan")
    return 0


def _explain(error: ServeplanError, as_json: bool) -> None:
    if isinstance(error, Infeasible):
        print("no plan meets the scenario:", file=sys.stderr)
    for problem in error.problems:
        print(problem, file=sys.stderr)
    if as_json:
        from planner.cli.output import print_json

        problems = [_as_dict(problem) for problem in error.problems]
        print_json({"error": type(error).__name__, "exit_code": error.exit_code, "problems": problems})


def _as_dict(problem: Problem) -> dict[str, str | int]:
    where = problem.where
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "what": problem.what,
        "hint": problem.hint,
    }


def _internal(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    what = str(error).partition("\n")[0]
    print(f"serveplan: internal error: {type(error).__name__}: {what}", file=sys.stderr)
    if not debug:
        print("this is our bug: please report it with the output of `serveplan --debug ...`", file=sys.stderr)
    return INTERNAL_ERROR
