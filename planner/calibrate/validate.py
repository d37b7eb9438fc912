"""validate: predict every row of a measured table and score the answers against what the table holds.

Not a fit: a row's measurements are read after its prediction, by `score` alone. One bad row never stops the run, and a
run that was interrupted goes on where its part file ends.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from planner import __version__
from planner.calibrate.cases import Refusal, case_of
from planner.calibrate.intervals import with_interval
from planner.calibrate.predict import predict
from planner.calibrate.rows import METRICS, parse_row, read_rows
from planner.calibrate.score import Score, scores
from planner.catalog import Catalog
from planner.errors import BadInput, Problem, Where

Cells = dict[str, str]
Key = tuple[str, ...]
Batch = Callable[[list[Key]], list[Cells]]
Progress = Callable[[int, int], None]
COLUMNS = ("id", "status", "reason", *METRICS, *(f"{m}_{end}" for m in METRICS for end in ("lo", "hi")), "source")
# What a prediction may depend on: two rows that agree here get the same answer, computed once.
CONFIGURATION = (
    "gpu", "num_gpus", "model", "checkpoint", "weight_dtype", "kv_dtype", "engine", "engine_version", "source_date",
    "mode", "tp", "pp", "ep", "dp", "prefill_workers", "prefill_tp", "prefill_ep", "prefill_dp", "decode_workers",
    "decode_tp", "decode_ep", "decode_dp", "spec_decode", "isl_mean", "osl_mean", "length_dist", "dataset",
    "load_kind", "load_value", "num_requests",
)  # fmt: skip
CHUNK = 24


@dataclass(frozen=True, slots=True)
class Report:
    """How the run ended: rows by status, the commonest refusals, and scores where the table holds measurements."""

    rows: int
    statuses: dict[str, int]
    reasons: tuple[tuple[str, int], ...]
    scores: tuple[Score, ...]


def validate(
    path: Path, out: Path, jobs: int = 1, progress: Progress | None = None, overlays: Sequence[Path] = ()
) -> Report:
    """Predict the rows of `path` into `out` (CSV) and score them; BadInput when `path` is no such table.

    overlays: catalogs laid over the shipped one.
    """
    table = [cells for _, cells in read_rows(path)]
    _check_ids(path)
    folders = tuple(str(folder) for folder in overlays)
    part = part_file(path, out, _catalog(folders))
    done = _resumed(part, {cells["id"] for cells in table})
    with part.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if not done:
            writer.writeheader()
        for answers in _answers(table, done, partial(_batch, folders), jobs, progress):
            for answer in answers:
                done[answer["id"]] = answer
                writer.writerow(answer)
            file.flush()
    predictions = [done[cells["id"]] for cells in table]
    _write(out, predictions)
    part.unlink()
    return report(table, predictions)


def report(table: Sequence[Cells], predictions: Sequence[Cells]) -> Report:
    """Counts and scores of finished predictions."""
    reasons = Counter(p["reason"] for p in predictions if p["status"] != "ok")
    statuses = Counter(p["status"] for p in predictions)
    return Report(len(table), dict(statuses), tuple(reasons.most_common(10)), tuple(scores(table, predictions)))


def _answers(
    table: Sequence[Cells], done: dict[str, Cells], batch_of: Batch, jobs: int, progress: Progress | None
) -> Iterator[list[Cells]]:
    """Answers in batches as they become known, each configuration computed once."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for cells in table:
        if cells["id"] not in done:
            alike.setdefault(tuple(cells.get(name) or "" for name in CONFIGURATION), []).append(cells["id"])
    keys = list(alike)
    batches = [keys[i : i + CHUNK] for i in range(0, len(keys), CHUNK)]
    finished = len(done)
    for batch, answers in zip(batches, _computed(batch_of, batches, jobs), strict=True):
        ready = [a | {"id": name} for key, a in zip(batch, answers, strict=True) for name in alike[key]]
        finished += len(ready)
        if progress:
            progress(finished, len(table))
        yield ready


def _computed(batch_of: Batch, batches: list[list[Key]], jobs: int) -> Iterator[list[Cells]]:
    if jobs <= 1:
        yield from map(batch_of, batches)
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        yield from pool.map(batch_of, batches)
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stopped the run does not wait for the rest of it


def _batch(folders: tuple[str, ...], keys: Iterable[Key]) -> list[Cells]:
    return [answer(dict(zip(CONFIGURATION, key, strict=True)), _catalog(folders)) for key in keys]


@cache
def _catalog(folders: tuple[str, ...]) -> Catalog:
    return Catalog.open(folders)


def part_file(path: Path, out: Path, catalog: Catalog) -> Path:
    """Where finished answers are kept: beside the output, under a name of its own for each table, catalog and version.

    So answers to another question are never taken up again.
    """
    text = "\n".join([__version__, catalog.content_hash(), hashlib.sha256(path.read_bytes()).hexdigest()])
    return out.with_name(f".{out.name}.{hashlib.sha256(text.encode()).hexdigest()[:12]}.part")


def answer(cells: Cells, catalog: Catalog) -> Cells:
    """The output line of one row; a row that cannot be answered says why."""
    try:
        row = parse_row(cells)
        case = case_of(row, catalog)
        found = predict(case, catalog)
    except Refusal as refusal:
        return {"status": refusal.status, "reason": refusal.reason}
    except BadInput as error:
        return {"status": "unsupported", "reason": "; ".join(str(p) for p in error.problems)}
    except (ValueError, ArithmeticError, LookupError) as error:  # a row that no rule foresaw must not stop the others
        return {"status": "error", "reason": str(error) or type(error).__name__}
    metrics = {name: f"{value:.6g}" for name, value in with_interval(case, found).items()}
    doubts = dict.fromkeys(doubt for _, replica, _ in found.works for doubt in replica.cost.doubts)
    source = "; ".join((f"{case.profile.name}: {found.source}", *case.doubts, *doubts))
    return {"status": "ok", "reason": "", **metrics, "source": source}


def _check_ids(path: Path) -> None:
    """Answers are found by id, so no two rows may share one."""
    seen: set[str] = set()
    problems = []
    for line, cells in read_rows(path):
        if not cells["id"] or cells["id"] in seen:
            what = f"id {cells['id']!r} appears twice" if cells["id"] else "the row has no id"
            problems.append(Problem(what, Where(str(path), line, 1)))
        seen.add(cells["id"])
    if problems:
        raise BadInput(*problems[:20])


def _resumed(part: Path, wanted: set[str]) -> dict[str, Cells]:
    """Whole lines of the part file of an interrupted run, for rows that are still in the table."""
    if not part.exists():
        return {}
    text = part.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    part.write_text(whole, encoding="utf-8")
    return {line["id"]: line for line in csv.DictReader(io.StringIO(whole)) if line["id"] in wanted}


def _write(out: Path, predictions: Sequence[Cells]) -> None:
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(predictions)
