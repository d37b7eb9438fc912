"""How numba compiles the kernel: every function into one library, optimised once as a whole. Not what it compiles.

Left to itself numba optimises each function with all that it calls linked in, and makes machine code of the result:
what many call at some depth is compiled many times over. Only the entry is called from Python, so only it is finished.
"""

from __future__ import annotations

import functools
from typing import Any

from numba._dynfunc import make_function
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering


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


def compilers() -> tuple[type[Compiler], type[Compiler]]:
    """Compilers of the inner functions and of the entry of one library, which is made when the first is asked."""

    @functools.cache
    def library() -> Any:
        made = cpu_target.target_context.codegen().create_library("kernel")
        made.enable_object_caching()
        return made

    class Inner(Compiler):
        def define_pipelines(self) -> Any:
            self.state.library = library()
            (passes,) = super().define_pipelines()
            passes.passes = [(InnerLowering if one is NativeLowering else one, what) for one, what in passes.passes]
            passes.finalize()
            return [passes]

    class Entry(Compiler):
        def define_pipelines(self) -> Any:
            self.state.library = library()
            return super().define_pipelines()

    return Inner, Entry
