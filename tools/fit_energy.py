"""Fit the three scalars of the power model on a measured table, and say how they do on groups they never saw.

    python tools/fit_energy.py POINTS.csv.gz [--jobs 2] [--out-of-fold ENERGY.csv] [--out-of-gpu GPU.csv]

Boards only, walls are another scope. Folds leave out whole (model, GPU) pairs, then whole GPUs. Tokens per second are
the product's own predictions and are not fitted here: joules per token hold their error too. Deterministic. Not part
of the package: needs only numpy besides it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from fit_cells import show
from fit_profiles import catalog, save

from planner.calibrate.cases import Case, Refusal, case_of
from planner.calibrate.predict import Prediction, energy_of, predict
from planner.calibrate.rows import parse_row, read_rows
from planner.calibrate.score import number
from planner.perf.energy import DRAW, Draw
from tools.left_out import ENERGY, Cells, boards

# Round numbers and wide, so that what is shipped (which saw every row) says nothing about a group left out.
PRIOR = np.log([0.8, 1.0, 2.0])  # in the order of Draw
SIGMA, SHRINK, NUDGE, ROUNDS = 0.5, 0.3, 0.05, 3


@dataclass(frozen=True)
class Sample:
    """One measured row and the run that was predicted for it."""

    row: Cells
    case: Case
    run: Prediction
    measured: dict[str, float]

    @property
    def pair(self) -> str:
        return f"{self.case.model.name}|{self.gpu}"

    @property
    def gpu(self) -> str:
        return self.case.accelerator.name


def main() -> int:
    options = _options()
    table = [cells for _, cells in read_rows(options.table) if boards(cells)]
    with ProcessPoolExecutor(options.jobs) as pool:
        data = [s for s in pool.map(_sample, table, chunksize=8) if s]
    print(
        f"{len(data)} of {len(table)} rows with board power, {len({s.row['group'] for s in data})} groups", flush=True
    )
    fit = Fit(data)
    own = _draw(fit.x)
    show("as shipped", table, answers(data, [DRAW] * len(data)))
    show("in sample", table, answers(data, [own] * len(data)))
    print(f"  {own}")
    for title, key, path in (
        ("pairs out", lambda s: s.pair, options.out_of_fold),
        ("GPUs out", lambda s: s.gpu, options.out_of_gpu),
    ):
        found = fit.left_out(key, options.folds)
        show(title, table, found)
        if path:
            save(path, found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out-of-fold", type=Path, help="predictions by scalars that never saw the row's (model, GPU)")
    parser.add_argument("--out-of-gpu", type=Path, help="the same by scalars that never saw the row's GPU")
    return parser.parse_args()


def _sample(row: Cells) -> Sample | None:
    try:
        case = case_of(parse_row(row), catalog())
        run = predict(case, catalog())
    except (Refusal, ValueError):
        return None
    measured = {name: number(row[name]) for name in ENERGY}
    known = {name: value for name, value in measured.items() if value}
    return Sample(row, case, run, known) if len(known) == len(ENERGY) and ENERGY[0] in run.metrics else None


class Fit:
    """Least absolute log errors of watts and joules per token, each group counting once, held to round numbers."""

    def __init__(self, data: Sequence[Sample]):
        self.data, self.x = data, PRIOR
        for _ in range(ROUNDS):
            self.at = self.x
            self.error = self._errors(self.x)
            nudged = [self._errors(self.x + step) for step in np.eye(len(self.x)) * NUDGE]
            self.slope = (np.stack(nudged, axis=1) - self.error[:, None]) / NUDGE
            self.x = self.solve([True] * len(data))

    def _errors(self, x: np.ndarray) -> np.ndarray:
        """Of watts, then of joules per token."""
        found = [(_energy(s, _draw(x)), s.measured) for s in self.data]
        return np.array([np.log(answer[name] / measured[name]) for name in ENERGY for answer, measured in found])

    def solve(self, kept: Sequence[bool]) -> np.ndarray:
        """The minimum over the kept rows."""
        sizes = Counter(s.row["group"] for s, keep in zip(self.data, kept, strict=True) if keep)
        alone = [keep and 1.0 / sizes[s.row["group"]] for s, keep in zip(self.data, kept, strict=True)]
        weight = np.array(alone * len(ENERGY))
        x, prior = self.at, np.eye(len(PRIOR)) * SHRINK / SIGMA**2
        for _ in range(20):
            error = self.error + self.slope @ (x - self.at)
            robust = weight / np.maximum(np.abs(error), 0.04) / (1.0 + (error / 0.6) ** 2)
            steep = self.slope.T * robust
            x = np.linalg.solve(steep @ self.slope + prior, prior @ PRIOR - steep @ (self.error - self.slope @ self.at))
        return np.clip(x, self.at - 0.5, self.at + 0.5)

    def left_out(self, key: Callable[[Sample], str], folds: int) -> list[Cells]:
        """Answers by the scalars of the fold that left the row out."""
        names = sorted({key(s) for s in self.data})
        order = np.random.default_rng(3).permutation(len(names))
        fold_of = {names[i]: place % folds for place, i in enumerate(order)}
        draws = [_draw(self.solve([fold_of[key(s)] != fold for s in self.data])) for fold in range(folds)]
        return answers(self.data, [draws[fold_of[key(s)]] for s in self.data])


def _draw(x: np.ndarray) -> Draw:
    return Draw(*(float(v) for v in np.exp(x)))


def _energy(sample: Sample, draw: Draw) -> dict[str, float]:
    return energy_of(sample.case, sample.run, catalog(), draw)


def answers(data: Sequence[Sample], draws: Sequence[Draw]) -> list[Cells]:
    found = []
    for sample, draw in zip(data, draws, strict=True):
        figures = {name: f"{value:.6g}" for name, value in _energy(sample, draw).items()}
        found.append({"id": sample.row["id"], "status": "ok", "reason": "", **figures})
    return found


if __name__ == "__main__":
    sys.exit(main())
