"""Measured against predicted as one picture: self-contained SVG, or a page that holds it. It predicts nothing.

One panel for each metric, both axes logarithmic with one scale, so that equal distances from the diagonal are equal
ratios; points are one short stroke each, grouped by colour, which keeps ten thousand of them small.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from planner.calibrate.rows import read_rows
from planner.calibrate.score import ANY, number
from planner.errors import BadInput, Problem, Where, did_you_mean

Cells = Mapping[str, str]
PANELS = (("tpot_any_ms", "TPOT, ms"), ("ttft_any_ms", "TTFT, ms"), ("out_tok_s", "output tokens/s"))
BY = ("engine", "gpu", "model", "arch", "mode", "load_kind", "weight_dtype")
# Okabe and Ito's colours, told apart by colour-blind readers; the last one is for everything else.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
SIDE, GAP, LEFT, TOP, BOTTOM = 320.0, 76.0, 62.0, 46.0, 44.0
BAND = 1.25  # dotted lines: a quarter more, a fifth less
LEGEND = 18.0


@dataclass(frozen=True, slots=True)
class Panel:
    """Points of one metric: (category, measured, predicted)."""

    title: str
    points: tuple[tuple[str, float, float], ...]

    @property
    def decades(self) -> tuple[int, int]:
        """Whole powers of ten around all values."""
        values = [value for _, *pair in self.points for value in pair]
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return low, max(high, low + 1)

    @property
    def median(self) -> float:
        """Median absolute relative error of all points."""
        return float(np.median([abs(predicted / measured - 1) for _, measured, predicted in self.points]))


def check(picture: Path, by: str) -> None:
    """BadInput when the picture cannot be drawn as asked, before hours of work."""
    if picture.suffix not in (".svg", ".html"):
        raise BadInput(Problem("a picture is .svg or .html", Where(str(picture))))
    if by not in BY:
        raise BadInput(Problem(f"--by: unknown {by!r}", hint=did_you_mean(by, BY) or f"one of {', '.join(BY)}"))


def draw(measured: Path, predictions: Path, picture: Path, by: str) -> None:
    """Write the picture of a measured table and the predictions of its rows."""
    check(picture, by)
    answers = {cells["id"]: cells for _, cells in read_rows_of(predictions) if cells["status"] == "ok"}
    svg = scatter([cells for _, cells in read_rows(measured)], answers, by)
    page = f'<!doctype html><meta charset="utf-8"><title>measured against predicted</title>\n{svg}'
    try:
        picture.write_text(page if picture.suffix == ".html" else svg, encoding="utf-8")
    except OSError as error:
        raise BadInput(Problem(f"cannot write: {error.strerror}", Where(str(picture)))) from error


def read_rows_of(predictions: Path) -> Iterator[tuple[int, dict[str, str]]]:
    import csv

    with predictions.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        yield from ((reader.line_num, row) for row in reader)


def scatter(truth: Sequence[Cells], answers: Mapping[str, Cells], by: str) -> str:
    """The SVG text."""
    panels = [panel for metric, title in PANELS if (panel := _panel(truth, answers, metric, title, by)).points]
    if not panels:
        raise BadInput(
            Problem("nothing to draw: no row has both a measurement and a prediction of TPOT, TTFT or tok/s")
        )
    counts = Counter(name for panel in panels for name, _, _ in panel.points)
    colours = _colours(counts)
    width = LEFT + len(panels) * (SIDE + GAP)
    height = TOP + SIDE + BOTTOM + LEGEND * (1 + math.ceil(len(colours) / 4))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate({LEFT + place * (SIDE + GAP):.0f},{TOP:.0f})">', *_drawn(panel, colours)]
        parts.append("</g>")
    return "\n".join([*parts, *_legend(colours, by, TOP + SIDE + BOTTOM + LEGEND, width), "</svg>", ""])


def _panel(truth: Sequence[Cells], answers: Mapping[str, Cells], metric: str, title: str, by: str) -> Panel:
    found = []
    for row in truth:
        for column in ANY.get(metric, (metric,)):
            measured, predicted = number(row.get(column)), number(answers.get(row["id"], {}).get(column))
            if measured and predicted and min(measured, predicted) > 0:
                found.append((row.get(by) or "not stated", measured, predicted))
                break
    return Panel(title, tuple(found))


def _colours(counts: Counter[str]) -> dict[str, str]:
    """The commonest categories have a colour of their own."""
    names = [name for name, _ in counts.most_common()]
    own = dict(zip(names, COLOURS[:-1], strict=False))
    return own | ({"others": COLOURS[-1]} if len(names) > len(own) else {})


def _drawn(panel: Panel, colours: Mapping[str, str]) -> Iterator[str]:
    low, high = panel.decades
    scale = SIDE / (high - low)

    def at(value: float) -> float:
        return (math.log10(value) - low) * scale

    yield f'<rect width="{SIDE:.0f}" height="{SIDE:.0f}" fill="none" stroke="#444"/>'
    for power in range(low, high + 1):
        yield from _tick(power, (power - low) * scale)
    for factor, dash in ((1.0, ""), (BAND, ' stroke-dasharray="2 4"'), (1 / BAND, ' stroke-dasharray="2 4"')):
        shift = math.log10(factor) * scale
        start, end = max(0.0, -shift), min(SIDE, SIDE - shift)
        yield (
            f'<line x1="{start:.1f}" y1="{SIDE - start - shift:.1f}" x2="{end:.1f}" y2="{SIDE - end - shift:.1f}" '
            f'stroke="#888"{dash}/>'
        )
    for name, colour in colours.items():
        mine = [(m, p) for who, m, p in panel.points if (who if who in colours else "others") == name]
        strokes = "".join(f"M{at(m):.1f} {SIDE - at(p):.1f}h0" for m, p in mine)
        if strokes:
            style = f'stroke="{colour}" stroke-width="3.2" stroke-linecap="round" stroke-opacity=".55" fill="none"'
            yield f'<path d="{strokes}" {style}><title>{escape(name)}</title></path>'
    title = f"{escape(panel.title)}: {len(panel.points)} points, median error {panel.median:.0%}"
    yield f'<text x="{SIDE / 2:.0f}" y="-14" text-anchor="middle" font-size="13">{title}</text>'
    yield f'<text x="{SIDE / 2:.0f}" y="{SIDE + 36:.0f}" text-anchor="middle">measured</text>'
    yield f'<text transform="translate(-44,{SIDE / 2:.0f}) rotate(-90)" text-anchor="middle">predicted</text>'


def _tick(power: int, place: float) -> Iterator[str]:
    label = f"{10.0**power:g}"
    y = SIDE - place
    yield f'<line x1="{place:.1f}" y1="0" x2="{place:.1f}" y2="{SIDE:.0f}" stroke="#e4e4e4"/>'
    yield f'<line x1="0" y1="{y:.1f}" x2="{SIDE:.0f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
    yield f'<text x="{place:.1f}" y="{SIDE + 16:.0f}" text-anchor="middle">{label}</text>'
    yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _legend(colours: Mapping[str, str], by: str, top: float, width: float) -> Iterator[str]:
    yield f'<text x="{LEFT:.0f}" y="{top:.0f}" fill="#444">by {by}; dotted: 25 % above, 20 % below</text>'
    column = (width - LEFT) / 4
    for place, (name, colour) in enumerate(colours.items()):
        x, y = LEFT + place % 4 * column, top + LEGEND * (1 + place // 4)
        yield f'<circle cx="{x + 5:.0f}" cy="{y - 4:.0f}" r="4" fill="{colour}"/>'
        yield f'<text x="{x + 14:.0f}" y="{y:.0f}">{escape(name)}</text>'
