"""Native: the compiled loop as machine code in a file, and how to call it. The compiler is in `compiler`.

Numba takes longer to import and to wake its cache than most plans take to simulate, so the code is linked by llvmlite
alone. The loop gets the State as one pointer to the descriptors of its arrays; Python's lock is free while it runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.state import State

Layout = tuple[tuple[np.dtype[Any], int], ...]
SIGNATURE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, ctypes.c_int64
)
"""Numba's own convention: (result, raised, arguments...) -> status, 0 = returned."""
ADDRESS, LENGTHS = 0, 1
"""Places in a descriptor; the strides follow the lengths."""


@dataclass(frozen=True, slots=True)
class Code:
    """An object file and the name of the loop in it."""

    symbol: str
    machine: bytes


def layout_of(s: State) -> Layout:
    """What the compiled loop takes for granted of a state: kinds and dimensions of its arrays, which have no gaps."""
    if not all(array.flags.c_contiguous for array in s):
        raise ValueError("arrays of a State must be contiguous")
    return tuple((array.dtype, array.ndim) for array in s)


class Native:
    """A loop in machine code."""

    def __init__(self, code: Code):
        self._engine = linked(code.machine)
        self._call = SIGNATURE(self._engine.get_function_address(code.symbol))

    def __call__(self, s: State, most: int) -> int:
        finished, raised, given = ctypes.c_int64(), ctypes.c_void_p(), descriptors(s)
        status = self._call(ctypes.byref(finished), ctypes.byref(raised), given.ctypes.data, most)
        if status:
            raise RuntimeError(f"the compiled loop ended with status {status}")
        return finished.value


def descriptors(s: State) -> NDArray[np.int64]:
    """Where the arrays are: of each in turn the address, then lengths and strides."""
    words: list[int] = []
    for array in s:
        words += (array.ctypes.data, *array.shape, *array.strides)
    return np.array(words, np.int64)


def words_of(ndim: int) -> int:
    """Words of the descriptor of an array."""
    return LENGTHS + 2 * ndim


def linked(machine: bytes) -> Any:
    """An engine of llvmlite that holds the code; it must live as long as the code is called."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in _helpers().c_helpers.items():
        llvm.add_symbol(f"numba_{name}", address)
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine))
    engine.finalize_object()
    return engine


@cache
def _helpers() -> ModuleType:
    """What compiled code calls of numba (frexp and the like), without the rest of numba."""
    found = importlib.util.find_spec("numba")
    folder = Path(str(found.origin)).parent if found else Path()
    file = next(path for end in EXTENSION_SUFFIXES if (path := folder / f"_helperlib{end}").is_file())
    spec = importlib.util.spec_from_file_location("_helperlib", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def file_name(layout: Layout) -> str:
    """Name of the file for this kind of processor and states of this layout."""
    import llvmlite.binding as llvm

    host = (llvm.get_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    return f"loop-{hashlib.sha256(repr((host, layout)).encode()).hexdigest()[:16]}.o"


def read(file: Path) -> Code | None:
    """The code in a file; None without one, or when it is damaged."""
    try:
        symbol, digest, machine = file.read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    return Code(symbol.decode(), machine) if digest == _digest(machine) else None


def write(file: Path, code: Code) -> None:
    """Keep the code, whole or not at all; a full disk costs the next process a compilation, nothing else."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(b"\n".join((code.symbol.encode(), _digest(code.machine), code.machine)))
        beside.replace(file)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _digest(machine: bytes) -> bytes:
    return hashlib.sha256(machine).hexdigest().encode()
