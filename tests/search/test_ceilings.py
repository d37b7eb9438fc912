"""Bounds made without price tables: below every price that the tables hold, above everything that simulation shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.perf.cuts import Degrees, cuts_of
from planner.perf.floors import floors_of
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.search.admit import admit
from planner.search.bounds import least_tpot_s, least_ttft_s
from planner.search.ceilings import UNFINISHED, FirstRung, ceilings_of
from planner.search.evaluate import Family, evaluate_family, families_of
from planner.search.measure import Draws, open_capacity, probe_size
from planner.search.probe import promises_of, trials
from planner.search.setting import Setting
from planner.search.space import enumerate_pools, pools_of
from planner.spec.deployment import Parallelism, Pool
from planner.spec.precision import Dtype, KvDtype

CATALOG = Catalog.open()
MOE = {"m": {"model": "moe", "weights": ["fp8"], "kv": ["bf16"]}}
MODELS = ("llama-3-8b", "deepseek-v3", "gpt-oss-120b", "qwen3-235b-a22b", "jamba-1.5-large", "llama-3.2-90b-vision",
          "minimax-m1", "gemma-3-27b", "glm-5.2")  # fmt: skip
PLACES = (("dgx-h100", "h100-sxm5-80gb"), ("dgx-a100-80gb", "a100-sxm4-80gb"), ("aws-g6e.48xlarge", "l40s"))
FORMATS: tuple[tuple[Dtype, KvDtype], ...] = (("bf16", "bf16"), ("fp8", "fp8"), ("int4", "bf16"))


def known(names: tuple[str, ...], kind: str) -> list[str]:
    return [name for name in names if name in CATALOG.names(kind)]


def degrees_of(seed: int) -> list[Parallelism]:
    rows = 2 ** np.random.default_rng(seed).integers(0, 4, size=(5, 6))
    return [
        Parallelism(tp=tp, pp=min(pp, 4), dp=dp, ep=min(ep, tp * dp), cp=min(cp, 2), dcp=1)
        for tp, pp, dp, ep, cp, _ in rows.tolist()
    ]


@pytest.mark.parametrize("estimator", ["fitted", "analytic", "roofline"])
@pytest.mark.parametrize("name", known(MODELS, "models"))
def test_no_price_of_a_step_is_below_its_floor(name: str, estimator: str) -> None:
    """Random cuts, places, formats and engines: every batch and every prompt that a table prices."""
    model, cuts = CATALOG.model(name), degrees_of(len(name))
    arrays = Degrees(*(np.array([getattr(d, key) for d in cuts]) for key in ("tp", "pp", "dp", "ep", "cp", "dcp")))
    for (node, board), formats, engine in zip(PLACES, FORMATS, ("vllm", "trtllm", "sglang"), strict=True):
        profile, seats = CATALOG.engine(engine), 96
        pools = [Pool(name="p", model=name, node=node, accelerator=board, parallelism=cut, weights=formats[0],
                      kv=formats[1], max_seqs=seats * cut.dp, max_tokens_per_step=2048) for cut in cuts]  # fmt: skip
        hardware = hardware_of(CATALOG, pools[0])
        if formats[0] == "fp8" and not hardware.accelerator.peak.fp8_flop_per_s:
            continue
        floors = floors_of(model, cuts_of(model, arrays, formats, hardware), profile, formats[0], estimator)
        assert floors is not None
        for i, pool in enumerate(pools):
            cost = build_replica(model, pool, hardware, profile, estimator=estimator).cost
            for n in (1, 2, 7, 48, seats):  # those that tables hold, and one between
                rank = np.full(len(pools), float(n))
                wide = np.minimum(np.maximum(1.25 * rank, rank + 2), seats)
                least = floors.decode(rank)[i] + floors.experts(wide)[i] / wide[i] * n
                assert cost.decode_s[n * pool.parallelism.dp] >= least * (1 - 1e-9)
            assert cost.decode_context_s[1:].min() >= floors.context_s()[i] * (1 - 1e-9)
            for tokens in (1, 100, 512, 2048):
                step = np.interp(tokens, np.arange(len(cost.linear_s)) * cost.linear_stride, cost.linear_s)
                sampled = np.full(len(pools), 1.25 * (tokens + cost.linear_stride) + 2)
                assert step >= tokens * floors.prompt(sampled)[i] / sampled[i] * (1 - 1e-9)


@pytest.mark.parametrize("models", [None, MOE], ids=["dense", "moe"])
def test_ceilings_hold_in_simulation(small: Callable[..., Setting], models: dict[str, object] | None) -> None:
    setting = small(**({"models": models} if models else {}))
    for family in families_of(setting, admit(enumerate_pools(setting), setting)):
        load, role = setting.loads[family.load], family.candidates[0].role
        draws = Draws(load, setting.seed)
        drawn = draws.first(setting.scenario.search.requests_per_probe)
        slos = {name: promises_of(slo, role) for name, slo in load.slos.items()}
        ceilings = ceilings_of(pools_of(family.candidates), setting, drawn, slos)
        most = ceilings.capacity(slos)
        assert np.all(most > 0)
        for i, t in list(enumerate(trials(setting, family.candidates, load)))[::7]:
            found = open_capacity(t, draws.first(probe_size(t, drawn))).amount
            assert found <= most[i] * UNFINISHED
            assert not (found and ceilings.words(i))
            least = {"ttft": least_ttft_s(t.replica, t.requests(drawn)), "tpot": least_tpot_s(t.replica, drawn)}
            for late in ceilings.promises:
                assert late.least_s[i] <= np.nanquantile(least[late.metric], 0.95)
                assert (late.least_s[i] > 0) == (role != {"ttft": "decode", "tpot": "prefill"}[late.metric])


def test_promises_that_break_are_told_without_a_price(small: Callable[..., Setting]) -> None:
    """3 TB/s read 1 GB or so of weights in a third of a millisecond: none keeps a tenth of that."""
    asked = [{**small().scenario.model_dump(mode="json")["classes"][0], "slo": {"tpot": {"p95": "30 us"}}}]
    setting = small(classes=asked)
    families = families_of(setting, admit(enumerate_pools(setting), setting))
    for family in families:
        found = evaluate_family(setting, family)
        if family.candidates[0].role != "prefill":
            assert all(one.pruned and "even without load, the limit is 3e-05 s" in one.reason for one in found)


def test_what_falls_at_once_is_what_would_have_lost(
    small: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the first rung: the same capacities, one by one."""
    setting = small()
    families = families_of(setting, admit(enumerate_pools(setting), setting))
    fallen = [evaluate_family(setting, family) for family in families]
    monkeypatch.setattr(FirstRung, "against", lambda *_: "")
    measured = [evaluate_family(setting, family) for family in families]
    assert [[one.capacity for one in found] for found in fallen] == [
        [one.capacity for one in found] for found in measured
    ]


def test_a_source_that_knows_no_operators_has_no_ceiling(small: Callable[..., Setting]) -> None:
    setting = small()
    setting = replace(
        setting,
        scenario=setting.scenario.model_copy(
            update={"engine": setting.scenario.engine.model_copy(update={"estimator": "silicon"})}
        ),
    )
    load = setting.loads[0]
    pools = enumerate_pools(setting).arrays[0]
    ceilings = ceilings_of(pools, setting, Draws(load, 0).first(50), load.slos)
    assert np.all(np.isinf(ceilings.capacity(load.slos)))
    assert not any(ceilings.words(i) for i in range(len(pools)))


def test_a_job_is_measured_whatever_its_promises(small: Callable[..., Setting]) -> None:
    setting = small()
    family = Family(0, tuple(c for c in enumerate_pools(setting) if c.role == "decode" and c.site == "fast"))
    load = replace(setting.loads[0], kind="job")
    drawn = Draws(setting.loads[0], 0).first(50)
    assert FirstRung(setting, load, family.candidates, drawn).against(family.candidates[0], 1e9) == ""
    assert FirstRung(setting, setting.loads[0], family.candidates, drawn).against(family.candidates[0], 1e9)
