"""Static batches: in lock-step while they fit the KV cache, scheduled by the engine when they do not."""

from __future__ import annotations

import pytest

from planner.calibrate.cases import Case, case_of
from planner.calibrate.predict import predict, replica_of
from planner.calibrate.rows import parse_row
from planner.calibrate.static import in_lockstep, static_batch
from planner.catalog import Catalog

ROW = {
    "id": "x", "gpu": "A100-SXM4-40GB", "num_gpus": "1", "model": "llama-2-7b", "weight_dtype": "fp16", "tp": "1",
    "engine": "vllm", "engine_version": "0.6.0", "mode": "agg", "isl_mean": "1024", "osl_mean": "1024",
    "length_dist": "fixed", "load_kind": "static_batch",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def case(catalog: Catalog, batch: int, **cells: str) -> Case:
    return case_of(parse_row(ROW | {"load_value": str(batch)} | cells), catalog)


def test_a_batch_beyond_the_cache_is_not_served_in_waves_of_whole_answers(catalog: Catalog) -> None:
    """Engines admit by the prompts that fit and refill as sequences end, so seats do not wait for the slowest wave."""
    large = case(catalog, 64)
    replica = replica_of(large, catalog, large.pools[0])
    assert not in_lockstep(large, replica)
    waves, _ = static_batch(large, replica)
    found = predict(large, catalog).metrics
    assert waves["out_tok_s"] < found["out_tok_s"] < 1.6 * waves["out_tok_s"]
    assert found["e2e_mean_ms"] == pytest.approx(1e3 * 64 * 1024 / found["out_tok_s"])


def test_a_batch_that_fits_is_the_closed_form(catalog: Catalog) -> None:
    small = case(catalog, 8)
    replica = replica_of(small, catalog, small.pools[0])
    assert in_lockstep(small, replica)
    assert predict(small, catalog).metrics["out_tok_s"] == static_batch(small, replica)[0]["out_tok_s"]


def test_engines_without_a_scheduler_know_only_waves(catalog: Catalog) -> None:
    old = case(catalog, 64, engine="deepspeed", engine_version="")
    assert in_lockstep(old, replica_of(old, catalog, old.pools[0]))
