"""Summaries of AIPerf: `profile_export_aiperf.json` (schema 1.x) and `.csv`. One point per file.

Its inter-token latency is (request latency - ttft) / (output length - 1) of each request, which is TPOT here; nothing
is converted but units. The CSV carries neither version nor load: state the load beside it.
"""

from __future__ import annotations

import csv
import io
import re

from planner.calibrate.readers.base import READERS, Cells, Json, Measured, Reader, as_object, cells_of, read_json
from planner.calibrate.rows import LOAD_KINDS
from planner.errors import BadInput, Problem, Where

MAJOR = "1"
MS = {"ms": 1.0, "sec": 1e3, "s": 1e3, "us": 1e-3, "ns": 1e-6}
TIMES = {"time_to_first_token": "ttft", "inter_token_latency": "tpot"}
COUNTS = {"input_sequence_length": "isl_mean", "output_sequence_length": "osl_mean", "request_throughput": "req_s",
          "output_token_throughput": "out_tok_s", "request_count": "num_requests"}  # fmt: skip
_LABEL = re.compile(r"(?P<name>[^(]+?)\s*(?:\((?P<unit>[^)]*)\))?\s*$")


def recognises_json(head: str) -> bool:
    return as_object(head) and ('"aiperf_version"' in head or '"input_config"' in head or '"request_latency"' in head)


def read_summary(text: str, file: str) -> list[Measured]:
    """The point of a JSON summary."""
    summary = read_json(text, file)
    version = str(summary.data.get("schema_version", "(none)"))
    if version.partition(".")[0] != MAJOR:
        raise summary.problem(
            f"unknown schema version {version!r} of AIPerf", "schema_version", hint="this reader knows 1.x"
        )
    if summary.data.get("was_cancelled") is True:
        raise summary.problem("the run was cancelled", "was_cancelled")
    values: dict[str, float | str | None] = {**_load(summary)}
    for theirs, ours in COUNTS.items():
        if summary.has(theirs):
            values[ours] = summary.number(theirs, "avg")
    for theirs, ours in TIMES.items():
        values |= _times(summary.at(theirs), ours)
    if summary.has("request_latency"):
        values["e2e_mean_ms"] = _times(summary.at("request_latency"), "e2e")["e2e_mean_ms"]
    return [Measured(cells_of(values) | _model(summary), Where(file, 1, 1))]


def _times(block: Json, name: str) -> dict[str, float]:
    unit = str(block.at("unit").data)
    if unit not in MS:
        raise block.problem(f"unknown unit {unit!r}", "unit", hint=f"known: {', '.join(MS)}")
    found = {f"{name}_mean_ms": MS[unit] * block.number("avg")}
    return found | {f"{name}_{p}_ms": MS[unit] * block.number(p) for p in ("p50", "p99") if block.has(p)}


def _load(summary: Json) -> dict[str, float | str | None]:
    """From the resolved configuration: `loadgen` of older runs, the profiling phase of newer ones."""
    for path in (("input_config", "loadgen"), ("input_config", "phases", "profiling")):
        for theirs, kind in (("concurrency", LOAD_KINDS[1]), ("request_rate", LOAD_KINDS[2])):
            if summary.has(*path, theirs):
                return {"load_kind": kind, "load_value": summary.number(*path, theirs)}
    return {}


def _model(summary: Json) -> Cells:
    for path in (("input_config", "endpoint", "model_names", 0), ("input_config", "models", 0)):
        if summary.has(*path) and isinstance(name := summary.at(*path).data, str):
            return {"model": name, "checkpoint": name}
    return {}


def recognises_csv(head: str) -> bool:
    return head.lstrip("\ufeff").startswith("Metric,avg,")


def read_csv(text: str, file: str) -> list[Measured]:
    """The point of a CSV summary: a table of distributions, then one of single values."""
    values: dict[str, float | str | None] = {}
    header: list[str] = []
    lines = csv.reader(io.StringIO(text, newline=""))
    for cells in lines:
        if cells and cells[0] in ("Metric", "Endpoint"):
            header = cells
        elif cells and header and header[0] == "Metric":
            values |= _line(dict(zip(header, cells, strict=False)), Where(file, lines.line_num, 1))
    missing = [name for name in ("ttft_mean_ms", "tpot_mean_ms") if name not in values]
    if missing:
        raise BadInput(Problem(f"no row that gives {' or '.join(missing)}", Where(file, 1, 1)))
    return [Measured(cells_of(values), Where(file, 1, 1))]


def _line(cells: Cells, where: Where) -> dict[str, float]:
    label = _LABEL.match(cells["Metric"])
    name = label["name"].strip().lower().replace(" ", "_") if label else ""
    statistics = {"mean": "avg", "p50": "p50", "p99": "p99"}
    if name in COUNTS:
        return {COUNTS[name]: _number(cells, "avg" if "avg" in cells else "Value", where)}
    if name not in TIMES or not label:
        return {}
    if label["unit"] not in MS:
        raise BadInput(Problem(f"{cells['Metric']!r}: unknown unit", where, f"known: {', '.join(MS)}"))
    scale = MS[label["unit"]]
    return {
        f"{TIMES[name]}_{ours}_ms": scale * _number(cells, theirs, where)
        for ours, theirs in statistics.items()
        if cells.get(theirs)
    }


def _number(cells: Cells, column: str, where: Where) -> float:
    try:
        return float(cells.get(column, "").replace(",", ""))
    except ValueError:
        what = f"{cells['Metric']}, column {column}: {cells.get(column, '')!r} is not a number"
        raise BadInput(Problem(what, where)) from None


READERS.register("aiperf")(
    Reader("profile_export_aiperf.json", "inter_token_latency as is", recognises_json, read_summary)
)  # fmt: skip
READERS.register("aiperf-csv")(
    Reader("profile_export_aiperf.csv", "Inter Token Latency as is", recognises_csv, read_csv)
)  # fmt: skip
