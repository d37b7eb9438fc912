"""The State behind one pointer, for compiled code: a call passes one word, not the descriptors of thirty arrays.

Not the State itself, which Python sees as a tuple of arrays. Arrays never move or change their shape while the loop
runs, and LLVM is told so, so that what it has loaded of a descriptor it may keep in a register. An index is never
negative: numba's own arrays ask whether it is, at every access.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_global, signature
from numba.extending import infer_getattr, lower_builtin, lower_getattr, lower_getattr_generic, register_model
from numba.np.numpy_support import from_dtype

from planner.sim.native import ADDRESS, LENGTHS, Layout, words_of
from planner.sim.state import State

WORD = ir.IntType(64)


class Pointed(types.Type):
    """The State: a pointer to the descriptors of its arrays. Its short name keeps the symbols short."""

    def __init__(self, layout: Layout):
        self.arrays = [Rows(from_dtype(dtype), ndim) for dtype, ndim in layout]
        super().__init__(name="State")


class Rows(types.Type):
    """An array of the State: a pointer to its descriptor."""

    def __init__(self, item: Any, ndim: int):
        self.item, self.ndim = item, ndim
        super().__init__(name="Rows")

    @property
    def key(self) -> Any:
        return self.item, self.ndim


class Row(types.Type):
    """What is left of it when all indices but the last are given: a pointer to the first item."""

    def __init__(self, item: Any):
        self.item = item
        super().__init__(name="Row")

    @property
    def key(self) -> Any:
        return self.item


@register_model(Pointed)
@register_model(Rows)
@register_model(Row)
class PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: types.Type):
        super().__init__(dmm, fe_type, cgutils.voidptr_t)


@infer_getattr
class PointedAttributes(AttributeTemplate):
    key = Pointed

    def generic_resolve(self, typ: Any, attr: str) -> Any:  # type: ignore[override]
        return typ.arrays[State._fields.index(attr)]


@lower_getattr_generic(Pointed)
def descriptor(_context: Any, builder: Any, typ: Pointed, value: Any, attr: str) -> Any:
    before = typ.arrays[: State._fields.index(attr)]
    return builder.gep(value, [WORD(8 * sum(words_of(array.ndim) for array in before))], inbounds=True)


@infer_getattr
class RowsAttributes(AttributeTemplate):
    key = Rows

    def resolve_shape(self, typ: Rows) -> Any:
        return types.UniTuple(types.int64, typ.ndim)


@lower_getattr(Rows, "shape")
def shape(context: Any, builder: Any, typ: Rows, value: Any) -> Any:
    lengths = [word(builder, value, LENGTHS + d) for d in range(typ.ndim)]
    return context.make_tuple(builder, types.UniTuple(types.int64, typ.ndim), lengths)


@infer_global(operator.getitem)
class GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        array, index = args
        missing = dimensions(array) - len(kinds_of(index))
        if missing > 1 or not dimensions(array):
            return None
        return signature(Row(array.item) if missing else array.item, array, index)


@infer_global(operator.setitem)
class SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        array, index, _ = args
        if not dimensions(array) or dimensions(array) != len(kinds_of(index)):
            return None
        return signature(types.none, array, index, array.item)


def dimensions(array: Any) -> int:
    """Indices that an array of the State takes; 0 for anything else."""
    return array.ndim if isinstance(array, Rows) else int(isinstance(array, Row))


def kinds_of(index: Any) -> tuple[Any, ...]:
    """Types of the indices that an index consists of."""
    return tuple(index.types) if isinstance(index, types.Tuple | types.UniTuple) else (index,)


def word(builder: Any, rows: Any, k: int, kind: Any = WORD) -> Any:
    """Load word k of a descriptor, as what never changes."""
    place = builder.gep(rows, [WORD(8 * k)], inbounds=True)
    loaded = builder.load(builder.bitcast(place, kind.as_pointer()))
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


def place_of(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Pointer to the item at an index, or to the first item of a row."""
    array, kinds = sig.args[0], kinds_of(sig.args[1])
    item = context.get_data_type(array.item)
    size = WORD(array.item.size if isinstance(array.item, types.Record) else array.item.bitwidth // 8)
    indices = cgutils.unpack_tuple(builder, args[1]) if isinstance(sig.args[1], types.BaseTuple) else [args[1]]
    place = word(builder, args[0], ADDRESS, cgutils.voidptr_t) if isinstance(array, Rows) else args[0]
    for d, (index, kind) in enumerate(zip(indices, kinds, strict=True)):
        step = size if d == dimensions(array) - 1 else word(builder, args[0], LENGTHS + array.ndim + d)
        offset = builder.mul(context.cast(builder, index, kind, types.int64), step, flags=["nsw"])
        place = builder.gep(place, [offset], inbounds=True)
    return builder.bitcast(place, item.as_pointer())


@lower_builtin(operator.getitem, Rows, types.Any)
@lower_builtin(operator.getitem, Row, types.Any)
def get_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    place = place_of(context, builder, sig, args)
    if isinstance(sig.return_type, Row):
        return builder.bitcast(place, cgutils.voidptr_t)
    return context.unpack_value(builder, sig.return_type, place)


@lower_builtin(operator.setitem, Rows, types.Any, types.Any)
@lower_builtin(operator.setitem, Row, types.Any, types.Any)
def set_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    context.pack_value(builder, sig.args[2], args[2], place_of(context, builder, sig, args))
    return context.get_dummy_value()


def signature_of(layout: Layout) -> tuple[Any, ...]:
    """Types of the loop's arguments for states of this layout."""
    return Pointed(layout), types.int64
