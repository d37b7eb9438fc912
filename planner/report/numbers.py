"""Numbers: how quantities of a plan are written for people. Not for machines: plan.json holds the exact values."""

from __future__ import annotations

from planner.spec.plan import Value


def seconds(value_s: float) -> str:
    """612 ms, 1.23 s, 245 s."""
    scale, unit = _time_unit(value_s)
    return f"{_digits(value_s * scale)} {unit}"


def interval(value: Value, unit: bool = True) -> str:
    """Both ends of the 80 % interval of a time, in the unit that the value itself is shown in."""
    scale, name = _time_unit(value.value)
    return f"{_digits(value.lo * scale)}-{_digits(value.hi * scale)}{f' {name}' if unit else ''}"


def money(usd: float) -> str:
    """$13.76, $1,234, $0.0042."""
    if usd >= 1000:
        return f"${usd:,.0f}"
    return f"${usd:.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.2g}"


def power(watts: float) -> str:
    """870 W, 12.4 kW, 3.10 MW."""
    for scale, unit in ((1e6, "MW"), (1e3, "kW")):
        if watts >= scale:
            return f"{_digits(watts / scale)} {unit}"
    return f"{watts:.0f} W"


def share(fraction: float) -> str:
    """41 %, 2.5 %, 0 %."""
    percent = 100 * fraction
    return f"{percent:.0f} %" if abs(percent) >= 10 or percent == int(percent) else f"{percent:.1f} %"


def quantity(value: float) -> str:
    """Four significant digits, never an exponent for what is large."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def count(number: float) -> str:
    return f"{number:,.0f}"


def goal_text(goal: str, value: float) -> str:
    """Value of a goal of the scenario in its unit."""
    if goal == "usd_per_hour":
        return f"{money(value)}/h"
    if goal == "usd_per_mtok":
        return f"{money(value)}/Mtok"
    units = {"joules_per_token": " J/token", "gpus": " GPUs", "goodput": " requests/s"}
    return f"{quantity(value)}{units.get(goal, '')}"


def _time_unit(value_s: float) -> tuple[float, str]:
    return (1.0, "s") if value_s >= 1 else (1e3, "ms")


def _digits(value: float) -> str:
    """Three significant digits without an exponent."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
