"""Speculative decoding: verified tokens are paid for, so drafting helps small batches more than large ones."""

from __future__ import annotations

import pytest

from planner.calibrate.cases import Case, case_of
from planner.calibrate.predict import hardware, predict, replica_of
from planner.calibrate.rows import parse_row
from planner.calibrate.speculation import DRAFTS, Draft, draft_of, reads_of, verified
from planner.catalog import Catalog

ROW = {
    "id": "x", "gpu": "H200-SXM-141GB", "num_gpus": "8", "model": "deepseek-r1", "weight_dtype": "fp8", "tp": "8",
    "engine": "sglang", "engine_version": "0.5.6", "mode": "agg", "isl_mean": "922", "osl_mean": "922",
    "length_dist": "uniform_0.8_1.0", "load_kind": "concurrency",
}  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def case(catalog: Catalog, concurrency: int, **cells: str) -> Case:
    return case_of(parse_row(ROW | {"load_value": str(concurrency)} | cells), catalog)


def test_expected_tokens_are_those_before_the_first_miss_and_one() -> None:
    assert Draft(0.5, (2,), 0.1).tokens(2) == pytest.approx(1 + 0.5 + 0.25)
    assert Draft(0.5, (2,), 0.1).tokens(0) == 1.0


def test_rows_that_do_not_say_are_plain(catalog: Catalog) -> None:
    assert draft_of("unknown") is None
    assert draft_of("medusa") == DRAFTS["yes"]
    assert case(catalog, 4).token_yield == 1.0
    assert case(catalog, 4, spec_decode="mtp").token_yield > 1.5


def test_a_verified_step_costs_more_than_a_plain_one_and_no_more_host_time_per_sequence(catalog: Catalog) -> None:
    plain = case(catalog, 64)
    alone = replica_of(plain, catalog, plain.pools[0])
    wide_pool = plain.pools[0].model_copy(update={"max_seqs": 128})
    wide = replica_of(plain.with_plan((wide_pool,)), catalog, wide_pool)
    free = Draft(0.6, (1,), 0.0)
    drafted = verified(alone, wide, free, 1, per_seq_s=0.0, reads=1.0).cost
    assert all(drafted.decode_s[1:] >= alone.cost.decode_s[1:])
    assert drafted.decode_s[64] == pytest.approx(wide.cost.decode_s[128])
    assert drafted.decode_context_s[64] == alone.cost.decode_context_s[64]


def test_latent_attention_pays_for_every_query_and_grouped_queries_do_not(catalog: Catalog) -> None:
    """All 128 heads of a latent on one rank; split over eight ranks the matrix units idle again."""
    whole, split = case(catalog, 4, tp="1", dp="8", ep="8"), case(catalog, 4)
    place = hardware(whole, catalog, whole.pools[0])
    assert 1.0 < reads_of(whole.model, whole.pools[0], place, 4) <= 4.0
    assert reads_of(split.model, split.pools[0], place, 4) == 1.0
    grouped = case(catalog, 4, model="llama-3.1-70b")
    assert reads_of(grouped.model, grouped.pools[0], place, 4) == 1.0


def test_a_gain_is_never_more_than_the_tokens_of_a_step(catalog: Catalog) -> None:
    for concurrency in (2, 256):
        plain, drafted = (
            predict(case(catalog, concurrency, spec_decode=kind), catalog).metrics["tpot_mean_ms"]
            for kind in ("", "mtp")
        )
        assert 0.9 < plain / drafted < DRAFTS["mtp"].tokens(3)


def test_default_servers_that_draft_run_few_requests_at_once(catalog: Catalog) -> None:
    """SGLang sets 48 when a speculative algorithm is asked for and no limit; sweeps raise it."""
    default = case(catalog, 100, spec_decode="mtp", length_dist="dataset", dataset="random")
    assert default.pools[0].max_seqs == 48
    assert case(catalog, 100, spec_decode="mtp").pools[0].max_seqs == 100
    assert case(catalog, 100, length_dist="dataset", dataset="random").pools[0].max_seqs == 100
