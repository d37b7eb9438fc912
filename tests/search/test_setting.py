"""The setting: a user's catalog reaches the loads, and a loaded scenario brings its own catalog."""

from pathlib import Path

import pytest
import yaml

from planner.catalog import Catalog, load_scenario
from planner.errors import BadInput
from planner.search.demand import require_plain
from planner.search.predict import setting_of
from planner.testing import tiny_scenario

OURS = {
    "presets": {
        "ours": {
            "description": "test", "source": "test", "confidence": "low", "fitted_on": "nothing",
            "arrivals": {"rate": "3/s"},
            "lengths": {"input": {"fixed": 100}, "output": {"fixed": 10}},
        }
    }
}  # fmt: skip


def test_a_preset_of_a_users_catalog_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "presets.yaml").write_text(yaml.safe_dump(OURS))
    document = tiny_scenario().model_dump(mode="json")
    (first,) = document["classes"][:1]
    document["classes"] = [
        {k: v for k, v in first.items() if k not in ("lengths", "arrivals", "trace")} | {"preset": "ours"}
    ]
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(document))
    setting = setting_of(load_scenario(tmp_path / "scenario.yaml", Catalog.open((tmp_path / "own",))), None, None)
    assert setting.loads[0].demand == 3.0
    assert setting.loads[0].input_tokens == 100


def test_an_unknown_router_is_refused_at_its_place(tmp_path: Path) -> None:
    document = tiny_scenario().model_dump(mode="json", exclude_unset=True)
    document["engine"]["router"] = "rond_robin"
    text = yaml.safe_dump(document)
    (tmp_path / "scenario.yaml").write_text(text)
    with pytest.raises(BadInput, match="unknown router 'rond_robin' - did you mean 'round_robin'") as caught:
        require_plain(load_scenario(tmp_path / "scenario.yaml"))
    assert caught.value.problems[0].where.line == 1 + text[: text.index("rond_robin")].count("\n")
