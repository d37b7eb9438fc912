"""Files of left-out predictions: which rows of the measured table each kind stands for. Not a fit, not a score.

A file has the columns of `serveplan validate` (id, status, metric columns; `_lo` and `_hi` are not read) and holds
predictions by scalars that never saw the row's group. On a command line it is `KIND=FILE`: a kind of KINDS, with
`-gpu` behind it when whole GPUs were left out instead of (model, GPU) pairs, `-datasheet` when besides that nothing
but the datasheet of the GPU was used. A kind may be given several times.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

Cells = dict[str, str]
ENGINES, STUDY = ("vllm", "sglang", "trtllm"), ("inferencex", "aic-silicon", "nebius")
ENERGY = ("power_w_per_gpu", "energy_j_per_out_tok")
VARIANTS = ("", "-gpu", "-datasheet")


def closed_loop(row: Mapping[str, str]) -> bool:
    """Aggregated, plain decoding, a stated number in flight, the plan stated, the three large engines."""
    plain = row["mode"] == "agg" and row["load_kind"] == "concurrency" and not row["spec_decode"] and bool(row["tp"])
    return plain and row["engine"] in ENGINES and source(row) in STUDY


def static_batch(row: Mapping[str, str]) -> bool:
    """The harness that ran many models alike; others differ too much in what they call a batch."""
    return row["load_kind"] == "static_batch" and source(row) == "argonne" and row["engine"] in ENGINES


def any_batch(row: Mapping[str, str]) -> bool:
    """Static batches of every harness and engine."""
    return row["load_kind"] == "static_batch" and not row["spec_decode"]


def disaggregated(row: Mapping[str, str]) -> bool:
    return row["mode"] == "disagg" and not row["spec_decode"]


def boards(row: Mapping[str, str]) -> bool:
    """Energy of the accelerators alone: walls are another scope."""
    return bool(row["energy_j_per_out_tok"]) and row["power_scope"] != "wall"


def contradictory(row: Mapping[str, str]) -> bool:
    """Aggregated runs out of disaggregated images contradict their own neighbours (TPOT x 5 from 1 to 2 in flight)."""
    return source(row) == "aic-silicon" and "dynamo" in row.get("engine_version", "")


def source(row: Mapping[str, str]) -> str:
    return row["group"].partition("|")[0]


KINDS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "closed": closed_loop,
    "static": static_batch,
    "batches": any_batch,
    "disagg": disaggregated,
    "energy": boards,
}


class LeftOut:
    """Answers of all files by kind and id; of an id that two files answer the later counts."""

    def __init__(self, files: Iterable[tuple[str, Path]]):
        self.answers: dict[str, dict[str, Cells]] = {}
        for kind, path in files:
            self.answers.setdefault(kind, {}).update({line["id"]: line for line in read(path)})

    def __contains__(self, kind: str) -> bool:
        return kind in self.answers

    def of(self, kind: str) -> list[Cells]:
        return list(self.answers.get(kind, {}).values())

    def kind_for(self, row: Mapping[str, str], metric: str) -> str:
        """The kind whose file must answer a metric of a row, "" when only predictions in sample can."""
        if metric in ENERGY:
            return "energy" if "energy" in self and boards(row) else ""
        return next((kind for kind, holds in KINDS.items() if kind in self and kind != "energy" and holds(row)), "")


def read(path: Path) -> list[Cells]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def argument(text: str) -> tuple[str, Path]:
    """`KIND=FILE`, for argparse."""
    kind, _, file = text.partition("=")
    known = [base + variant for base in KINDS for variant in VARIANTS]
    if kind not in known or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=FILE with a kind of {', '.join(known)}")
    return kind, Path(file)


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--left-out", action="append", default=[], type=argument, metavar="KIND=FILE", help=f"kinds: {', '.join(KINDS)}"
    )


def groups_of(rows: Sequence[Mapping[str, str]]) -> int:
    return len({row["group"] for row in rows})
