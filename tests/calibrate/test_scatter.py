"""The picture of measured against predicted: points where they belong, one scale, well-formed, refusals before work."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from planner.calibrate.scatter import SIDE, check, draw, scatter
from planner.errors import BadInput

SVG = "{http://www.w3.org/2000/svg}"
TRUTH = [
    {"id": "a", "engine": "vllm", "tpot_mean_ms": "10", "ttft_p50_ms": "100", "out_tok_s": ""},
    {"id": "b", "engine": "sglang & co", "tpot_mean_ms": "", "tpot_p50_ms": "100", "out_tok_s": ""},
    {"id": "c", "engine": "vllm", "tpot_mean_ms": "50", "out_tok_s": ""},
]
ANSWERS = {
    "a": {"id": "a", "tpot_mean_ms": "100", "ttft_p50_ms": "100"},
    "b": {"id": "b", "tpot_p50_ms": "10"},
}


def strokes(svg: str, panel: int) -> dict[str, list[tuple[float, float]]]:
    """Points by category, from the lower left corner."""
    group = ElementTree.fromstring(svg).findall(f"{SVG}g")[panel]
    found = {}
    for path in group.findall(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        assert title is not None
        points = re.findall(r"M([\d.]+) ([\d.]+)h0", path.get("d") or "")
        found[title.text or ""] = [(float(x), SIDE - float(y)) for x, y in points]
    return found


def test_a_tenfold_error_is_a_decade_off_the_diagonal() -> None:
    """10..100 ms is the one decade of the panel, so its corners are the two points."""
    svg = scatter(TRUTH, ANSWERS, "engine")
    assert strokes(svg, 0) == {"vllm": [(0.0, SIDE)], "sglang & co": [(SIDE, 0.0)]}


def test_a_panel_without_points_is_left_out_and_a_right_answer_lies_on_the_diagonal() -> None:
    svg = scatter(TRUTH, ANSWERS, "engine")
    assert len(ElementTree.fromstring(svg).findall(f"{SVG}g")) == 2
    ((x, y),) = strokes(svg, 1)["vllm"]
    assert x == pytest.approx(y)


def test_many_categories_share_the_last_colour() -> None:
    truth = [{"id": str(n), "engine": f"e{n}", "tpot_mean_ms": "10"} for n in range(12)]
    answers = {row["id"]: {"id": row["id"], "tpot_mean_ms": "12"} for row in truth}
    found = strokes(scatter(truth, answers, "engine"), 0)
    assert len(found) == 8
    assert len(found["others"]) == 5


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a picture is .svg or .html"):
        check(tmp_path / "a.png", "engine")
    with pytest.raises(BadInput, match="unknown 'engin' - did you mean 'engine'"):
        check(tmp_path / "a.svg", "engin")
    with pytest.raises(BadInput, match="nothing to draw"):
        scatter(TRUTH, {}, "engine")


def test_a_page_holds_the_picture(tmp_path: Path) -> None:
    table, predictions = tmp_path / "m.csv", tmp_path / "p.csv"
    table.write_text("id,gpu,model,engine,tpot_mean_ms\na,x,y,vllm,10\n")
    predictions.write_text("id,status,tpot_mean_ms\na,ok,11\n")
    draw(table, predictions, tmp_path / "p.html", "engine")
    page = (tmp_path / "p.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "1 points, median error 10%" in page
