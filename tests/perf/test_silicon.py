"""The silicon estimator: refusals in words, and agreement with the embedded grids inside their error bars."""

from importlib.util import find_spec

import pytest

from planner.errors import BadInput
from planner.perf.estimators import silicon

installed = pytest.mark.skipif(find_spec("aiconfigurator_core") is None, reason="serveplan[silicon] is not installed")
absent = pytest.mark.skipif(find_spec("aiconfigurator_core") is not None, reason="serveplan[silicon] is installed")


@absent
def test_without_the_package_the_answer_says_what_to_install(replica_of, pool_of):
    with pytest.raises(BadInput, match=r"pip install 'serveplan\[silicon\]'"):
        replica_of(pool_of("llama-3.1-8b"), estimator="silicon")


@installed
@pytest.mark.parametrize(
    ("engine", "model", "fields"),
    [
        ("vllm", "llama-3.1-8b", {}),
        ("vllm", "llama-3.1-70b", {"tp": 4, "weights": "fp8"}),
        ("trtllm", "qwen3-32b", {"tp": 2, "node": "dgx-h200", "accelerator": "h200-sxm-141gb"}),
        ("vllm", "gpt-oss-120b", {"tp": 4, "weights": "mxfp4"}),
    ],
)
def test_measured_kernels_and_embedded_grids_agree_within_their_error_bars(
    replica_of, pool_of, decode_s, engine, model, fields
):
    pool = pool_of(model, **fields)
    silicon, default = (replica_of(pool, engine, estimator=name) for name in ("silicon", "fitted"))
    bar = min(silicon.cost.rel_error, default.cost.rel_error)
    for batch, context in ((8, 1000), (32, 2000), (128, 2000)):
        assert decode_s(silicon, batch, context) == pytest.approx(decode_s(default, batch, context), rel=bar)


@installed
def test_an_accelerator_or_model_without_tables_is_refused(replica_of, pool_of):
    with pytest.raises(BadInput, match="no operator tables of mi300x"):
        replica_of(pool_of("llama-3.1-8b", node="mi300x-8", accelerator="mi300x"), estimator="silicon")
    with pytest.raises(BadInput, match="no tables for the architecture of falcon-40b"):
        replica_of(pool_of("falcon-40b"), estimator="silicon")


class Gap:
    """An oracle that compiles and has no rows, as the package's are for some formats."""

    def decode_step_latency(self, *asked: int) -> float:
        raise RuntimeError("context MLA data missing")


def test_rows_that_are_missing_only_when_asked_are_refused_too(replica_of, pool_of, monkeypatch):
    monkeypatch.setattr(silicon, "_oracle", lambda *asked: Gap())
    with pytest.raises(BadInput, match="llama-3.1-8b on h100-sxm5-80gb under vllm: context MLA data missing"):
        replica_of(pool_of("llama-3.1-8b"), estimator="silicon")
