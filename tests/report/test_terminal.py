"""The terminal report: everything a plan says is there, numbers stay whole at any width, and no markup is obeyed."""

import json
import re

import pytest

from planner.report.numbers import goal_text, interval, money, power, seconds, share
from planner.report.terminal import as_text
from planner.review import dump_plan, parse_plan
from planner.spec.plan import Plan, Value
from planner.testing import tiny_plan

NUMBERS = (
    "396,728", "$13.76", "1.27 kW", "41 %", "1.98 of 2", "61.0 ms", "51.9-73.2", "$29.86", "$28.10 to $31.90",
    "1.59 kW", "12.4 J", "3.44 kWh/Mtok", "0.61 kg CO2/h", "48 candidates", "$27.52", "+100 %", "79.9-113",
)  # fmt: skip
WORDS = (
    "tiny", "proven best", "2 x h100-tp1", "TP1", "H100-SXM5-80GB", "bf16 weights", "256", "fitted, ±12 %",
    "kept", "memory",
    "weights leave no KV cache", "1 x h100 tp2", "costs twice as much", "collectives are extrapolated",
)  # fmt: skip


def replaced(*pairs: tuple[str, str]) -> Plan:
    text = dump_plan(tiny_plan())
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return parse_plan(text)


@pytest.mark.parametrize("width", [20, 80, 120, 200])
def test_every_number_is_whole_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = as_text(tiny_plan(), width)
    assert [n for n in NUMBERS if n not in text] == []
    assert max(len(line) for line in text.splitlines()) <= max(width, 80)
    words = re.sub(r"\s+", " ", text)
    assert [w for w in WORDS if w not in words] == []


def test_long_names_fold_and_leave_the_numbers_whole() -> None:
    text = as_text(replaced(("h100-tp1", "a-pool-with-a-name-that-is-much-longer-than-anyone-would-choose-for-it")), 80)
    assert [n for n in NUMBERS if n not in text] == []


def test_plain_text_has_no_escape_codes_and_color_has() -> None:
    assert "\x1b" not in as_text(tiny_plan(), 80)
    assert "\x1b" in as_text(tiny_plan(), 80, color=True)


def test_text_of_the_user_is_not_markup() -> None:
    assert "[red]x[/red]" in as_text(replaced(("weights leave no KV cache", "[red]x[/red]")), 120)


def test_a_broken_promise_and_an_unproven_plan_are_said() -> None:
    text = as_text(replaced(('"met": true', '"met": false'), ('"optimal"', '"feasible"')))
    assert text.count("BROKEN") == 2
    assert "feasible, not proven best" in text


def test_a_split_pool_says_its_role_and_its_link() -> None:
    data = json.loads(dump_plan(tiny_plan()))
    decode = {**data["deployment"]["pools"][0], "name": "dec", "phases": ["decode"]}
    data["deployment"]["pools"][0]["phases"] = ["prefill"]
    data["deployment"]["pools"].append(decode)
    data["pools"].append({**data["pools"][0], "name": "dec"})
    data["deployment"]["edges"] = [{"source": "h100-tp1", "target": "dec", "bandwidth_bytes_per_s": "50 GB/s"}]
    text = as_text(parse_plan(json.dumps(data)), 120)
    assert "prefill only" in text
    assert "decode only" in text
    assert "h100-tp1 -> dec at 50 GB/s" in text


def test_an_attainment_promise_is_a_share_of_requests() -> None:
    data = json.loads(dump_plan(tiny_plan()))
    row = {"metric": "attainment", "statistic": "attainment", "limit": 0.95, "predicted": 0.982, "met": True}
    data["classes"][0]["slo"] = [row]
    text = as_text(parse_plan(json.dumps(data)))
    assert re.search(r"within all limits\s+kept\s+95 %\s+98\.2 %\s+\+3\.2 points", text)


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (seconds(0.00085), "0.85 ms"), (seconds(0.612), "612 ms"), (seconds(1.234), "1.23 s"),
        (seconds(245.0), "245 s"), (seconds(0), "0 ms"),
        (money(1234.5), "$1,234"), (money(13.756), "$13.76"), (money(0.0042), "$0.0042"),
        (money(0), "$0.00"), (power(870), "870 W"), (power(12_400), "12.4 kW"), (power(3.1e6), "3.10 MW"),
        (share(0.412), "41 %"), (share(0.0251), "2.5 %"), (share(0), "0 %"), (share(-0.2), "-20 %"),
        (goal_text("joules_per_token", 0.51), "0.51 J/token"), (goal_text("goodput", 12345.0), "12,345 requests/s"),
        (interval(Value(value=1.2, lo=0.9, hi=1.5)), "0.90-1.50 s"),
    ],
)  # fmt: skip
def test_how_numbers_are_written(shown: str, wanted: str) -> None:
    assert shown == wanted
