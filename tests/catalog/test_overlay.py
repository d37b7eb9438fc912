"""A user's catalog over the shipped one: later wins, prices add up, messages name the user's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from planner.catalog import Catalog, layers
from planner.catalog.layers import VARIABLE
from planner.errors import BadInput

NODE = """\
name: {name}
accelerator: h100-sxm5-80gb
accelerators: {count}
scaleup_fabric: nvswitch-nvlink4
scaleup_domain: 8
price_key: acme:big
source: test
"""
PRICE = """\
prices:
- {{provider: acme, instance: big, region: north, accelerator: h100, accelerators: 8, on_demand: {usd},
   as_of: '2026-01-01', source: test}}
"""


def overlay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_later_entries_win_and_say_where_they_are_from(tmp_path: Path) -> None:
    mine = overlay(tmp_path, {"hardware_db/nodes/DGX-H100.yaml": NODE.format(name="dgx-h100", count=4)})
    catalog = Catalog.open([mine])
    assert catalog.node("dgx-h100").accelerators == 4
    assert catalog.origin("nodes", "dgx-h100") == f"{mine}/hardware_db/nodes/DGX-H100.yaml"
    assert Catalog.open().node("dgx-h100").accelerators == 8
    assert catalog.content_hash() != Catalog.open().content_hash()


def test_the_variable_names_folders_and_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        overlay(tmp_path / str(n), {"hardware_db/nodes/mine.yaml": NODE.format(name="mine", count=n)})
        for n in (1, 2, 3)
    ]
    monkeypatch.setenv(VARIABLE, os.pathsep.join(map(str, folders[:2])))
    assert Catalog.open().node("mine").accelerators == 2
    assert Catalog.open([folders[2]]).node("mine").accelerators == 3


def test_a_users_prices_add_to_the_shipped_and_replace_the_same_place(tmp_path: Path) -> None:
    mine = overlay(tmp_path / "a", {"hardware_db/prices/acme.yaml": PRICE.format(usd="$80/h")})
    yours = overlay(tmp_path / "b", {"hardware_db/prices/discount.yaml": PRICE.format(usd="$70/h")})
    catalog = Catalog.open([mine])
    assert catalog.price("acme:big").usd_per_hour == 80
    assert catalog.price("aws:p5.48xlarge").usd_per_hour > 0
    assert Catalog.open([mine, yours]).price("acme:big").usd_per_hour == 70


def test_aliases_of_an_overlay(tmp_path: Path) -> None:
    table = "aliases: {Our-Box: dgx-h100}\nunknown: {old-box: retired in 2025}\n"
    catalog = Catalog.open([overlay(tmp_path, {"hardware_db/aliases.yaml": table})])
    assert catalog.node("our-box").name == "dgx-h100"
    with pytest.raises(BadInput, match="node 'Old-Box' is not in the catalog - retired in 2025"):
        catalog.node("Old-Box")
    with pytest.raises(BadInput, match="unknown accelerator 'our-box'"):
        catalog.accelerator("our-box")


def test_presets_of_an_overlay(tmp_path: Path) -> None:
    catalog = Catalog.open(
        [overlay(tmp_path, {"presets.yaml": "presets: {ours: {arrivals: {rate: 1/s}}, theirs: {}}\n"})]
    )
    assert catalog.preset_has_arrivals("ours")
    assert not catalog.preset_has_arrivals("Theirs")
    assert {"ours", "theirs", "azure-conv-2023"} <= set(catalog.names("presets"))
    assert [path.name for path in catalog.files("presets")] == ["presets.yaml"] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            NODE.format(name="other", count=8),
            ":1:7: name: is 'other' but the file is called 'mine.yaml' - an entry is found by its file's name",
        ),
        (NODE.format(name="mine", count=0), ":3:15: accelerators: must be greater than 0, not 0"),
        (
            NODE.format(name="mine", count=8) + "tdp: 700\n",
            ":8:1: tdp: unknown field - known here: accelerator, accelerators, confidence, cooling, ",
        ),
        (
            NODE.format(name="mine", count=8) + "dram: 2048\n",
            ":8:7: dram: expected bytes with a unit, like '80 GiB', not 2048",
        ),
        ("just text", ":1:1: expected 'key: value' lines, not 'just text'"),
    ],
)
def test_mistakes_are_placed_in_the_users_file(tmp_path: Path, text: str, message: str) -> None:
    mine = overlay(tmp_path, {"hardware_db/nodes/mine.yaml": text})
    with pytest.raises(BadInput) as caught:
        Catalog.open([mine]).node("mine")
    assert str(caught.value).startswith(f"{mine}/hardware_db/nodes/mine.yaml{message}")


def test_folders_that_are_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, message in (
        (tmp_path / "none", "catalog: no such folder"),
        (tmp_path / "file", "catalog: not a folder"),
        (tmp_path, "catalog: nothing to read in this folder"),
    ):
        with pytest.raises(BadInput) as caught:
            Catalog.open([folder])
        assert str(caught.value).startswith(f"{folder}: {message}")


def test_hidden_files_are_not_entries(tmp_path: Path) -> None:
    mine = overlay(
        tmp_path,
        {"hardware_db/nodes/.mine.yaml.swp": "x", "hardware_db/nodes/.#mine.yaml": "x", "model_db/notes.txt": "x"},
    )
    assert Catalog.open([mine]).names("nodes") == Catalog.open().names("nodes")


def test_a_file_that_leads_nowhere_is_bad_input(tmp_path: Path) -> None:
    mine = overlay(tmp_path, {"hardware_db/nodes/mine.yaml": NODE.format(name="mine", count=1)})
    (mine / "hardware_db" / "nodes" / "lost.yaml").symlink_to(tmp_path / "gone.yaml")
    catalog = Catalog.open([mine])
    for ask in (catalog.content_hash, lambda: catalog.node("lost")):
        with pytest.raises(BadInput, match="hardware_db/nodes/lost.yaml: (no such file|cannot be read)"):
            ask()
    assert catalog.node("mine").accelerators == 1


def test_the_copy_in_a_wheel_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "planner"
    overlay(
        package,
        {
            "catalog/layers.py": "",
            "_db/hardware_db/nodes/mine.yaml": NODE.format(name="mine", count=1),
            "_db/model_db/x.yaml": "",
        },
    )
    monkeypatch.setattr(layers, "__file__", str(package / "catalog" / "layers.py"))
    found = Catalog.open()
    assert found.names("nodes") == ("mine",)
    assert found.origin("nodes", "mine") == "planner/_db/hardware_db/nodes/mine.yaml"


LAYER = "blocks: [{repeat: 1, layers: [{attention: %s, ffn: %s}]}]"
MODEL = f"name: mine\nhidden: 8\nvocab: 16\nsource: test\n{LAYER}\n"
GOOD_ATTENTION, GOOD_FFN = "{kind: softmax, heads: 2, kv_heads: 1, head_dim: 4}", "{kind: dense, inner: 16}"


@pytest.mark.parametrize(
    ("attention", "ffn", "message"),
    [
        ("{kind: softmx}", GOOD_FFN, "attention: unknown kind 'softmx' - did you mean 'softmax'?"),
        (GOOD_ATTENTION, "{inner: 16}", "ffn.kind: is missing - one of dense, moe"),
        (
            GOOD_ATTENTION,
            "{kind: dense, inner: 16, x: 1}",
            "ffn.x: unknown field - known here: bias, gated, inner, ",
        ),
        (GOOD_ATTENTION, "{kind: dense}", "ffn.inner: is missing"),
        (GOOD_ATTENTION, "{kind: dense, inner: }", "ffn.inner: is empty, expected a whole number"),
        (
            GOOD_ATTENTION,
            "{kind: dense, inner: 1, bias: }",
            "ffn.bias: is empty, expected true or false - give",
        ),
        (GOOD_ATTENTION, "{kind: dense, inner: 1, bias: yes}", "ffn.bias: expected true or false, not 'yes'"),
        (GOOD_ATTENTION, "dense", "ffn: expected 'key: value' lines, not 'dense'"),
        (
            "{kind: softmax, heads: 3, kv_heads: 2, head_dim: 4}",
            GOOD_FFN,
            "attention: heads (3) must be a multiple of kv_heads (2)",
        ),
    ],
)
def test_mistakes_in_branches_speak_of_the_branch(tmp_path: Path, attention: str, ffn: str, message: str) -> None:
    mine = overlay(tmp_path, {"model_db/mine.yaml": MODEL % (attention, ffn)})
    with pytest.raises(BadInput) as caught:
        Catalog.open([mine]).model("mine")
    (problem,) = caught.value.problems
    assert problem.where.line == 5
    assert str(problem).partition("blocks[#1].layers[#1].")[2].startswith(message)


def test_a_model_of_an_overlay_is_read(tmp_path: Path) -> None:
    mine = overlay(tmp_path, {"model_db/own/mine.yaml": MODEL % (GOOD_ATTENTION, GOOD_FFN)})
    assert Catalog.open([mine]).model("Mine").hidden == 8
