"""Charts of the report as inline SVG: small functions that return text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from sim.results.chart_parts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
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
from sim.results.words import count, duration, figure

__all__ = ["Series", "bar_chart", "cdf_chart", "line_chart"]

_CDF_POINTS = np.concatenate((np.linspace(0.0, 0.98, 99), np.linspace(0.981, 1.0, 20)))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def line_chart(
    title: str, t_s: Floats, series: Sequence[Series], *, shares: bool = False, shaded: Sequence[Span] = ()
) -> str:
    """Curves over the seconds `t_s` of the run, from 0 up; `shares` are drawn as percentages of 1.

    Spans of time in `shaded` get another background.
    """
    top = 1.0 if shares else max([1.0, *(float(s.values.max()) for s in series)])
    x = time_axis(float(t_s[-1]))
    y = linear_axis(top, HEIGHT - BOTTOM, TOP, _percent if shares else figure)
    curves = [
        f'<path class="curve {colour}" d="{path(x.at(t_s), y.at(np.minimum(s.values, y.high)))}"/>'
        for s, colour in zip(series, COLOURS, strict=False)
    ]
    return figure_of(title, [s.label for s in series], shades(x, shaded) + grid(x, y) + "".join(curves))


def cdf_chart(title: str, seconds: Floats, limit_s: float | None = None) -> str:
    """Which share of the requests took at most so long; a dashed line marks the limit. Empty: a sentence."""
    if len(seconds) == 0:
        return figure_of(title, [], "", "No request qualifies.")
    points = np.quantile(seconds, _CDF_POINTS)
    low, high = float(points[0]), float(points[-1])
    if limit_s is not None:
        low, high = min(low, limit_s), max(high, limit_s)
    x = log_axis(low, high) if low > 0.0 and high > 20.0 * low else time_axis(high)
    y = linear_axis(1.0, HEIGHT - BOTTOM, TOP, _percent)
    body = grid(x, y) + f'<path class="curve one" d="{path(x.at(points), y.at(_CDF_POINTS))}"/>'
    if limit_s is not None:
        at = float(x.at(np.array([limit_s]))[0])
        side, shift = ("end", -4) if at > WIDTH / 2 else ("start", 4)
        body += f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        body += (
            f'<text class="limit-text" x="{at + shift:.1f}" y="{HEIGHT - BOTTOM - 8}" text-anchor="{side}">'
            f"SLO {escape(duration(limit_s))}</text>"
        )
    return figure_of(title, [], body)


def bar_chart(title: str, rows: Sequence[tuple[str, float]], text: Callable[[Any], str] = count) -> str:
    """One horizontal bar a row, its number behind it."""
    if not rows:
        return figure_of(title, [], "", "None.")
    most = max(n for _, n in rows) or 1.0
    step, left, room = 26, 110, WIDTH - 110 - 80
    parts = []
    for i, (label, n) in enumerate(rows):
        y = i * step + 4
        width = max(1.0, n / most * room) if n else 0.0
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{left}" y="{y}" width="{width:.1f}" height="18"/>'
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{escape(text(n))}</text>'
        )
    return figure_of(title, [], "".join(parts), height=len(rows) * step + 4)
