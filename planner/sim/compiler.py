"""How numba compiles the kernel: every function into one library, optimised once as a whole. Not what it compiles.

Left to itself numba optimises each function with all that it calls linked in, and makes machine code of the result:
what many call at some depth is compiled many times over. Python calls nothing here but the loop, by its address; the
other functions are what C calls static: inlined freely, and dropped when all their callers took them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import FunctionType
from typing import Any

import numba
from numba._dynfunc import make_function
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, GenericRewrites, IRProcessing, ReconstructSSA, TranslateByteCode

from planner.sim.native import Code

# Nothing allocates, so reference counting (_nrt) is off: with this many arrays it costs ten times the work.
# No step divides by zero, and checks for it (error_model) would cost a tenth of the compile time.
OPTIONS: Mapping[str, Any] = {
    "_nrt": False, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip


class Static(JITCodeLibrary):
    """One module, optimised once, when all is there: numba's other rounds prepare for counted references and linking.

    No loop of the kernel is worth vectors.
    """

    entry = ""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.name != self.entry:
                function.linkage = "internal"
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def machine_code(self) -> bytes:
        self._ensure_finalized()
        code: bytes = self._codegen._tm.emit_object(self._final_module)
        return code


@register_pass(mutates_CFG=True, analysis_only=False)
class InnerLowering(NativeLowering):
    """Puts a function into the library and leaves it there; its callers in the same library have nothing to link."""

    _name = "inner_lowering"

    def run_pass(self, state: Any) -> bool:
        state.flags.no_compile = True
        super().run_pass(state)
        about, name = state.cr.fndesc, state.func_id.func_name
        nowhere = make_function(about.lookup_module(), name, name, 0, state.cr.env, (state.library,))
        state.targetctx.insert_user_function(nowhere, about, [])
        state.cr = state.cr._replace(cfunc=nowhere)
        return True


PASSES = (
    TranslateByteCode, FixupArgs, IRProcessing, GenericRewrites, ReconstructSSA,
    NopythonTypeInference, PreLowerStripPhis, IRLegalization, InnerLowering, NoPythonBackend,
)  # fmt: skip
"""Numba's own but those for closures, overloads to be inlined, literals, array expressions and threads."""


class Library:
    """Functions that are compiled together."""

    def twin(self, function: FunctionType) -> Any:
        """The function as numba compiles it into this library, when it is first needed and for what it then gets."""
        njit: Any = numba.njit  # the options are known to it, but not to its type stubs
        return njit(function, pipeline_class=self._compiler, **OPTIONS)

    def code(self, entry: Any, signature: tuple[Any, ...]) -> Code:
        """Machine code of a twin, and of all that it calls, for arguments of these types."""
        entry.compile(signature)
        self._library.entry = entry.overloads[signature].fndesc.llvm_func_name
        with global_compiler_lock:
            return Code(self._library.entry, self._library.machine_code())

    @cached_property
    def _library(self) -> Static:
        return Static(cpu_target.target_context.codegen(), "kernel")

    @cached_property
    def _compiler(self) -> type[CompilerBase]:
        library = self._library

        class Inner(CompilerBase):
            def define_pipelines(self) -> Any:
                self.state.library = library
                passes = PassManager("kernel")
                for one in PASSES:
                    passes.add_pass(one)
                passes.finalize()
                return [passes]

        return Inner
