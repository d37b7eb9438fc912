"""One measured row (a dict of strings) -> Row: its configuration and load as typed values, and nothing it measured.

Not a prediction and not a look-up of names: `cases` does that.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BadInput, Problem, Where, did_you_mean

LOAD_KINDS = ("static_batch", "concurrency", "rate", "offline")
METRICS = (
    "out_tok_s", "total_tok_s", "req_s", "ttft_mean_ms", "ttft_p50_ms", "ttft_p99_ms", "tpot_mean_ms", "tpot_p50_ms",
    "tpot_p99_ms", "e2e_mean_ms", "power_w_per_gpu", "energy_j_per_out_tok",
)  # fmt: skip
REQUIRED = ("id", "gpu", "model")
LARGEST = {"load_value": 1e5, "num_gpus": 1e5, "num_requests": 1e7}
"""More than this is a slip of the pen, and would be simulated for hours; other numbers end at LARGEST_NUMBER."""
LARGEST_NUMBER = 1e8
_KNOWN = (*REQUIRED, "num_gpus", "weight_dtype", "kv_dtype", "engine", "engine_version", "mode", "tp", "pp", "ep", "dp",
          "isl_mean", "osl_mean", "length_dist", "load_kind", "load_value", "num_requests", "spec_decode")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Workers of one pool as the row states them; 0 = not stated."""

    workers: int = 1
    tp: int = 0
    pp: int = 0
    ep: int = 0
    dp: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """Configuration and load of a measured row. Lengths are mean tokens, 0 = not published; load_value 0 = empty."""

    id: str
    gpu: str
    gpus: int
    model: str
    checkpoint: str
    weights: str
    kv: str
    engine: str
    engine_version: str
    source_date: str
    mode: str
    plan: Plan
    prefill: Plan
    decode: Plan
    spec_decode: str
    input_mean: float
    output_mean: float
    length_dist: str
    dataset: str
    load_kind: str
    load_value: float
    requests: int


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells) of a CSV file, gzip or plain; BadInput with file:line:column when it is no such table."""
    lines = csv.reader(io.StringIO(_text(path), newline=""))
    header = next(lines, [])
    _check_header(path, header)
    rows = 0
    for cells in lines:
        if not any(cells):
            continue
        rows += 1
        if len(cells) > len(header):
            where = Where(str(path), lines.line_num, len(header) + 1)
            raise BadInput(Problem(f"{len(cells)} cells under {len(header)} column names", where, "quote the commas"))
        yield lines.line_num, dict(zip(header, cells, strict=False))
    if not rows:
        raise BadInput(Problem("no rows below the column names", Where(str(path), 1)))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except OSError as error:
        raise BadInput(Problem(f"cannot read it: {error.strerror or error}", Where(str(path)))) from error
    except (EOFError, UnicodeDecodeError) as error:
        raise BadInput(Problem("it is not UTF-8 text or a whole gzip file", Where(str(path)))) from error


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if not header or missing:
        hints = [did_you_mean(name, header) for name in missing]
        hint = next((h for h in hints if h), f"expected columns like {', '.join(_KNOWN)}")
        raise BadInput(Problem(f"no column {' and no column '.join(missing)}", Where(str(path), 1, 1), hint))


def parse_row(cells: Mapping[str, str]) -> Row:
    """Typed values of one line; ValueError names the column that cannot be read."""
    plan = Plan(1, *(_whole(cells, name) for name in ("tp", "pp", "ep", "dp")))
    return Row(
        id=_text_of(cells, "id"), gpu=_text_of(cells, "gpu"), gpus=_gpus(cells, plan),
        model=_text_of(cells, "model"), checkpoint=_text_of(cells, "checkpoint"),
        weights=_text_of(cells, "weight_dtype").lower(), kv=_text_of(cells, "kv_dtype").lower(),
        engine=_text_of(cells, "engine").lower(), engine_version=_text_of(cells, "engine_version"),
        source_date=_text_of(cells, "source_date"), mode=_choice(cells, "mode", ("agg", "disagg"), "agg"), plan=plan,
        prefill=_side(cells, "prefill"), decode=_side(cells, "decode"),
        spec_decode=_text_of(cells, "spec_decode").lower(),
        input_mean=_number(cells, "isl_mean"), output_mean=_number(cells, "osl_mean"),
        length_dist=_text_of(cells, "length_dist").lower(), dataset=_text_of(cells, "dataset"),
        load_kind=_choice(cells, "load_kind", LOAD_KINDS, "concurrency"), load_value=_number(cells, "load_value"),
        requests=_whole(cells, "num_requests"),
    )  # fmt: skip


def _side(cells: Mapping[str, str], side: str) -> Plan:
    tp, ep, dp = (_whole(cells, f"{side}_{name}") for name in ("tp", "ep", "dp"))
    return Plan(_whole(cells, f"{side}_workers") or 1, tp, 1, ep, dp)


def _gpus(cells: Mapping[str, str], plan: Plan) -> int:
    stated = _whole(cells, "num_gpus")
    return stated or max(1, plan.tp) * max(1, plan.pp) * max(1, plan.dp)


def _text_of(cells: Mapping[str, str], name: str) -> str:
    return (cells.get(name) or "").strip()


def _choice(cells: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    text = _text_of(cells, name).lower() or default
    if text not in allowed:
        raise ValueError(f"{name}: {text!r} is not one of {', '.join(allowed)}")
    return text


def _number(cells: Mapping[str, str], name: str) -> float:
    text = _text_of(cells, name)
    try:
        value = float(text or 0)
    except ValueError as error:
        raise ValueError(f"{name}: {text!r} is not a number") from error
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: {text!r} must be a finite number, not negative")
    if value > LARGEST.get(name, LARGEST_NUMBER):
        most = LARGEST.get(name, LARGEST_NUMBER)
        raise ValueError(f"{name}: {value:g} is more than any measured run had ({most:g})")
    return value


def _whole(cells: Mapping[str, str], name: str) -> int:
    value = _number(cells, name)
    if value != int(value):
        raise ValueError(f"{name}: {value!r} is not a whole number")
    return int(value)
