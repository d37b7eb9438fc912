"""The bill against arithmetic done by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import BadInput
from planner.spec.hardware import Accelerator, Node
from planner.spec.plan import Value
from planner.spec.scenario import NodeType, Owned
from planner.tco import (
    Share,
    annuity_usd_per_year,
    bill,
    kgco2_per_hour,
    node_idle_w,
    node_usd_per_hour,
    nodes_for,
    overhead_w,
    pue,
    usd_per_hour,
    usd_per_mtok,
    watts,
)

H200 = Accelerator.model_validate({
    "name": "H200", "vendor": "NVIDIA", "year": 2024, "memory": "141 GB", "memory_bandwidth": "4.8 TB/s", "peak": {},
    "tdp": "700 W", "idle": "75 W", "source": "test",
})  # fmt: skip
HGX = Node.model_validate({
    "name": "hgx", "accelerator": "H200", "accelerators": 8, "scaleup_fabric": "nvlink", "scaleup_domain": 8,
    "idle": "2380 W", "overhead_busy": "2400 W", "source": "test",
})  # fmt: skip
OWN = Owned.model_validate({
    "capex": "$300000", "amortisation_years": 5, "interest": 0.10, "maintenance": 0.05,
    "electricity": "$0.08/kWh", "pue": 1.25,
})  # fmt: skip


def rented(**fields: object) -> NodeType:
    return NodeType.model_validate({"node": "hgx", "count": 9, "price_usd_per_hour": "20 USD/h", **fields})


def owned(**fields: object) -> NodeType:
    return NodeType(node="hgx", count=9, own=OWN.model_copy(update=fields))


def share(node_type: NodeType, **fields: float) -> Share:
    values = {"nodes": 2, "used": 12, "accelerators_w": 12 * 500.0, "busy": 1.0, **fields}
    return Share(node_type, HGX, H200, **values)


def test_annuity_repays_the_capex_with_interest() -> None:
    # 300,000 at 10 % over 5 years: payment 300000 * 0.1 / (1 - 1.1^-5) = 79,139.24
    assert annuity_usd_per_year(OWN) == pytest.approx(79_139.244, abs=0.01)
    debt = OWN.capex_usd
    for _ in range(5):
        debt = debt * 1.10 - annuity_usd_per_year(OWN)
    assert debt == pytest.approx(0, abs=1e-6)


def test_residual_value_is_what_remains_of_the_debt() -> None:
    own = OWN.model_copy(update={"residual": 0.3})
    debt = own.capex_usd
    for _ in range(5):
        debt = debt * 1.10 - annuity_usd_per_year(own)
    assert debt == pytest.approx(90_000, abs=1e-6)


def test_without_interest_the_annuity_is_the_straight_line() -> None:
    own = OWN.model_copy(update={"interest": 0.0, "residual": 0.1})
    assert annuity_usd_per_year(own) == pytest.approx(54_000)
    nearly = own.model_copy(update={"interest": 1e-12})
    assert annuity_usd_per_year(nearly) == pytest.approx(54_000, rel=1e-9)


def test_hour_of_an_owned_node() -> None:
    # (79,139.244 annuity + 15,000 maintenance) / 8760 h = 10.7465
    assert node_usd_per_hour(owned()) == pytest.approx(10.7465, abs=1e-4)


def test_stated_price_beats_the_catalog_price() -> None:
    assert node_usd_per_hour(rented(), 99.0) == 20.0
    assert node_usd_per_hour(rented(price_usd_per_hour=None, price_key="aws:p5"), 99.0) == 99.0


def test_a_node_without_any_price_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no price for node 'hgx' - give price, price_key or own"):
        node_usd_per_hour(NodeType(node="hgx", count=1))


def test_watts_count_overhead_used_and_idle_accelerators_and_the_hall() -> None:
    # 2 nodes: 1.25 * (2 * 2400 + 12 * 500 + 4 idle * 75) = 1.25 * 11,100
    assert watts(share(owned())) == pytest.approx(13_875.0)


def test_pue_of_the_node_type_beats_that_of_the_owner() -> None:
    assert pue(owned()) == 1.25
    assert pue(NodeType(node="hgx", count=1, own=OWN, pue=1.1)) == 1.1
    assert pue(rented()) == 1.25


def test_owned_nodes_pay_electricity_and_rented_ones_do_not() -> None:
    # 13.875 kW * 0.08 = 1.11 per hour
    assert usd_per_hour(share(owned())) == pytest.approx(2 * 10.746489 + 1.11, abs=1e-4)
    assert usd_per_hour(share(rented())) == 40.0


def test_an_idle_node_draws_its_measured_idle_power_and_costs_its_rent() -> None:
    idle = share(rented(pue=1.0), used=0, accelerators_w=0.0, busy=0.0)
    assert watts(idle) == pytest.approx(2 * 2380.0)
    assert node_idle_w(HGX, H200) == pytest.approx(2380.0)
    assert usd_per_hour(idle) == 40.0


def test_overhead_goes_from_idle_to_busy() -> None:
    assert overhead_w(HGX, H200, 0.0) == pytest.approx(2380 - 600)
    assert overhead_w(HGX, H200, 0.5) == pytest.approx((1780 + 2400) / 2)
    assert overhead_w(HGX, H200, 1.0) == 2400


def test_overhead_of_a_node_without_own_figures_is_a_share_of_tdp() -> None:
    cloud = HGX.model_copy(update={"idle_w": None, "overhead_busy_w": None})
    assert overhead_w(cloud, H200, 1.0) == pytest.approx(0.43 * 5600)
    assert overhead_w(cloud, H200, 0.0) == pytest.approx(0.32 * 5600)


def test_unknown_power_is_refused_with_a_name() -> None:
    dark = H200.model_copy(update={"tdp_w": None, "idle_w": None})
    with pytest.raises(BadInput, match="'H200' is unknown - give its tdp"):
        watts(Share(rented(), HGX, dark, 1, 4, 2000.0))


def test_carbon_of_the_electricity() -> None:
    green = NodeType.model_validate({"node": "hgx", "count": 1, "own": OWN, "carbon_kg_per_kwh": "400 g/kWh"})
    assert kgco2_per_hour(share(green)) == pytest.approx(13.875 * 0.4)
    assert kgco2_per_hour(share(owned())) is None


def test_dollars_per_million_tokens() -> None:
    # 36 USD/h at 1,000 tok/s: 3.6 M tokens per hour -> 10 USD/Mtok
    assert usd_per_mtok(36.0, 1000.0) == pytest.approx(10.0)


def test_bill_of_two_node_types() -> None:
    both = [share(owned()), share(rented(pue=1.0))]
    result = bill(both, Value(value=10_000, lo=8_000, hi=12_500), watts_rel_error=0.1)
    dollars, power = 2 * 10.746489 + 1.11 + 40.0, 13_875.0 + 11_100.0
    assert result.usd_per_hour == pytest.approx(dollars, abs=1e-4)
    assert result.watts == pytest.approx(power)
    assert result.usd_per_mtok.value == pytest.approx(dollars / 36, rel=1e-5)
    assert result.usd_per_mtok.lo == pytest.approx(dollars / 45, rel=1e-5)
    assert result.usd_per_mtok.hi == pytest.approx(dollars / 28.8, rel=1e-5)
    assert result.joules_per_token.value == pytest.approx(power / 10_000)
    assert result.joules_per_token.lo == pytest.approx(0.9 * power / 12_500)
    assert result.joules_per_token.hi == pytest.approx(1.1 * power / 8_000)
    assert result.kwh_per_mtok == pytest.approx(power / 10_000 / 3.6)
    assert result.kgco2_per_hour is None


def test_bill_sums_carbon_when_every_grid_is_known() -> None:
    green = NodeType.model_validate({"node": "hgx", "count": 1, "own": OWN, "carbon_kg_per_kwh": "100 g/kWh"})
    result = bill([share(green), share(green)], Value(value=1, lo=1, hi=1))
    assert result.kgco2_per_hour == pytest.approx(2.775)


def test_measured_node_gives_its_measured_joules_per_token() -> None:
    """MLPerf Inference v4.1, 8xH200 MaxQ, llama2-70b offline: 6,161 W and 25,262 tok/s are 0.24 J/token at the wall."""
    gpus_w = 6161.0 - 2400.0
    result = bill([Share(rented(pue=1.0), HGX, H200, 1, 8, gpus_w)], Value(value=25_262, lo=25_262, hi=25_262))
    assert result.joules_per_token.value == pytest.approx(0.24, abs=0.005)
    assert node_idle_w(HGX, H200) / 6161 == pytest.approx(0.38, abs=0.01)


def test_a_bill_without_tokens_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="positive token rate"):
        bill([share(owned())], Value(value=0, lo=0, hi=0))


def test_more_accelerators_than_the_nodes_hold_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        share(owned(), nodes=1)


@pytest.mark.parametrize(("accelerators", "nodes"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_whole_nodes_are_charged(accelerators: int, nodes: int) -> None:
    assert nodes_for(accelerators, HGX) == nodes


def test_pools_that_share_nodes_add_up_to_the_plan() -> None:
    whole = share(owned(), nodes=2, used=12, accelerators_w=6000.0)
    parts = [share(owned(), nodes=n, used=u, accelerators_w=500.0 * u) for n, u in ((1.25, 8), (0.75, 4))]
    assert sum(map(usd_per_hour, parts)) == pytest.approx(usd_per_hour(whole))
    assert sum(map(watts, parts)) == pytest.approx(watts(whole))


positive = st.floats(0.01, 1e3)


@given(nodes=st.integers(1, 50), more=st.integers(1, 5), busy=st.floats(0, 1))
def test_another_idle_node_costs_money_and_power(nodes: int, more: int, busy: float) -> None:
    few = share(owned(), nodes=nodes, used=8 * nodes, accelerators_w=4000.0 * nodes, busy=busy)
    many = share(owned(), nodes=nodes + more, used=8 * nodes, accelerators_w=4000.0 * nodes, busy=busy)
    assert usd_per_hour(many) > usd_per_hour(few)
    assert watts(many) > watts(few)


@given(capex=st.floats(1, 1e7), years=st.floats(0.5, 20), interest=st.floats(0, 0.5), residual=st.floats(0, 0.99))
def test_owning_costs_at_least_the_loss_of_value_and_more_with_interest(
    capex: float, years: float, interest: float, residual: float
) -> None:
    own = OWN.model_copy(
        update={"capex_usd": capex, "amortisation_years": years, "interest": interest, "residual": residual}
    )
    dearer = own.model_copy(update={"interest": interest + 0.05})
    assert annuity_usd_per_year(own) >= capex * (1 - residual) / years * (1 - 1e-9)
    assert annuity_usd_per_year(dearer) > annuity_usd_per_year(own)


@given(pue_low=st.floats(1, 2), step=st.floats(0.01, 1), price=positive)
def test_a_worse_hall_never_saves_energy(pue_low: float, step: float, price: float) -> None:
    low, high = (share(rented(pue=p, price_usd_per_hour=f"{price} USD/h")) for p in (pue_low, pue_low + step))
    assert watts(low) < watts(high)
    assert usd_per_hour(low) == usd_per_hour(high)
