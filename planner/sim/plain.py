"""The State as plain Python objects, for the loop without a compiler: the oracle of the compiled one, and the fallback.

Not another simulator: records become objects with the same fields, twenty times quicker to reach than NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.state import State


class Rows(list[Any]):
    """A list that knows its shape, for arrays of records in one dimension."""

    shape: tuple[int, ...]


class Grid:
    """Records in two or three dimensions; leaving out the last index gives a row."""

    def __init__(self, rows: list[Any], shape: tuple[int, ...]):
        self.rows, self.shape = rows, shape

    def __getitem__(self, place: tuple[int, ...]) -> Any:
        found: Any = self.rows
        for index in place:
            found = found[index]
        return found


def thaw(s: State) -> State:
    """A copy of the state with objects for records; arrays of numbers are shared with the original."""
    return State(*(objects(array) if array.dtype.names else array for array in s))


def freeze(plain: State, s: State) -> None:
    """Write the objects back into the records of the state they came from."""
    for thawed, array in zip(plain, s, strict=True):
        if array.dtype.names:
            flat = thawed if isinstance(thawed, Rows) else leaves(thawed.rows, array.ndim)
            rows = [tuple(getattr(record, name) for name in array.dtype.names) for record in flat]
            array[...] = np.array(rows, array.dtype).reshape(array.shape)


def objects(array: NDArray[Any]) -> Rows | Grid:
    """Records as objects with slots."""
    names = array.dtype.names or ()
    record = type("Record", (), {"__slots__": names})

    def thawed(values: Any) -> Any:
        if isinstance(values, list):
            return [thawed(value) for value in values]
        one = record()
        for name, value in zip(names, values, strict=True):
            setattr(one, name, value)
        return one

    if array.ndim > 1:
        return Grid(thawed(array.tolist()), array.shape)
    rows = Rows(thawed(array.tolist()))
    rows.shape = array.shape
    return rows


def leaves(rows: list[Any], depth: int) -> list[Any]:
    """The records of nested lists, in order."""
    return rows if depth == 1 else [leaf for row in rows for leaf in leaves(row, depth - 1)]
