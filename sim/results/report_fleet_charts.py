"""Charts that only the report of a fleet has, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from sim.results.chart_parts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    Span,
    figure_of,
    grid,
    linear_axis,
    log_axis,
    path,
    shades,
    time_axis,
)
from sim.results.parts import Floats
from sim.results.words import figure

__all__ = ["Mark", "scatter_chart", "stacked_chart", "tail_chart"]

_SLICES = 96  # as many stretches of time as a stack shows
_SMALLEST_SHARE = 1e-3


class Mark(NamedTuple):
    """A point with a name."""

    label: str
    x: float
    y: float


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def stacked_chart(title: str, t_s: Floats, series: Sequence[Series], *, shaded: Sequence[Span] = ()) -> str:
    """What share each series has of all of them, over the left edges `t_s` of equal bins; the rest of a run is flat."""
    per = -(-len(t_s) // _SLICES)
    edges = np.append(t_s[::per], t_s[-1] + (t_s[1] - t_s[0] if len(t_s) > 1 else 1.0))
    amounts = np.array([np.add.reduceat(s.values, np.arange(0, len(t_s), per)) for s in series], np.float64)
    whole = amounts.sum(axis=0)
    tops = np.cumsum(amounts, axis=0) / np.where(whole > 0.0, whole, 1.0)
    x, y = time_axis(float(edges[-1])), linear_axis(1.0, HEIGHT - BOTTOM, TOP, _percent)
    across = x.at(np.repeat(edges, 2)[1:-1])
    areas, below = [], np.zeros(len(whole))
    for top, colour in zip(tops, COLOURS, strict=False):
        up, down = (y.at(np.repeat(level, 2)) for level in (top, below))
        outline = path(np.concatenate((across, across[::-1])), np.concatenate((up, down[::-1])))
        areas.append(f'<path class="area {colour}" d="{outline}Z"/>')
        below = top
    return figure_of(title, [s.label for s in series], "".join(areas) + shades(x, shaded) + grid(x, y))


def tail_chart(title: str, values: Floats, unit: str, nobody: str) -> str:
    """Which share of the values is larger than x; `nobody` is said when there are none. Sorts `values`."""
    values.sort()
    if len(values) == 0 or values[-1] <= 0.0:
        return figure_of(title, [], "", nobody)
    least = max(_SMALLEST_SHARE, 1.0 / len(values))
    shares = np.geomspace(1.0, least, 120)
    points = values[np.minimum(((1.0 - shares) * len(values)).astype(np.int64), len(values) - 1)]
    base = linear_axis(float(points[-1]), LEFT, WIDTH - RIGHT, lambda v: figure(v, unit))
    y = log_axis(min(least, 0.1), 1.0, _percent, HEIGHT - BOTTOM, TOP)
    return figure_of(title, [], grid(base, y) + f'<path class="curve one" d="{path(base.at(points), y.at(shares))}"/>')


def scatter_chart(title: str, marks: Sequence[Mark], *, x_text: str, y_text: str) -> str:
    """Points with names; the first one stands out. Both axes begin at 0, and y is a share."""
    if not marks:
        return figure_of(title, [], "", "Nothing was answered.")
    x = linear_axis(max(max(mark.x for mark in marks), 1e-6) * 1.05, LEFT, WIDTH - RIGHT, lambda v: figure(v))
    y = linear_axis(1.0, HEIGHT - BOTTOM, TOP, _percent)
    parts = [
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM - 6}" text-anchor="end">{escape(x_text)}</text>',
        f'<text x="{LEFT + 4}" y="{TOP + 10}">{escape(y_text)}</text>',
    ]
    for i, mark in enumerate(marks):
        across, up = (float(axis.at(np.array([value]))[0]) for axis, value in ((x, mark.x), (y, mark.y)))
        side, shift = ("end", -8) if across > WIDTH / 2 else ("start", 8)
        parts.append(
            f'<circle class="mark {"one" if i == 0 else "three"}" cx="{across:.1f}" cy="{up:.1f}" r="5"/>'
            f'<text x="{across + shift:.1f}" y="{up + 4:.1f}" text-anchor="{side}">{escape(mark.label)}</text>'
        )
    return figure_of(title, [], grid(x, y) + "".join(parts))
