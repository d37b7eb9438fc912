"""The estimator `table`: measured shapes come back, the rest is the default's, bad rows are named by their cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.errors import BadInput
from planner.perf.collectives import Collective
from planner.perf.cut import cut_of, stages_of
from planner.perf.estimators import ESTIMATORS, WHOLE_STEPS
from planner.perf.estimators.table import REPEATED, Table
from planner.perf.hardware import Hardware, hardware_of
from planner.perf.measured import measured_table
from planner.perf.work import Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.hardware import EstimatorName
from planner.spec.step import Replica

PoolOf, ReplicaOf, DecodeS = Callable[..., Pool], Callable[..., Replica], Callable[[Replica, int, float], float]


def with_table(hardware: Hardware, path: Path, text: str) -> Hardware:
    path.write_text(text, encoding="utf-8")
    board = hardware.accelerator.model_copy(update={"measurements": str(path), "estimator": "table"})
    return replace(hardware, accelerator=board)


@pytest.fixture
def pool(pool_of: PoolOf) -> Pool:
    return pool_of("llama-3.1-8b", max_tokens_per_step=2048)


@pytest.fixture
def plain(catalog: Catalog, pool: Pool) -> Hardware:
    return hardware_of(catalog, pool)


def test_catalogs_may_name_exactly_the_estimators_there_are() -> None:
    assert set(get_args(EstimatorName)) == {*ESTIMATORS, *WHOLE_STEPS}


def test_an_unknown_estimator_gets_the_nearest_of_all(replica_of: ReplicaOf, pool: Pool) -> None:
    with pytest.raises(BadInput, match="unknown estimator 'silicone' - did you mean 'silicon'"):
        replica_of(pool, estimator="silicone")


def test_measured_products_come_back_and_other_shapes_stay(
    catalog: Catalog, pool: Pool, plain: Hardware, tmp_path: Path
) -> None:
    profile, model = catalog.engine("vllm"), catalog.model(pool.model)
    counts = np.array([1.0, 8.0, 64.0, 512.0])
    work = stage_work(
        model, cut_of(model, pool, plain), stages_of(model, 1)[0], Tokens(counts, counts, counts, "decode")
    )
    chosen, other = work.gemms[0], work.gemms[1]
    fitted = ESTIMATORS.get("fitted")(plain, profile)
    wanted = fitted.gemm(chosen) * np.array([1.0, 1.5, 2.0, 2.0])
    rows = [
        f"gemm,{t!r},bf16,{n:.0f},{chosen.n:.0f},{chosen.k:.0f}" for n, t in zip(counts, wanted.tolist(), strict=True)
    ]
    table = Table(with_table(plain, tmp_path / "m.csv", "kind,seconds,weights,tokens,n,k\n" + "\n".join(rows)), profile)
    assert table.gemm(chosen) == pytest.approx(wanted, rel=1e-9)
    assert np.array_equal(table.gemm(other), fitted.gemm(other))
    beyond = replace(chosen, rows=np.array([4096.0]))
    assert table.gemm(beyond) == pytest.approx(2.0 * fitted.gemm(beyond))
    assert table.source == "table m.csv over analytic x kernels h100-sxm5-80gb"


def test_measured_messages_come_back(catalog: Catalog, plain: Hardware, tmp_path: Path) -> None:
    text = "kind,seconds,gpus,bytes\nall_reduce,50e-6,4,1e6\nall_reduce,90e-6,4,8e6\n"
    table = Table(with_table(plain, tmp_path / "m.csv", text), catalog.engine("vllm"))
    found = table.collective(Collective("all_reduce", np.array([1e6, 8e6]), 4, 1))
    assert found == pytest.approx([50e-6, 90e-6])


def test_measured_steps_set_the_level_and_the_error(
    replica_of: ReplicaOf, decode_s: DecodeS, pool: Pool, plain: Hardware, tmp_path: Path
) -> None:
    header = "kind,seconds,model,weights,batch,context,tokens\n"
    rows = "\n".join(f"decode_step,{s},llama-3.1-8b,bf16,{n},{c}," for n, c, s in ((1, 1000, 0.011), (64, 1000, 0.02)))
    prompts = "\nprefill_step,0.08,llama-3.1-8b,bf16,,,2000\nprefill_step,0.012,llama-3.1-8b,bf16,,,128\n"
    hardware = with_table(plain, tmp_path / "m.csv", header + rows + prompts)
    small = pool.model_copy(update={"max_seqs": 64})
    found = replica_of(small, hardware=hardware)
    assert decode_s(found, 1, 1000.0) == pytest.approx(0.011)
    assert decode_s(found, 64, 1000.0) == pytest.approx(0.02)
    assert found.cost.rel_error == REPEATED
    assert found.cost.doubts == ()
    wide = replica_of(pool.model_copy(update={"max_seqs": 512}), hardware=hardware).cost
    assert wide.rel_error > REPEATED
    assert wide.doubts == ("decode batches beyond those measured (up to 64)",)


def test_a_time_below_the_roofline_is_refused_with_its_row(
    replica_of: ReplicaOf, pool: Pool, plain: Hardware, tmp_path: Path
) -> None:
    text = "kind,seconds,weights,tokens,n,k\ngemm,1e-9,bf16,64,4096,4096\n"
    with pytest.raises(BadInput, match=r"m\.csv:2:2: seconds: 1e-09 is faster than h100-sxm5-80gb can be - at least"):
        replica_of(pool, hardware=with_table(plain, tmp_path / "m.csv", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind,second\ngemm,1\n", r"m.csv:1:1: no column seconds - did you mean 'second'"),
        ("kind,seconds\ngem,1\n", r"m.csv:2:1: kind: 'gem' is no kind - did you mean 'gemm'"),
        ("kind,seconds,weights,tokens,n,k\ngemm,1,fp7,8,8,8\n", r"m.csv:2:3: weights: 'fp7' is not a weights format"),
        ("kind,seconds,weights,tokens,n,k\ngemm,fast,fp8,8,8,8\n", r"m.csv:2:2: seconds: 'fast' is not a positive"),
        ("kind,seconds,weights,tokens,n,k\ngemm,1,fp8,8,8,0\n", r"m.csv:2:6: k: '0' is not a positive number"),
        ("kind,seconds,tokens\ngemm,1,8\n", r"m.csv:2:1: weights: '' is not a weights format"),
    ],
)
def test_a_malformed_table_names_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        measured_table(str(path))


def test_the_table_estimator_without_a_table_says_where_to_name_it(replica_of: ReplicaOf, pool: Pool) -> None:
    with pytest.raises(BadInput, match="h100-sxm5-80gb names no table - give its catalog entry `measurements"):
        replica_of(pool, estimator="table")


def test_a_gpu_without_kernels_is_told_and_wider(replica_of: ReplicaOf, pool_of: PoolOf, plain: Hardware) -> None:
    pool = pool_of("llama-3.1-8b")
    own = replica_of(pool).cost
    borrowed = plain.accelerator.model_copy(update={"name": "new-gpu", "behaves_like": "h100-sxm5-80gb"})
    unlike = plain.accelerator.model_copy(update={"name": "new-gpu"})
    found = [replica_of(pool, hardware=replace(plain, accelerator=board)).cost for board in (borrowed, unlike)]
    assert own.doubts == ()
    assert found[0].doubts == ("new-gpu has no measured kernels; its efficiency is that of h100-sxm5-80gb",)
    assert found[1].doubts == ("new-gpu has no measured kernels; its step times come from its datasheet",)
    assert all(cost.rel_error == pytest.approx((1 + own.rel_error) ** 1.3 - 1) for cost in found)


def test_a_format_without_kernels_is_told(replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile) -> None:
    pool = pool_of("llama-3.1-70b", node="l40s-8", accelerator="l40s", tp=4, weights="int8")
    (doubt,) = replica_of(pool, bare).cost.doubts
    assert doubt.endswith("of the weights have a format or shape outside the measured kernels")
