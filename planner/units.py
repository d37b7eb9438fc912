"""Text with a unit <-> SI floats: "80 GiB", "500 ms", "3.35 TB/s", "20/s", "$2.50/h".

Not a unit algebra: each field of the product has one dimension, and this file parses exactly that one.
A bare number is refused for a physical quantity, because 300 may be seconds or milliseconds.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _scaled(unit: str, prefixes: dict[str, float], factor: float = 1.0) -> dict[str, float]:
    return {prefix + unit: scale * factor for prefix, scale in prefixes.items()}


UNITS: dict[str, dict[str, float]] = {
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "bytes": {**_scaled("B", _PREFIX), **_scaled("B", _BINARY)},
    "bandwidth": {
        **_scaled("B/s", _PREFIX),
        **_scaled("B/s", _BINARY),
        **{f"{p}b/s": s / 8 for p, s in _PREFIX.items() if p},
    },
    "compute": {**_scaled("FLOP/s", _PREFIX), **_scaled("OP/s", _PREFIX)},
    "power": _scaled("W", {"": 1.0, "k": 1e3, "M": 1e6}),
    "energy": {**_scaled("J", _PREFIX), "Wh": 3600.0, "kWh": 3.6e6},
    "rate": {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600, "/d": 1 / 86400},
    "money": {"": 1.0, "USD": 1.0},
    "money per hour": {"/h": 1.0, "USD/h": 1.0, "/month": 1 / 730.0, "/year": 1 / 8760.0},
    "money per kWh": {"/kWh": 1.0, "USD/kWh": 1.0},
    "carbon per kWh": {"g/kWh": 1e-3, "kg/kWh": 1.0},
}
_SI = {
    "time": "s", "bytes": "B", "bandwidth": "B/s", "compute": "FLOP/s", "power": "W", "energy": "J",
    "rate": "/s", "money": "USD", "money per hour": "USD/h", "money per kWh": "USD/kWh", "carbon per kWh": "kg/kWh",
}  # fmt: skip
_EXAMPLE = {
    "time": "500 ms", "bytes": "80 GiB", "bandwidth": "3.35 TB/s", "compute": "989 TFLOP/s", "power": "700 W",
    "energy": "2 kWh", "rate": "20/s", "money": "$250000", "money per hour": "$2.50/h",
    "money per kWh": "$0.08/kWh", "carbon per kWh": "400 g/kWh",
}  # fmt: skip
_TEXT = re.compile(r"\s*\$?\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*$")


def parse(text: object, dimension: str) -> float:
    """SI value of `text` in `dimension` (a key of UNITS); ValueError says what was expected."""
    expected = f"expected {dimension} with a unit, like {_EXAMPLE[dimension]!r}"
    if not isinstance(text, str):
        raise ValueError(f"{expected}, not {text!r}")
    found = _TEXT.match(text)
    if not found:
        raise ValueError(f"{expected}, not {text!r}")
    number, unit = float(found[1].replace("_", "")), found[2]
    if unit not in UNITS[dimension]:
        raise ValueError(f"{expected}; {unit!r} is not a unit of {dimension}")
    value = number * UNITS[dimension][unit]
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{dimension} must be finite and not negative, not {text!r}")
    return value


def render(value: float, dimension: str) -> str:
    """Exact text of an SI value: parse(render(x, d), d) == x."""
    return f"{value!r} {_SI[dimension]}" if dimension != "rate" else f"{value!r}/s"


def _quantity(dimension: str) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    schema = {"type": "string", "description": f"{dimension} with a unit", "examples": [_EXAMPLE[dimension]]}
    return (
        BeforeValidator(lambda text: parse(text, dimension)),
        PlainSerializer(lambda value: render(value, dimension), return_type=str),
        WithJsonSchema(schema),
    )


Seconds = Annotated[float, *_quantity("time")]
Bytes = Annotated[float, *_quantity("bytes")]
BytesPerSecond = Annotated[float, *_quantity("bandwidth")]
FlopPerSecond = Annotated[float, *_quantity("compute")]
Watts = Annotated[float, *_quantity("power")]
Joules = Annotated[float, *_quantity("energy")]
PerSecond = Annotated[float, *_quantity("rate")]
Usd = Annotated[float, *_quantity("money")]
UsdPerHour = Annotated[float, *_quantity("money per hour")]
UsdPerKwh = Annotated[float, *_quantity("money per kWh")]
KgPerKwh = Annotated[float, *_quantity("carbon per kWh")]
