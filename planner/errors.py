"""Every error a user can meet, drawn as one tree; each says where, what and how to mend it.

Not a place for programming errors: those stay ordinary Python exceptions and end as exit code 70.

    ServeplanError                 exit code
    ├── BadInput                   2    the input is wrong: one or more located Problems
    │   └── NotPriced              2    a source of step times knows no price of this configuration; others it may
    ├── Infeasible                 3    the input is right, no plan can meet it
    ├── StoppedAtLimit             4    a time limit ended the work before proof
    ├── Interrupted                130  somebody ended the work before there was anything to show
    └── ForeignJournal             2    a journal that this run must not reuse
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file, lines and columns from 1; 0 means not known."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file] if self.file else []
        if self.line:
            parts += [str(self.line), str(self.column or 1)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, what is wrong, how to mend it."""

    what: str
    where: Where = Where()
    hint: str = ""

    def __str__(self) -> str:
        place = str(self.where)
        text = f"{place}: {self.what}" if place else self.what
        return f"{text} - {self.hint}" if self.hint else text


class ServeplanError(Exception):
    """Base of all errors that are answers to the user."""

    exit_code = 2

    def __init__(self, *problems: Problem | str):
        self.problems = tuple(p if isinstance(p, Problem) else Problem(p) for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class BadInput(ServeplanError):
    """The input is wrong; `problems` holds every mistake that was found, not only the first."""


class NotPriced(BadInput):
    """A source of step times has no data on this configuration; a search goes on with others."""


class Infeasible(ServeplanError):
    """The input is right, but no plan meets it; `problems` are the reasons in the user's words."""

    exit_code = 3


class StoppedAtLimit(ServeplanError):
    """A limit ended the work before a proof."""

    exit_code = 4


class Interrupted(ServeplanError):
    """Somebody ended the work before there was anything to show."""

    exit_code = 130


class ForeignJournal(ServeplanError):
    """A journal written by other code or for another scenario, or damaged."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known words, or an empty string."""
    close = difflib.get_close_matches(word.lower(), list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def raise_all(problems: Sequence[Problem]) -> None:
    """Raise one BadInput that holds every problem; do nothing when there is none."""
    if problems:
        raise BadInput(*problems)
