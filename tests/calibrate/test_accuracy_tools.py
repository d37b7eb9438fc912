"""The programs behind docs/accuracy.md: what counts as left out, honest coverage, and a table that can be computed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools import accuracy_table, fit_intervals, left_out, write_accuracy  # noqa: E402


def row(name: str, group: str, **cells: str) -> dict[str, str]:
    base = {"id": name, "group": group, "gpu": group.split("|")[2], "mode": "agg", "load_kind": "concurrency",
            "spec_decode": "", "tp": "1", "engine": "vllm", "arch": "dense", "power_scope": "",
            "energy_j_per_out_tok": "", "tpot_mean_ms": "10"}  # fmt: skip
    return base | cells


def write(path: Path, **answers: str) -> Path:
    lines = [f"{name},ok,,{value}" for name, value in answers.items()]
    path.write_text("\n".join(["id,status,reason,tpot_mean_ms", *lines, ""]))
    return path


def test_a_row_is_answered_by_the_file_of_its_kind_alone(tmp_path: Path) -> None:
    files = left_out.LeftOut([("closed", write(tmp_path / "c.csv", a="11")), ("energy", write(tmp_path / "e.csv"))])
    closed = row("a", "nebius|m|H100", energy_j_per_out_tok="1")
    assert files.kind_for(closed, "tpot_mean_ms") == "closed"
    assert files.kind_for(closed, "energy_j_per_out_tok") == "energy"
    assert files.kind_for(closed | {"power_scope": "wall"}, "energy_j_per_out_tok") == ""
    assert files.kind_for(closed | {"mode": "disagg"}, "tpot_mean_ms") == ""  # no such file was given


def test_a_kind_is_named_as_it_must_be() -> None:
    assert left_out.argument("disagg-gpu=a.csv") == ("disagg-gpu", Path("a.csv"))
    for wrong in ("disag=a.csv", "closed", "closed="):
        with pytest.raises(argparse.ArgumentTypeError, match="is not KIND=FILE"):
            left_out.argument(wrong)


def test_coverage_is_of_groups_that_had_no_part_in_the_factors() -> None:
    """Exchangeable groups: 80 %. One spread ten times as wide in a fold of its own: its own factors would hold it."""
    draw = np.random.default_rng(0)
    errors = [fit_intervals.Error("tpot_ms", ("all",), f"g{i}", float(v), True)
              for i in range(200) for v in draw.normal(0, 0.2, 20)]  # fmt: skip
    assert fit_intervals.coverage(errors)["tpot_ms"].inside == pytest.approx(80, abs=3)
    few = [e._replace(group=f"g{i % 5}", value=2.0 * (i % 5)) for i, e in enumerate(errors)]
    assert fit_intervals.coverage(few)["tpot_ms"].inside < 70


def test_every_line_of_the_table_can_be_computed() -> None:
    targets: list[dict[str, Any]] = yaml.safe_load(accuracy_table.TARGETS.read_text())
    kinds = {base + variant for base in left_out.KINDS for variant in left_out.VARIANTS}
    for target in targets:
        assert target["from"] in kinds | {"anchors", "runs", "plans", "coverage", "answered"}, target
        assert len({"at_most", "at_least", "between"} & set(target)) == 1, target


def test_the_table_tells_met_from_missed_and_scored_from_not(tmp_path: Path) -> None:
    truth = [row("a", "nebius|m|H100"), row("b", "nebius|m|H200")]
    files = left_out.LeftOut([
        ("closed", write(tmp_path / "c.csv", a="10.5", b="10.7")),
        ("closed-gpu", write(tmp_path / "g.csv", a="13", b="13")),
    ])  # fmt: skip
    found = accuracy_table.Evidence(truth, [], files)
    target = {"metric": "tpot_any_ms", "at_most": 10.5}
    own = accuracy_table._left_out(found, target, "closed")
    assert (own.value, own.groups) == (pytest.approx(6.0), 2)
    assert accuracy_table._verdict(target, own) == "met"
    unseen = accuracy_table._left_out(found, target, "closed-gpu")
    assert accuracy_table._verdict(target, unseen) == "missed by 19.5"
    assert accuracy_table._left_out(found, target, "closed-datasheet").value is None
    assert accuracy_table._left_out(found, target | {"not_gpu": "H2*"}, "closed").groups == 1


def test_runs_that_contradict_their_neighbours_can_be_left_aside(tmp_path: Path) -> None:
    truth = [row("a", "aic-silicon|m|H100", engine_version="dynamo-0.8", tpot_mean_ms="50"), row("b", "nebius|m|H200")]
    files = left_out.LeftOut([("closed", write(tmp_path / "c.csv", a="10", b="11"))])
    found = accuracy_table.Evidence(truth, [], files)
    everything, coherent = (
        accuracy_table._left_out(found, {"metric": "tpot_any_ms", "coherent": only}, "closed") for only in (False, True)
    )
    assert (everything.groups, coherent.groups) == (2, 1)
    assert (coherent.value, coherent.bias) == (pytest.approx(10.0), pytest.approx(10.0))


def test_causes_are_found_by_pattern_and_metric() -> None:
    causes = [{"group": "a|*|MI*", "metric": "ttft", "cause": "first"}, {"group": "*|MI*", "cause": "second"}]
    assert write_accuracy.cause(causes, "a|m|MI300X", "ttft_any_ms") == "first"
    assert write_accuracy.cause(causes, "a|m|MI300X", "tpot_any_ms") == "second"
    assert write_accuracy.cause(causes, "a|m|H100", "tpot_any_ms") == "not known"
