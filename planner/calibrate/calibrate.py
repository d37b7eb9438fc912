"""calibrate: a user's result files -> corrections in a catalog folder, and how much they improved. Not a prediction.

Points are grouped by what a correction is for: engine and version, accelerator, model, weight format. Each group is
fitted by itself; a group that is too small is refused, because its correction would be its noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.calibrate.anchors import Anchor, anchor_of, check_agreement, experiments
from planner.calibrate.fit import Errors, errors, fit, free_factors, held_out
from planner.calibrate.overlay import correction_for, narrowed, width_of, with_corrections, write
from planner.calibrate.readers import Measured, read_results
from planner.calibrate.validate import CONFIGURATION
from planner.catalog import Catalog
from planner.errors import BadInput, Problem, did_you_mean, raise_all
from planner.spec.correction import Correction, Factors
from planner.spec.engine import EngineProfile

LEAST_POINTS = 3
MOST_PROBLEMS = 20
# Shorter names of columns, and those that set two.
SHORT = {
    "gpus": "num_gpus",
    "accelerator": "gpu",
    "weights": "weight_dtype",
    "kv": "kv_dtype",
    "version": "engine_version",
    "input": "isl_mean",
    "output": "osl_mean",
    "lengths": "length_dist",
    "requests": "num_requests",
}
LOADS = ("concurrency", "rate", "static_batch")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one group of points became.

    free: the factors its points could set. before: errors without any correction. in_sample: of the points that were
    fitted. held_out: of each point when it was left out. rel_error_before, rel_error: half-width of the 80 % band.
    """

    engine: str
    version: str
    accelerator: str
    model: str
    weights: str
    points: int
    free: tuple[str, ...]
    factors: Factors
    before: Errors
    in_sample: Errors
    held_out: Errors
    rel_error_before: float
    rel_error: float
    file: str


def calibrate(
    results: Sequence[Path], folder: Path, catalog: Catalog, stated: Mapping[str, str], progress: Progress | None = None
) -> list[Outcome]:
    """Fit the points of all files and write the corrections into `folder`; BadInput holds every mistake found.

    stated: columns of the measured table that hold for all points, over what a file says. catalog: with `folder` laid
    over it when earlier corrections there are to be kept.
    """
    anchors = _anchors(_points(results, stated), catalog)
    groups = _groups(anchors)
    raise_all([*check_agreement(anchors), *_too_few(groups)][:MOST_PROBLEMS])
    found = []
    for done, group in enumerate(groups.values()):
        if progress:
            progress(done, len(groups), "configurations")
        found.append(_fitted(group))
    if progress:
        progress(len(groups), len(groups), "configurations")
    files = _write(found, folder, catalog)
    return [_outcome(one, files[one.profile.name]) for one in found]


def columns(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """`key=value` settings as columns of the measured table; BadInput names unknown keys."""
    found: dict[str, str] = {}
    problems = []
    for key, value in pairs:
        name = SHORT.get(key, key)
        if name in LOADS:
            found |= {"load_kind": name, "load_value": value}
        elif name in CONFIGURATION:
            found[name] = value
        else:
            known = (*CONFIGURATION, *SHORT, *LOADS)
            hint = did_you_mean(key, known) or f"known: {', '.join(sorted(known))}"
            problems.append(Problem(f"unknown setting {key!r}", hint=hint))
    raise_all(problems)
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    anchors: tuple[Anchor, ...]
    profile: EngineProfile
    version: str
    factors: Factors
    before: Errors
    held_out: Errors
    correction: Correction


def _points(results: Sequence[Path], stated: Mapping[str, str]) -> list[Measured]:
    points: list[Measured] = []
    problems: list[Problem] = []
    for path in results:
        try:
            points += read_results(path)
        except BadInput as error:
            problems += error.problems
    raise_all(problems[:MOST_PROBLEMS])
    return [Measured({**point.cells, **stated}, point.where) for point in points]


def _anchors(points: Sequence[Measured], catalog: Catalog) -> list[Anchor]:
    anchors: list[Anchor] = []
    problems: list[Problem] = []
    for point in points:
        try:
            anchors.append(anchor_of(point, catalog))
        except BadInput as error:
            problems += error.problems
    raise_all(problems[:MOST_PROBLEMS])
    return anchors


def _groups(anchors: Sequence[Anchor]) -> dict[tuple[str, ...], list[Anchor]]:
    groups: dict[tuple[str, ...], list[Anchor]] = {}
    for anchor in anchors:
        groups.setdefault((anchor.case.profile.name, _version(anchor), *anchor.place), []).append(anchor)
    return groups


def _version(anchor: Anchor) -> str:
    """The engine version a point states, empty when it states none: a date is no version."""
    version = anchor.case.version if anchor.row.engine_version else None
    return ".".join(map(str, version)) if version else ""


def _too_few(groups: Mapping[tuple[str, ...], Sequence[Anchor]]) -> list[Problem]:
    problems = []
    for (profile, version, _, accelerator, model, weights), anchors in groups.items():
        if (different := len(experiments(anchors))) < LEAST_POINTS:
            what = f"{different} different point(s) of {model} {weights} on {accelerator}, {profile} {version}".rstrip()
            hint = f"at least {LEAST_POINTS} are needed: one at low, one at high load, one with other lengths"
            problems.append(Problem(what, anchors[0].where, hint))
    return problems


def _fitted(anchors: list[Anchor]) -> _Fit:
    factors, left_out = fit(anchors), held_out(anchors)
    first = anchors[0]
    wide = first.case.profile.on(first.place[0], first.place[3]).rel_error
    before = errors(anchors, Factors())
    correction = correction_for(anchors, factors, width_of(wide, left_out), before, left_out)
    version = _version(first)
    profile = narrowed(first.case.profile, version)
    return _Fit(tuple(anchors), profile, version, factors, before, left_out, correction)


def _write(found: Sequence[_Fit], folder: Path, catalog: Catalog) -> dict[str, Path]:
    """One file per profile; corrections that the catalog holds for other places stay."""
    written = {}
    known = {profile.name: profile.corrections for profile in catalog.profiles()}
    for profile in {one.profile.name: one.profile for one in found}.values():
        before = profile.model_copy(update={"corrections": known.get(profile.name, ())})
        own = [one.correction for one in found if one.profile.name == profile.name]
        written[profile.name] = write(with_corrections(before, own), folder)
    return written


def _outcome(one: _Fit, file: Path) -> Outcome:
    family, accelerator, model, weights = one.anchors[0].place
    profile = one.anchors[0].case.profile
    return Outcome(
        engine=profile.engine, version=one.version, accelerator=accelerator, model=model, weights=weights,
        points=len(one.anchors), free=free_factors(one.anchors), factors=one.correction.factors,
        before=one.before, in_sample=errors(one.anchors, one.correction.factors),
        held_out=one.held_out, rel_error_before=profile.on(family, weights).rel_error,
        rel_error=one.correction.rel_error or profile.rel_error, file=str(file),
    )  # fmt: skip
