"""The State behind one pointer, for compiled code: a call passes one word, not the descriptors of thirty arrays.

Not the State itself, which Python sees as a tuple of arrays. Arrays never move or change their shape while the loop
runs, and LLVM is told so, so that what it has loaded of a descriptor it may keep in a register.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, register_model
from numba.np.numpy_support import from_dtype

from planner.sim.native import Layout
from planner.sim.state import State

WORD = ir.IntType(64)
ITEM_SIZE, DATA, LENGTHS, STRIDES = 3, 4, 5, 6
"""Members of an array's descriptor. The others own the memory, or count all items: the loop asks for neither."""


class Pointed(types.Type):
    """A pointer to the descriptors of a named tuple's arrays. Its short name keeps the symbols short."""

    def __init__(self, fields: Any):
        self.fields = fields
        super().__init__(name="State")

    def place(self, name: str) -> int:
        return list(self.fields.fields).index(name)


@register_model(Pointed)
class PointedModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Pointed):
        super().__init__(dmm, fe_type, ir.IntType(8).as_pointer())


def descriptors(context: Any, fields: Any) -> ir.LiteralStructType:
    """The memory behind the pointer: one descriptor after another."""
    return ir.LiteralStructType([context.get_value_type(one) for one in fields.types])


@infer_getattr
class PointedAttributes(AttributeTemplate):
    key = Pointed

    def generic_resolve(self, typ: Any, attr: str) -> Any:  # type: ignore[override]
        return typ.fields.types[typ.place(attr)]


@lower_getattr_generic(Pointed)
def descriptor(context: Any, builder: Any, typ: Pointed, value: Any, attr: str) -> Any:
    """Load the descriptor of one array, member by member, as what never changes."""
    whole = builder.bitcast(value, descriptors(context, typ.fields).as_pointer())
    array = typ.fields.types[typ.place(attr)]
    shape = context.get_value_type(array)
    place = cgutils.gep_inbounds(builder, whole, 0, typ.place(attr))

    def member(*path: int) -> Any:
        loaded = builder.load(cgutils.gep_inbounds(builder, place, 0, *path))
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    size = ir.Constant(WORD, context.get_abi_sizeof(context.get_data_type(array.dtype)))
    members: list[tuple[Any, Any]] = [(ITEM_SIZE, size), (DATA, member(DATA))]
    members += [((kind, d), member(kind, d)) for kind in (LENGTHS, STRIDES) for d in range(array.ndim)]
    found = ir.Constant(shape, None)
    for path, part in members:
        found = builder.insert_value(found, part, path)
    return found


def signature_of(layout: Layout) -> tuple[Any, ...]:
    """Types of the loop's arguments for states of this layout."""
    fields = types.NamedTuple([types.Array(from_dtype(dtype), ndim, "C") for dtype, ndim in layout], State)
    return Pointed(fields), types.int64
