"""Reports of GuideLLM (`benchmarks.json`), report versions 1 and 2: one point per benchmark of the report.

Its `time_per_output_token_ms` is e2e / output tokens, first token included; its `inter_token_latency_ms` is
(last - first token) / (output tokens - 1), which is TPOT here. The latter is read where it stands; the former is
converted by the means: (tpot * out - ttft) / (out - 1), for the mean only. Older reports state no version: refused.
"""

from __future__ import annotations

from planner.calibrate.readers.base import READERS, Cells, Json, Measured, Reader, as_object, cells_of, read_json
from planner.calibrate.rows import LOAD_KINDS

VERSIONS = (1, 2)


def recognises(head: str) -> bool:
    return as_object(head) and ("guidellm" in head.lower() or '"benchmarks"' in head)


def read(text: str, file: str) -> list[Measured]:
    """Every benchmark with a fixed load; a sweep's synchronous and throughput stages are points too."""
    report = read_json(text, file)
    version = report.at("metadata", "version").data if report.has("metadata", "version") else "(none)"
    if version not in VERSIONS or isinstance(version, bool):
        hint = f"this reader knows versions {' and '.join(map(str, VERSIONS))}"
        raise report.problem(f"unknown version {version!r} of the GuideLLM report", "metadata", "version", hint=hint)
    if not isinstance(report.at("benchmarks").data, list):
        raise report.problem("expected a list", "benchmarks")
    return [_point(report.at("benchmarks", i)) for i in range(len(report.data["benchmarks"]))]


def _point(benchmark: Json) -> Measured:
    metrics = benchmark.at("metrics")
    outputs, inputs = _mean(metrics, "output_token_count"), _mean(metrics, "prompt_token_count")
    cells = cells_of({
        **_load(benchmark), "isl_mean": inputs, "osl_mean": outputs, "req_s": _mean(metrics, "requests_per_second"),
        "num_requests": metrics.number("request_totals", "successful") if metrics.has("request_totals") else None,
        "out_tok_s": _mean(metrics, "output_tokens_per_second") if metrics.has("output_tokens_per_second") else None,
        "e2e_mean_ms": 1e3 * _mean(metrics, "request_latency") if metrics.has("request_latency") else None,
    })  # fmt: skip
    if benchmark.has("config", "backend", "model"):
        cells["model"] = cells["checkpoint"] = str(benchmark.at("config", "backend", "model").data)
    return Measured(
        cells | _statistics(metrics, "ttft", "time_to_first_token_ms") | _tpot(metrics, outputs), benchmark.where()
    )


def _load(benchmark: Json) -> dict[str, float | str | None]:
    strategy = benchmark.at("config", "strategy")
    kind = strategy.at("type_" if strategy.has("type_") else "kind").data
    if kind == "synchronous":
        return {"load_kind": LOAD_KINDS[1], "load_value": 1.0}
    if kind == "concurrent":
        return {"load_kind": LOAD_KINDS[1], "load_value": strategy.number("streams")}
    if kind in ("constant", "async", "poisson"):
        return {"load_kind": LOAD_KINDS[2], "load_value": strategy.number("rate")}
    if kind == "throughput":
        limited = strategy.has("max_concurrency")
        return {
            "load_kind": LOAD_KINDS[1 if limited else 3],
            "load_value": strategy.number("max_concurrency") if limited else None,
        }
    raise strategy.problem(
        f"unknown strategy {kind!r}", hint="known: synchronous, concurrent, constant, poisson, throughput"
    )


def _tpot(metrics: Json, outputs: float) -> Cells:
    if metrics.has("inter_token_latency_ms"):
        return _statistics(metrics, "tpot", "inter_token_latency_ms")
    if outputs <= 1:
        return {}
    whole, first = _mean(metrics, "time_per_output_token_ms") * outputs, _mean(metrics, "time_to_first_token_ms")
    return cells_of({"tpot_mean_ms": (whole - first) / (outputs - 1)})


def _statistics(metrics: Json, name: str, theirs: str) -> Cells:
    found: dict[str, float | str | None] = {f"{name}_mean_ms": _mean(metrics, theirs)}
    places = {"p50": ("successful", "median"), "p99": ("successful", "percentiles", "p99")}
    for ours, place in places.items():
        if metrics.has(theirs, *place):
            found[f"{name}_{ours}_ms"] = metrics.number(theirs, *place)
    return cells_of(found)


def _mean(metrics: Json, name: str) -> float:
    return metrics.number(name, "successful", "mean")


READERS.register("guidellm")(
    Reader("a GuideLLM report (benchmarks.json)", "inter_token_latency_ms as is; time_per_output_token_ms converted",
           recognises, read)
)  # fmt: skip
