"""The catalog: entries by name and alias, prices, engine versions, and what is said about names that mean nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from planner.catalog import Catalog
from planner.catalog.prices import Quote, quote
from planner.errors import BadInput
from planner.spec.hardware import Price

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def said(ask: object, *words: str) -> str:
    with pytest.raises(BadInput) as caught:
        ask(*words)  # type: ignore[operator]
    return str(caught.value)


def listing(**changes: object) -> Price:
    entry = {
        "provider": "acme", "instance": "big-8", "region": "north", "accelerator": "h100", "accelerators": 8,
        "on_demand": "$80/h", "as_of": "2026-01-01", "source": "test",
    }  # fmt: skip
    return Price.model_validate({**entry, **changes})


def test_every_kind_has_entries(catalog: Catalog) -> None:
    kinds = ("accelerators", "nodes", "fabrics", "models", "stage_models", "engines", "prices", "tco", "presets")
    assert all(len(catalog.names(kind)) > 0 for kind in kinds)


def test_names_are_found_in_any_case(catalog: Catalog) -> None:
    assert catalog.node("AWS-P5.48xlarge") is catalog.node("aws-p5.48xlarge")
    assert catalog.canonical("models", " Llama-3.1-8B ") == "llama-3.1-8b"


def test_an_entry_is_read_once_and_only_when_asked_for() -> None:
    catalog = Catalog.open()
    catalog.node("dgx-h100")
    assert list(catalog._entries) == [("nodes", "dgx-h100")]


def test_what_nodes_name_exists(catalog: Catalog) -> None:
    for name in catalog.names("nodes"):
        node = catalog.node(name)
        assert catalog.accelerator(node.accelerator).name == node.accelerator
        assert not node.scaleup_fabric or catalog.fabric(node.scaleup_fabric)
        assert not node.scaleout_fabric or catalog.fabric(node.scaleout_fabric)
        if node.price_key:
            assert catalog.price(node.price_key).for_node(node.accelerators) > 0


def test_an_origin_is_a_file_of_the_repository(catalog: Catalog) -> None:
    for kind, name in (
        ("nodes", "dgx-h100"),
        ("models", "llama-3.1-8b"),
        ("engines", "vllm"),
        ("presets", "azure-conv-2023"),
    ):
        assert (ROOT / catalog.origin(kind, name)).is_file()


def test_unknown_names_get_the_nearest(catalog: Catalog) -> None:
    assert said(catalog.node, "dgx-h10").startswith("unknown node 'dgx-h10' - did you mean 'dgx-h100' or ")
    assert said(catalog.fabric, "zzzzzzz").startswith(
        "unknown fabric 'zzzzzzz' - `serveplan catalog list fabrics` shows all "
    )
    assert said(catalog.model, "meta-llama/Lama-3.1-8B").startswith(
        "unknown model 'meta-llama/Lama-3.1-8B' - did you mean 'llama-3.1-8b'"
    )
    assert said(catalog.names, "model") == "unknown kind of entry 'model' - did you mean 'models' or 'nodes'?"


def test_a_catalog_travels_to_other_processes(catalog: Catalog) -> None:
    copy = pickle.loads(pickle.dumps(catalog))
    assert copy.node("dgx-h100") == catalog.node("dgx-h100")
    assert copy.content_hash() == catalog.content_hash()


def test_engine_versions(catalog: Catalog) -> None:
    assert catalog.engine("VLLM", "0.19.0").covers("0.19.0")
    assert catalog.engine("vllm").default
    assert "did you mean 'vllm'?" in said(catalog.engine, "vlm", "0.19.0")


def test_an_unknown_version_names_the_nearest_known(tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir()
    for name, since, before in (("e1", "1.0", "1.5"), ("e2", "2.0", "3.0")):
        entry = {
            "name": name,
            "engine": "acme",
            "since": since,
            "before": before,
            "scheduler": "vllm_v1",
            "source": "test",
        }
        (tmp_path / "engines" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    catalog = Catalog.open([tmp_path])
    assert catalog.engine("acme", "2.9.9").name == "e2"
    assert said(catalog.engine, "acme", "3.0") == (
        "no profile of acme covers version '3.0' - known versions: 1.0 up to 1.5, 2.0 up to 3.0"
    )
    assert said(catalog.engine, "acme", "latest").startswith("no profile of acme covers version 'latest'")


class TestPrices:
    def test_without_a_region_the_newest_then_the_first_by_name(self) -> None:
        prices = [listing(region="b"), listing(region="a"), listing(region="c", as_of="2025-01-01", on_demand="$1/h")]
        assert quote(prices, "acme:big-8", "on_demand").price.region == "a"
        assert quote(prices, "acme:BIG-8:c", "on_demand").usd_per_hour == 1.0

    def test_a_term_is_looked_for_among_all_regions(self) -> None:
        prices = [listing(region="a"), listing(region="b", spot="$30/h")]
        found = quote(prices, "acme:big-8", "spot")
        assert (found.price.region, found.usd_per_hour) == ("b", 30.0)

    def test_a_note_in_brackets_is_no_part_of_the_name(self) -> None:
        found = quote([listing(instance="chip (per chip)", accelerators=1, on_demand="$2/h")], "acme:chip", "on_demand")
        assert found.for_node(8) == 16.0

    def test_later_lists_replace_earlier_ones_of_the_same_place(self) -> None:
        found = quote([listing(), listing(on_demand="$60/h", as_of="2020-01-01")], "acme:big-8", "on_demand")
        assert found.usd_per_hour == 60.0

    def test_a_quote_says_what_was_used(self) -> None:
        assert str(Quote(listing(), "on_demand", 80.0)) == "acme:big-8:north on_demand, as of 2026-01-01 (test)"

    @pytest.mark.parametrize(
        ("key", "term", "message"),
        [
            ("big-8", "on_demand", "'big-8' is not a price key - write provider:instance or provider:instance:region"),
            ("acme:", "on_demand", "'acme:' is not a price key - write provider:instance or provider:instance:region"),
            ("acne:big-8", "on_demand", "no prices of a provider 'acne' - did you mean 'acme'?"),
            ("acme:big-9", "on_demand", "no price of acme:big-9 - did you mean 'big-8'?"),
            ("acme:zzz", "on_demand", "no price of acme:zzz - `price` states one directly"),
            ("acme:big-8:mars", "on_demand", "no price of acme:big-8 in mars - known regions: north"),
            ("acme:big-8", "spot", "no spot price of acme:big-8 - known terms: on_demand"),
        ],
    )
    def test_unknown_keys(self, key: str, term: str, message: str) -> None:
        assert said(lambda: quote([listing()], key, term)) == message  # type: ignore[arg-type]


def test_economic_figures_are_unique(catalog: Catalog) -> None:
    keys = [(figure.kind, figure.key) for figure in catalog.tco_parameters()]
    assert len(keys) == len(set(keys)) > 100


def test_the_content_hash_is_stable() -> None:
    assert Catalog.open().content_hash() == Catalog.open().content_hash()


def test_the_content_hash_sees_every_file_and_its_place(tmp_path: Path) -> None:
    hashes = set()
    for name, content in (("a.yaml", b"1"), ("b.yaml", b"1"), ("b.yaml", b"2"), ("table.npz", b"2")):
        folder = tmp_path / str(len(hashes))
        (folder / "hardware_db" / "nodes").mkdir(parents=True)
        (folder / "hardware_db" / "nodes" / name).write_bytes(content)
        hashes.add(Catalog.open([folder]).content_hash())
    assert len(hashes) == 4
