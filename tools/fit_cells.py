"""Fit a few step-time scalars per engine version range and GPU family, and say how they do on models left out.

    python tools/fit_cells.py POINTS.csv.gz --load static_batch [--cell vllm-v0/hopper ...] [--out-of-fold OOF.csv]
    python tools/fit_cells.py POINTS.csv.gz --splits [--out-of-fold OOF.csv]

For the engines that `fit_profiles.py` does not fit together: old releases and lesser ones, where few models were
measured on each GPU. A cell is shrunk towards one prior that is the same for all; every model is left out in turn and
predicted by the scalars of the others. --splits fits the two scalars of prefill/decode splits by engine, whole (model,
GPU) pairs left out. The file is one of tools/left_out.py. Deterministic. Not part of the package: needs only numpy
besides it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from fit_profiles import Sample, catalog, group_weights, samples, save, thinned

from planner.calibrate.cases import Case, Refusal
from planner.calibrate.predict import predict
from planner.calibrate.rows import read_rows
from planner.calibrate.score import scores
from planner.engines.families import family_of
from planner.spec.engine import EngineProfile


@dataclass(frozen=True)
class Scalar:
    """One fitted number: where it lives, its prior and one sigma of the logarithm around it, its bounds."""

    name: str
    part: str
    prior: float
    sigma: float
    low: float
    high: float
    nudge: float = 0.08
    linear: bool = False

    def moved(self, value: float, step: float) -> float:
        there = value + step if self.linear else max(value, self.low) * float(np.exp(step))
        return min(max(there, self.low), self.high)


# Wide where the software decides (host time per step, sequence and message), narrow where the hardware does.
SCALARS = (
    Scalar("gemm", "multipliers", 0.9, 0.3, 0.75, 20.0),
    Scalar("attn_decode", "multipliers", 1.1, 0.4, 0.75, 8.0),
    Scalar("attn_group", "multipliers", 0.2, 0.3, 0.0, 1.0, linear=True),
    Scalar("moe", "multipliers", 0.9, 0.3, 0.75, 6.0),
    Scalar("comm", "multipliers", 3.0, 0.8, 0.4, 2000.0),
    Scalar("prefill", "multipliers", 1.1, 0.4, 0.6, 6.0),
    Scalar("launch_s", "overhead", 5e-6, 0.5, 5e-7, 5e-5),
    Scalar("per_seq_s", "overhead", 40e-6, 1.0, 1e-6, 3e-3),
    Scalar("step_s", "overhead", 0.5e-3, 1.0, 1e-5, 2e-2),
)
METRICS = {"out_tok_s": 1.0, "tpot_mean_ms": 0.5, "tpot_p50_ms": 0.5, "ttft_mean_ms": 0.3, "ttft_p50_ms": 0.3}
SPLIT_SCALARS = (
    Scalar("handover_s", "overhead", 0.1, 0.5, 1e-3, 1.0),
    Scalar("prefill_alone", "multipliers", 0.9, 0.15, 0.4, 1.2),
)
SHRINK = 0.1
Values = dict[str, float]


def main() -> int:
    options = _options()
    table = [cells for _, cells in read_rows(options.table)]
    rows = [r for r in table if _wanted(r, options)]
    name_of = _engine if options.splits else _name
    everything = [s for s in samples(rows) if _own(s) and (not options.cell or name_of(s) in options.cell)]
    answers = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in sorted({name_of(s) for s in everything}):
            answers += fit_cell(name, [s for s in everything if name_of(s) == name], rows, options, pool)
    show("all cells, left out", rows, answers)
    if options.out_of_fold:
        save(options.out_of_fold, answers)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--load", default="static_batch", help="kinds of load that are fitted, comma-separated")
    parser.add_argument("--splits", action="store_true", help="prefill/decode splits instead, engine by engine")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--source", action="append", default=[], help="first part of the group; default all")
    parser.add_argument("--without", action="append", default=[], help="sources that are left aside")
    parser.add_argument("--cell", action="append", default=[], help="PROFILE/FAMILY[/FORMAT]; default all")
    parser.add_argument("--free", default="", help="comma-separated scalars to fit; default all")
    parser.add_argument("--sample", type=int, default=24, help="configurations per group that are fitted")
    parser.add_argument("--score", type=int, default=10**9, help="configurations per group that are scored")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out-of-fold", type=Path, help="predictions by scalars that never saw the row's model")
    return parser.parse_args()


def _wanted(row: dict[str, str], options: argparse.Namespace) -> bool:
    source = row.get("group", "").partition("|")[0]
    if (options.source and source not in options.source) or source in options.without:
        return False
    if options.splits:
        return row["mode"] == "disagg" and not row["spec_decode"]
    return row["load_kind"] in options.load.split(",")


def _own(sample: Sample) -> bool:
    """Whether the row may steer a profile: stated plan, plain decoding, an engine that has a profile."""
    case = sample.case
    stands_in = any("stands in" in doubt for doubt in case.doubts)
    return len(case.plans) == 1 and case.token_yield == 1.0 and not stands_in


def _engine(sample: Sample) -> str:
    return sample.cell[0]


def _name(sample: Sample) -> str:
    """PROFILE/FAMILY, and the format of the weights where it is not one of 16 bits."""
    weights = sample.case.pools[0].weights
    return "/".join((*sample.cell[1:], *(() if weights in ("bf16", "fp16") else (weights,))))


# --- one cell -----------------------------------------------------------------------------------------------------


def fit_cell(
    name: str, data: Sequence[Sample], table: Sequence[dict[str, str]], options: argparse.Namespace,
    pool: ProcessPoolExecutor,
) -> list[dict[str, str]]:  # fmt: skip
    """Fit, print before / in sample / left out and the numbers of the profile; the left-out answers."""
    known = SPLIT_SCALARS if options.splits else SCALARS
    free = [s for s in known if not options.free or s.name in options.free.split(",")]
    start = {s.name: s.prior for s in free}
    steps = np.zeros(len(free))
    fitted = thinned(data, options.sample)
    for _ in range(options.rounds):
        kept, residuals, slopes = _linearised(fitted, free, start, steps, pool)
        steps = _solved(kept, residuals, slopes, free, steps, [True] * len(kept))
    kept, residuals, slopes = _linearised(fitted, free, start, steps, pool)
    fold_of = _pair if options.splits else _model
    folds = sorted({fold_of(s) for s in data})
    data = thinned(data, options.score)
    without = {f: _solved(kept, residuals, slopes, free, steps, [fold_of(s) != f for s in kept]) for f in folds}
    print(f"\n{name}: {len({s.group for s in data})} groups, {len(folds)} folds, {len(data)} configurations")
    show("prior", table, _answers(data, [_values(free, start, 0 * steps)] * len(data), pool))
    show("in sample", table, _answers(data, [_values(free, start, steps)] * len(data), pool))
    out = _answers(data, [_values(free, start, without[fold_of(s)]) for s in data], pool)
    show("left out", table, out)
    print("  " + ", ".join(f"{k}: {v:.3g}" for k, v in _values(free, start, steps).items()), flush=True)
    return out


def _model(sample: Sample) -> str:
    return sample.case.model.name


def _pair(sample: Sample) -> str:
    return sample.fold_key


def profile_on(case: Case) -> EngineProfile:
    """The profile with what differs on the case's GPU family filled in, and nothing left to fill in."""
    own = case.profile.on(family_of(case.accelerator), case.pools[0].weights)
    return own.model_copy(update={"families": {}})


def _values(free: Sequence[Scalar], start: Values, steps: np.ndarray) -> Values:
    return start | {s.name: s.moved(start[s.name], float(x)) for s, x in zip(free, steps, strict=True)}


def _solved(
    data: Sequence[Sample], residuals: Sequence[np.ndarray], slopes: Sequence[np.ndarray], free: Sequence[Scalar],
    at: np.ndarray, keep: Sequence[bool],
) -> np.ndarray:  # fmt: skip
    """Steps that minimise absolute log errors of the kept samples and the distance from the profile."""
    rows, target, importance = [], [], []
    weights = group_weights(data, keep)
    for sample, weight, residual, slope in zip(data, weights, residuals, slopes, strict=True):
        for i, metric in enumerate(_metrics(sample) if weight else ()):
            rows.append(slope[i])
            target.append(residual[i])
            importance.append(weight * METRICS[metric])
    if not rows:
        return at
    a, b, w = np.array(rows), np.array(target), np.array(importance)
    prior = np.diag(SHRINK / np.array([s.sigma for s in free]) ** 2)
    far = max(0.6, 2.0 * float(np.median(np.abs(b))))  # a prior may start far off; what is far off then is forgiven
    x = at.copy()
    for _ in range(20):
        error = b + a @ (x - at)
        robust = w / np.maximum(np.abs(error), 0.04) / (1.0 + (error / far) ** 2)
        x = -np.linalg.solve(a.T @ (a * robust[:, None]) + prior, a.T @ (robust * (b - a @ at)))
    return at + np.clip(x - at, -0.7, 0.7)


def _metrics(sample: Sample) -> list[str]:
    return [m for m in METRICS if m in sample.measured]


# --- predictions --------------------------------------------------------------------------------------------------


def _linearised(
    data: Sequence[Sample], free: Sequence[Scalar], start: Values, steps: np.ndarray, pool: ProcessPoolExecutor
) -> tuple[list[Sample], list[np.ndarray], list[np.ndarray]]:
    """Residuals log(predicted/measured) and their slopes; samples that cannot be answered fall away."""
    work = [(s.case, tuple(free), start, steps, tuple(_metrics(s))) for s in data]
    found = [
        (s, f) for s, f in zip(data, pool.map(_slopes, work, chunksize=8), strict=True) if f is not None and len(f[0])
    ]
    residuals = [f[0] - np.log([s.measured[m] for m in _metrics(s)]) for s, f in found]
    return [s for s, _ in found], residuals, [f[1] for _, f in found]


def _slopes(
    work: tuple[Case, tuple[Scalar, ...], Values, np.ndarray, tuple[str, ...]],
) -> tuple[np.ndarray, np.ndarray] | None:
    case, free, start, steps, metrics = work
    base = _predicted((case, _values(free, start, steps)))
    if not base:
        return None
    at = np.log([max(base[m], 1e-9) for m in metrics])
    slope = np.zeros((len(metrics), len(free)))
    for j, scalar in enumerate(free):
        if scalar.name == "moe" and not case.model.is_moe:
            continue
        moved = steps.copy()
        moved[j] += scalar.nudge
        there = _predicted((case, _values(free, start, moved)))
        slope[:, j] = (np.log([max(there[m], 1e-9) for m in metrics]) - at) / scalar.nudge
    return at, slope


def _predicted(work: tuple[Case, Values]) -> Values:
    case, values = work
    try:
        return predict(replace(case, profile=with_values(profile_on(case), values)), catalog()).metrics
    except Refusal:
        return {}


def with_values(profile: EngineProfile, values: Values) -> EngineProfile:
    parts = {}
    for part in ("overhead", "multipliers"):
        own = {s.name: values[s.name] for s in (*SCALARS, *SPLIT_SCALARS) if s.part == part and s.name in values}
        parts[part] = getattr(profile, part).model_copy(update=own)
    return profile.model_copy(update=parts)


def _answers(data: Sequence[Sample], values: Sequence[Values], pool: ProcessPoolExecutor) -> list[dict[str, str]]:
    work = [(s.case, v) for s, v in zip(data, values, strict=True)]
    answers = []
    for sample, found in zip(data, pool.map(_predicted, work, chunksize=8), strict=True):
        line = {name: f"{value:.6g}" for name, value in found.items()}
        answers += [{"id": i, "status": "ok" if found else "infeasible", "reason": "", **line} for i in sample.ids]
    return answers


def show(title: str, table: Sequence[dict[str, str]], answers: Sequence[dict[str, str]]) -> None:
    cells = []
    for score in scores(table, answers, ()):
        if score.metric in ("out_tok_s", "tpot_any_ms", "ttft_any_ms", "energy_j_per_out_tok"):
            cells.append(f"{score.metric} {score.median_ape:5.1f} ({score.bias:+5.1f}, {score.groups})")
    print(f"  {title:12} " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    sys.exit(main())
