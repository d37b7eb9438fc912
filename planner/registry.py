"""Registry[T]: a name for each implementation of a seam, with did-you-mean and entry points.

Not a plugin framework: an implementation is any object, and its module registers it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from planner.errors import BadInput, Problem, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Implementations of one seam by name; out-of-tree ones come from the entry point group `serveplan.<seam>`."""

    def __init__(self, seam: str):
        self.seam = seam
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an implementation under `name`."""

        def file_under_name(thing: T) -> T:
            if name in self._known:
                raise ValueError(f"{self.seam} {name!r} is registered twice")
            self._known[name] = thing
            return thing

        return file_under_name

    def get(self, name: str, others: Iterable[str] = ()) -> T:
        """The implementation called `name`; BadInput with the nearest names, of `others` too, when there is none."""
        if name not in self._known:
            self._load_entry_point(name)
        if name not in self._known:
            known = sorted({*self._known, *others})
            hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
            raise BadInput(Problem(f"unknown {self.seam} {name!r}", hint=hint))
        return self._known[name]

    def _load_entry_point(self, name: str) -> None:
        for point in entry_points(group=f"serveplan.{self.seam}", name=name):
            self._known[name] = point.load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))

    def __contains__(self, name: str) -> bool:
        return name in self._known
