"""Overlay: fitted corrections -> an engine profile in a folder that `--catalog` lays over the shipped one. No fit here.

The profile is that of the measured engine, narrowed to the measured version where one was stated, so that a correction
is read only for the engine, version, accelerator, model and weight format it was measured with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from planner.calibrate.anchors import Anchor
from planner.calibrate.fit import Errors
from planner.errors import BadInput, Problem, Where
from planner.spec.correction import Bought, Correction, Factors
from planner.spec.engine import EngineProfile, version_tuple

PRIOR_POINTS = 0.5
"""The profile's own band counts as so many points. On 89 development configurations with 3 anchors each the bands hold
85 % of the other points of the configuration, at a median half-width of 16 % (27 % without anchors)."""
Z80 = 1.2816  # 80 % of a normal distribution lie within so many standard deviations
NAMED = 4

HEADER = "# Written by `serveplan calibrate` from measured points; the factors are under `corrections`.\n"


def width_of(rel_error: float, found: Errors) -> float:
    """Half-width of the 80 % band of a step: the profile's, narrowed or widened by the held-out errors of TPOT.

    The scale of the errors is a weighted mean of squares, the profile's own as PRIOR_POINTS of them.
    """
    values = found.by_metric.get("tpot") or found.by_metric.get("e2e") or ()
    prior = PRIOR_POINTS * math.log1p(rel_error) ** 2
    held_out = sum((Z80 * value) ** 2 for value in values)
    return math.expm1(math.sqrt((prior + held_out) / (PRIOR_POINTS + len(values))))


def correction_for(
    anchors: Sequence[Anchor], factors: Factors, rel_error: float, before: Errors, held_out: Errors
) -> Correction:
    """The correction that these anchors support, at their place and nowhere else, and what it bought."""
    _, accelerator, model, weights = anchors[0].place
    names = sorted(
        f"{Path(a.where.file).name}:{a.where.line}" if a.where.line else Path(a.where.file).name for a in anchors
    )
    shown = ", ".join(dict.fromkeys(names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    rounded = Factors(**{name: float(f"{value:.4g}") for name, value in factors})
    return Correction(
        accelerator=accelerator, model=model, weights=weights, factors=rounded, rel_error=float(f"{rel_error:.3g}"),
        plans=tuple(sorted({str(pool.parallelism) for a in anchors for pool in a.case.pools})),
        source=f"{len(anchors)} measured points ({shown})", bought=bought(before, held_out),
    )  # fmt: skip


def bought(before: Errors, held_out: Errors) -> Bought:
    """Median errors without the correction and of points left out of it, to the tenth of a percent."""
    named = {"tpot_before": before.median("tpot"), "tpot": held_out.median("tpot"),
             "ttft_before": before.median("ttft"), "ttft": held_out.median("ttft")}  # fmt: skip
    return Bought(**{name: None if value is None else round(value, 3) for name, value in named.items()})


def narrowed(profile: EngineProfile, version: str) -> EngineProfile:
    """The profile for exactly the version that `version` states; unchanged when it states none."""
    number = profile.read_version(version)
    if number is None:
        return profile
    since = ".".join(map(str, number))
    before = ".".join(map(str, (*number[:2], number[2] + 1)))
    if version_tuple(profile.since) == version_tuple(since) and profile.before == before:
        return profile
    update = {"name": f"{profile.engine}-{since}", "since": since, "before": before, "default": False}
    return profile.model_copy(update=update)


def with_corrections(profile: EngineProfile, found: Sequence[Correction]) -> EngineProfile:
    """The profile with these corrections; those it had for other places stay."""
    places = {correction.place for correction in found}
    kept = tuple(c for c in profile.corrections if c.place not in places)
    return profile.model_copy(update={"corrections": (*kept, *found)})


def write(profile: EngineProfile, folder: Path) -> Path:
    """The profile as a YAML file of a catalog folder; BadInput when it cannot be written."""
    path = folder / "engines" / f"{profile.name}.yaml"
    text = yaml.safe_dump(
        profile.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=110, allow_unicode=True
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + text, encoding="utf-8")
    except OSError as error:
        raise BadInput(Problem(f"cannot write: {error.strerror}", Where(str(path)))) from error
    return path
