"""80 % intervals of predicted metrics: quantiles of the errors on rows that the fit never saw. Not the prediction.

Split conformal: errors log(measured / predicted) of held-out groups, each group weighing the same, by metric, kind of
load and engine; a kind with few groups uses the wider class above it. A GPU without any measured row gets more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from planner.calibrate.cases import Case
from planner.calibrate.predict import Prediction

MAIN_ENGINES = ("vllm", "sglang", "trtllm")


def with_interval(case: Case, prediction: Prediction) -> dict[str, float]:
    """The metric columns and, for each, `_lo` and `_hi`."""
    found = dict(prediction.metrics)
    stretch = 1.0 if case.accelerator.name in stored()["seen"] else float(stored()["unseen"])
    for name, value in prediction.metrics.items():
        low, high = bounds(name, classes_of(case))
        found[f"{name}_lo"], found[f"{name}_hi"] = value * low**stretch, value * high**stretch
    return found


def classes_of(case: Case) -> tuple[str, ...]:
    """Error classes of a case, narrowest first."""
    kind = "disagg" if len(case.pools) == 2 else case.client.kind
    known = case.profile.engine in MAIN_ENGINES and not any("stands in" in doubt for doubt in case.doubts)
    engine = case.profile.engine if known else "other"
    speculative = ("speculative",) if case.token_yield != 1.0 else ()
    return (*speculative, f"{kind}|{engine}", kind, "all")


def bounds(metric: str, classes: tuple[str, ...], table: Mapping[str, Any] | None = None) -> tuple[float, float]:
    """Factors on a predicted value between which 80 % of the measured ones lay."""
    known = (table or stored()["factors"]).get(family_of_metric(metric), {})
    low, high = next((known[c] for c in classes if c in known), (0.5, 2.0))
    return float(low), float(high)


def family_of_metric(metric: str) -> str:
    """Metrics that err alike share their factors."""
    if metric in ("total_tok_s", "req_s"):
        return "out_tok_s"
    return metric.replace("_mean", "").replace("_p50", "") if metric.startswith(("ttft", "tpot")) else metric


@cache
def stored() -> dict[str, Any]:
    """`seen`: accelerators with measured rows; `unseen`: exponent for others; `factors`: metric -> class -> bounds."""
    text = (files("planner.calibrate") / "intervals.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded
