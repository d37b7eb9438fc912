"""The source of step times as users choose it: in a scenario, in a catalog entry, and what plans say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import Catalog, load_scenario
from planner.errors import BadInput, NotPriced, Problem
from planner.perf.estimators import WHOLE_STEPS, silicon
from planner.search.plan import plan
from planner.search.predict import simulate
from planner.testing import tiny_scenario

ROOT = Path(__file__).parents[2]
FLEET = {"nodes": [{"name": "h100", "node": "aws-p5.4xlarge", "count": 2, "price": "5 USD/h"}]}
TINY = {
    "fleet": FLEET,
    "search": {"requests_per_probe": 100, "tp": [1], "roles": ["aggregated"], "max_tokens_per_step": [2048]},
}


def asking(estimator: str | None) -> dict[str, object]:
    return {**TINY, "engine": {"name": "vllm", "version": "0.19.0", "estimator": estimator}}


def own_h100(folder: Path, lines: str) -> Catalog:
    shipped = ROOT / "hardware_db/accelerators/nvidia/h100-sxm5-80gb.yaml"
    mine = folder / "hardware_db" / "accelerators" / "h100-sxm5-80gb.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(shipped.read_text() + lines)
    return Catalog.open([folder])


def test_a_plan_says_which_source_priced_its_pools() -> None:
    found = plan(tiny_scenario(**asking("analytic")))
    assert [pool.source for pool in found.pools] == ["analytic"]
    assert found.pools[0].rel_error == Catalog.open().engine("vllm", "0.19.0").rel_error


def test_the_scenario_stands_over_the_catalog_entry(tmp_path: Path) -> None:
    catalog = own_h100(tmp_path, "estimator: analytic\n")
    assert plan(tiny_scenario(**TINY), catalog=catalog).pools[0].source == "analytic"
    given = plan(tiny_scenario(**asking("fitted")), catalog=catalog)
    assert given.pools[0].source == "analytic x kernels h100-sxm5-80gb"
    seen = simulate(tiny_scenario(**asking("roofline")), given.deployment, catalog=catalog)
    assert seen.pools[0].source == "roofline"


def test_a_table_beside_a_catalog_entry_prices_plans(tmp_path: Path) -> None:
    catalog = own_h100(tmp_path, "estimator: table\nmeasurements: mine.csv\n")
    with pytest.raises(BadInput, match=r"h100-sxm5-80gb.yaml:\d+:\d+: measurements: no such file: 'mine.csv'"):
        plan(tiny_scenario(**TINY), catalog=catalog)
    (tmp_path / "hardware_db/accelerators/mine.csv").write_text(
        "kind,seconds,model,weights,batch,context\n"
        "decode_step,0.02,llama-3.1-8b,bf16,1,500\ndecode_step,0.03,llama-3.1-8b,bf16,16,500\n"
    )
    found = plan(tiny_scenario(**TINY), catalog=Catalog.open([tmp_path]))
    assert found.pools[0].source.startswith("table mine.csv over analytic x kernels h100")
    assert found.classes[0].metrics["tpot"]["p50"].value > 0.02
    assert any(text.startswith("extrapolated: decode batches beyond those measured") for text in found.warnings)


def test_an_unknown_name_is_told_where_it_stands(tmp_path: Path) -> None:
    text = (ROOT / "scenarios/quickstart.yaml").read_text()
    scenario = tmp_path / "s.yaml"
    scenario.write_text(text.replace("version: 0.19.0}", "version: 0.19.0, estimator: silicone}"))
    with pytest.raises(BadInput, match=r"s.yaml:\d+:\d+: engine.estimator: .*'silicone'.*did you mean 'silicon'"):
        load_scenario(scenario, Catalog.open())
    with pytest.raises(BadInput, match=r"h100-sxm5-80gb.yaml:\d+:\d+: estimator: .*did you mean 'fitted'"):
        own_h100(tmp_path, "estimator: fited\n").accelerator("h100-sxm5-80gb")


def test_without_silicon_a_plan_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BadInput(Problem("the silicon estimator is not installed", hint="pip install 'serveplan[silicon]'"))

    monkeypatch.setattr(silicon, "_package", missing)
    silicon._sampled.cache_clear()
    with pytest.raises(BadInput, match=r"not installed - pip install 'serveplan\[silicon\]'") as told:
        plan(tiny_scenario(**asking("silicon")))
    assert len(told.value.problems) == 1


def test_a_configuration_that_a_source_does_not_know_is_refused_and_others_are_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source knows the model in one weight format only."""
    from planner.perf.replica import step_cost

    def picky(model, pool, hardware, profile):
        if pool.weights == "fp8":
            raise NotPriced(Problem("picky: no tables of fp8 weights"))
        return step_cost(model, pool, hardware, profile, estimator="analytic")

    monkeypatch.setitem(WHOLE_STEPS._known, "silicon", picky)
    both = {"models": {"llama": {"model": "llama-3.1-8b", "weights": ["bf16", "fp8"]}}}
    found = plan(tiny_scenario(**asking("silicon"), **both))
    (refused,) = [one for one in found.evidence.refused if one.rule == "step-times"]
    assert refused.reason == "picky: no tables of fp8 weights"
    assert found.deployment.pools[0].weights == "bf16"


def test_a_gpu_without_kernels_makes_the_plan_warn(tmp_path: Path) -> None:
    shipped = (ROOT / "hardware_db/accelerators/nvidia/h100-sxm5-80gb.yaml").read_text()
    folder = tmp_path / "hardware_db"
    (folder / "accelerators").mkdir(parents=True)
    (folder / "nodes").mkdir()
    (folder / "accelerators/new-gpu.yaml").write_text(shipped.replace("name: h100-sxm5-80gb", "name: new-gpu"))
    node = (ROOT / "hardware_db/nodes/aws/aws-p5.4xlarge.yaml").read_text()
    (folder / "nodes/new-box.yaml").write_text(
        node.replace("name: aws-p5.4xlarge", "name: new-box").replace("h100-sxm5-80gb", "new-gpu")
    )
    fleet = {"fleet": {"nodes": [{"node": "new-box", "count": 1, "price": "2 USD/h"}]}}
    found = plan(tiny_scenario(**{**TINY, **fleet}), catalog=Catalog.open([tmp_path]))
    doubt = "extrapolated: new-gpu has no measured kernels; its step times come from its datasheet"
    assert any(text.startswith(doubt) for text in found.warnings)
    assert found.pools[0].rel_error > Catalog.open().engine("vllm", "0.19.0").rel_error
