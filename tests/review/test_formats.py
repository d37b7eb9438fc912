"""Formats for CI: valid XML with one case per plan, and a comment whose table cannot be broken by a name."""

from xml.etree import ElementTree

from planner.review import Change, Diff, as_junit, as_markdown, diff, dump_plan, parse_plan
from planner.testing import tiny_plan


def test_junit_has_a_case_per_plan_and_a_failure_per_difference() -> None:
    checked = {"a.json": Diff(()), "b<&>.json": Diff((Change("pools.x.replicas", 1, 2),), ("seed 0 -> 1",))}
    top = ElementTree.fromstring(as_junit(checked).split("\n", 1)[1])
    assert (top.get("tests"), top.get("failures")) == ("2", "1")
    cases = {case.get("name"): case.find("failure") for case in top.iter("testcase")}
    assert cases["a.json"] is None
    assert cases["b<&>.json"].text == "pools.x.replicas: 1 -> 2 (+100.0%)\nnote: seed 0 -> 1"


def test_markdown_goes_from_base_to_head() -> None:
    cheaper = parse_plan(dump_plan(tiny_plan()).replace("13.76", "11.00"))
    text = as_markdown(tiny_plan(), cheaper, diff(tiny_plan(), cheaper))
    assert "| USD/h | 13.76 | 11 | -20.1% |" in text
    assert "| GPUs | 2 | 2 |  |" in text
    assert "| chat: ttft p99, ms | 94 | 94 |  |" in text
    assert "- `bill.usd_per_hour: 13.76 -> 11 (-20.1%, tolerance 0.02)`" in text
    assert "<details>" not in as_markdown(tiny_plan(), tiny_plan(), Diff(()))


def test_every_row_of_the_table_has_four_cells_whatever_the_names_are() -> None:
    odd = parse_plan(dump_plan(tiny_plan()).replace('"chat"', '"a|b<script>"'))
    rows = [line for line in as_markdown(odd, odd, diff(odd, odd)).splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}
    assert "<script>" not in "".join(rows)
