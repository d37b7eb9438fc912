"""Settings that no service can have are told with their place, never met by a division or an allocation."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.catalog import Catalog, load_scenario
from planner.errors import BadInput

TEXT = """\
version: 1
name: tiny
models:
  llama: {model: llama-3.1-8b}
classes:
  - name: chat
    model: llama
    lengths: {input: {fixed: 512}, output: {fixed: 64}}
    arrivals: {rate: 2/s}
    prefix: {tokens: 400, variants: 3}
fleet:
  nodes:
    - {name: h100, node: aws-p5.4xlarge, count: 2}
    - {name: l40s, node: aws-g6e.xlarge, count: 4}
  networks: [{between: [h100, l40s], bandwidth: 10 GB/s}]
engine: {name: vllm, version: 0.22.1, kv_tiers: [{capacity: 10 GB, bandwidth: 5 GB/s}]}
search: {requests_per_probe: 200}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.yaml"


def test_as_it_stands_it_is_good(file: Path) -> None:
    file.write_text(TEXT)
    assert load_scenario(file, Catalog.open()).scenario.engine.version == "0.22.1"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bandwidth: 10 GB/s", "bandwidth: 0 GB/s", r"tiny\.yaml:15:.*networks.*bandwidth.*greater than 0"),
        ("bandwidth: 5 GB/s", "bandwidth: 0 GB/s", r"tiny\.yaml:16:.*kv_tiers.*bandwidth.*greater than 0"),
        ("variants: 3", "variants: 99999999999", r"tiny\.yaml:10:.*prefix\.variants: must be at most"),
        ("count: 4", "count: 99999999999999999999", r"tiny\.yaml:14:.*count: must be at most"),
        ("requests_per_probe: 200", "requests_per_probe: 1e12", r"tiny\.yaml:17:.*requests_per_probe: must be at most"),
        ("0.22.1", "9.9.9", r"tiny\.yaml:16:.*vllm 9\.9\.9 is newer than any version.*the newest is 0\.22"),
    ],
)
def test_what_cannot_be_is_located(file: Path, old: str, new: str, told: str) -> None:
    assert TEXT.count(old) == 1
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(BadInput, match=told):
        load_scenario(file, Catalog.open())
