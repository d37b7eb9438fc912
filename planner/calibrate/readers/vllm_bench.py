"""Result files of `vllm bench serve --save-result` (and of its relatives): one JSON object, or one per line.

TPOT there is (latency - ttft) / (output tokens - 1) of each request, so nothing is converted. The format carries no
version; it is known by its fields. `--metadata key=value` of that client lands at the top level, so a configuration
given there (gpu=..., tp=..., engine_version=...) is read too.
"""

from __future__ import annotations

from planner.calibrate.readers.base import READERS, Cells, Json, Measured, Reader, as_object, cells_of, read_json
from planner.calibrate.rows import LOAD_KINDS
from planner.errors import BadInput, Problem

STATISTICS = (("mean", "mean"), ("median", "p50"), ("p99", "p99"))
CONFIGURATION = ("gpu", "num_gpus", "model", "weight_dtype", "kv_dtype", "engine", "engine_version", "tp", "pp", "ep",
                 "dp", "spec_decode", "length_dist", "dataset")  # fmt: skip


def recognises(head: str) -> bool:
    return as_object(head) and '"mean_ttft_ms"' in head or as_object(head) and '"max_concurrency"' in head


def read(text: str, file: str) -> list[Measured]:
    """One point per result."""
    if text.count("\n") and text.lstrip().partition("\n")[0].rstrip().endswith("}"):
        lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        return [_point(read_json(line, file, i)) for i, line in lines]
    return [_point(read_json(text, file))]


def _point(result: Json) -> Measured:
    completed = result.number("completed")
    if completed < 1:
        raise result.problem("no request was completed", "completed")
    if result.has("failed") and result.number("failed") > 0.05 * completed:
        raise result.problem(f"{result.number('failed'):.0f} requests failed: not a measurement of this load", "failed")
    cells = cells_of({
        "model": _text(result, "model_id"), "checkpoint": _text(result, "model_id"), **_load(result),
        "isl_mean": result.number("total_input_tokens") / completed,
        "osl_mean": result.number("total_output_tokens") / completed,
        "num_requests": completed, "length_dist": _lengths(result),
        "out_tok_s": result.number("output_throughput"), "req_s": result.number("request_throughput"),
        "e2e_mean_ms": result.number("mean_e2el_ms") if result.has("mean_e2el_ms") else None,
    })  # fmt: skip
    return Measured(cells | _metrics(result) | _configuration(result), result.where())


def _metrics(result: Json) -> Cells:
    """ttft and tpot; the mean is required, percentiles only where the client was asked for them."""
    found: dict[str, float | str | None] = {}
    for metric in ("ttft", "tpot"):
        result.at(f"mean_{metric}_ms")
        for theirs, ours in STATISTICS:
            if result.has(f"{theirs}_{metric}_ms"):
                found[f"{metric}_{ours}_ms"] = result.number(f"{theirs}_{metric}_ms")
    return cells_of(found)


def _load(result: Json) -> dict[str, float | str | None]:
    """A finite rate is an open loop, a limit of requests in flight a closed one, neither means all at once."""
    rate, limit = result.data.get("request_rate", "inf"), result.data.get("max_concurrency")
    if rate not in ("inf", None) and limit:
        hint = "measure with a rate alone or with --max-concurrency alone"
        raise result.problem(
            "a rate and a limit of requests in flight: which one acted is not known", "request_rate", hint=hint
        )
    if rate not in ("inf", None):
        return {"load_kind": LOAD_KINDS[2], "load_value": result.number("request_rate")}
    if limit:
        return {"load_kind": LOAD_KINDS[1], "load_value": result.number("max_concurrency")}
    return {"load_kind": LOAD_KINDS[3], "load_value": result.number("completed")}


def _lengths(result: Json) -> str:
    """How lengths vary, where the file holds them one by one (--save-detailed)."""
    for name in ("input_lens", "output_lens"):
        count = len(result.data[name]) if isinstance(result.data.get(name), list) else 0
        values = [result.number(name, i) for i in range(count)]
        if values and max(values) - min(values) > 0.02 * max(values):
            return "dataset"
    return "fixed"


def _configuration(result: Json) -> Cells:
    return {name: str(result.data[name]) for name in CONFIGURATION if isinstance(result.data.get(name), str | int)}


def _text(result: Json, name: str) -> str:
    found = result.data.get(name, "")
    if not isinstance(found, str):
        raise BadInput(Problem(f"{name}: expected text, not {str(found)[:40]!r}", result.where(name)))
    return found


READERS.register("vllm-bench")(
    Reader("the JSON of `vllm bench serve --save-result`", "(latency - ttft) / (output tokens - 1) per request, as is",
           recognises, read)
)  # fmt: skip
