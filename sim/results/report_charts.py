"""Charts of the report as inline SVG: small functions that return text.

Colours come from the style sheet of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.results.words import count, duration, figure

__all__ = ["Series", "bar_chart", "cdf_chart", "line_chart"]

Floats = NDArray[np.float64]
Span = tuple[float, float]
"""From one instant to another, in seconds."""

_WIDTH, _HEIGHT = 480, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 26
_COLOURS = ("one", "two", "three")
_CDF_POINTS = np.concatenate((np.linspace(0.0, 0.98, 99), np.linspace(0.981, 1.0, 20)))


class Series(NamedTuple):
    """One curve: its name and its values, one for each x of the chart."""

    label: str
    values: Floats


class _Axis(NamedTuple):
    """From values to positions between `start` and `end`; `ticks` are values with their texts."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    ticks: tuple[tuple[float, str], ...]

    def at(self, values: Floats) -> Floats:
        low, high = self.low, self.high
        if self.logarithmic:
            values, low, high = np.log10(values), math.log10(low), math.log10(high)
        return np.asarray(self.start + (values - low) / (high - low) * (self.end - self.start))


def line_chart(
    title: str, t_s: Floats, series: Sequence[Series], *, shares: bool = False, shaded: Sequence[Span] = ()
) -> str:
    """Curves over the seconds `t_s` of the run, from 0 up; `shares` are drawn as percentages of 1.

    Spans of time in `shaded` get another background.
    """
    top = 1.0 if shares else max([1.0, *(float(s.values.max()) for s in series)])
    x = _time_axis(float(t_s[-1]))
    y = _axis(top, _HEIGHT - _BOTTOM, _TOP, lambda v: f"{100 * v:.0f} %" if shares else figure(v))
    curves = [
        f'<path class="curve {colour}" d="{_path(x.at(t_s), y.at(np.minimum(s.values, y.high)))}"/>'
        for s, colour in zip(series, _COLOURS, strict=False)
    ]
    return _figure(title, [s.label for s in series], _shades(x, shaded) + _grid(x, y) + "".join(curves))


def cdf_chart(title: str, seconds: Floats, limit_s: float | None = None) -> str:
    """Which share of the requests took at most so long; a dashed line marks the limit. Empty: a sentence."""
    if len(seconds) == 0:
        return _figure(title, [], "", "No request qualifies.")
    points = np.quantile(seconds, _CDF_POINTS)
    low, high = float(points[0]), float(points[-1])
    if limit_s is not None:
        low, high = min(low, limit_s), max(high, limit_s)
    x = _log_axis(low, high) if low > 0.0 and high > 20.0 * low else _time_axis(high)
    y = _axis(1.0, _HEIGHT - _BOTTOM, _TOP, lambda v: f"{100 * v:.0f} %")
    body = _grid(x, y) + f'<path class="curve one" d="{_path(x.at(points), y.at(_CDF_POINTS))}"/>'
    if limit_s is not None:
        at = float(x.at(np.array([limit_s]))[0])
        side, shift = ("end", -4) if at > _WIDTH / 2 else ("start", 4)
        body += f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        body += (
            f'<text class="limit-text" x="{at + shift:.1f}" y="{_HEIGHT - _BOTTOM - 8}" text-anchor="{side}">'
            f"SLO {escape(duration(limit_s))}</text>"
        )
    return _figure(title, [], body)


def bar_chart(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """One horizontal bar a row, its number behind it."""
    if not rows:
        return _figure(title, [], "", "None.")
    most = max(1, *(n for _, n in rows)) if len(rows) > 1 else max(1, rows[0][1])
    step, left, room = 26, 110, _WIDTH - 110 - 80
    parts = []
    for i, (label, n) in enumerate(rows):
        y = i * step + 4
        width = max(1.0, n / most * room) if n else 0.0
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{left}" y="{y}" width="{width:.1f}" height="18"/>'
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{count(n)}</text>'
        )
    return _figure(title, [], "".join(parts), height=len(rows) * step + 4)


# -- parts -----------------------------------------------------------------------------------------------


def _figure(title: str, labels: Sequence[str], body: str, instead: str = "", height: int = _HEIGHT) -> str:
    keys = "".join(
        f'<span class="key {colour}"></span>{escape(label)}' for label, colour in zip(labels, _COLOURS, strict=False)
    )
    caption = f"<figcaption><b>{escape(title)}</b>{keys}</figcaption>"
    if instead:
        return f'<figure>{caption}<p class="soft">{escape(instead)}</p></figure>'
    drawing = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
    return f"<figure>{caption}{drawing}</figure>"


def _shades(x: _Axis, spans: Sequence[Span]) -> str:
    parts = []
    for since, until in spans:
        left, right = (float(at) for at in x.at(np.clip(np.array([since, until]), x.low, x.high)))
        wide = max(1.0, right - left)
        parts.append(
            f'<rect class="shade" x="{left:.1f}" y="{_TOP}" width="{wide:.1f}" height="{_HEIGHT - _BOTTOM - _TOP}"/>'
        )
    return "".join(parts)


def _path(x: Floats, y: Floats) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _grid(x: _Axis, y: _Axis) -> str:
    right, base = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, text in y.ticks:
        at = float(y.at(np.array([value]))[0])
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for value, text in x.ticks:
        at = float(x.at(np.array([value]))[0])
        side = "end" if at > right - 12 else "start" if at < _LEFT + 12 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{base + 17}" text-anchor="{side}">{escape(text)}</text>')
    return "".join(parts)


# -- axes ------------------------------------------------------------------------------------------------


def _nice_step(high: float, most: int) -> float:
    """A round step (1, 2 or 5 times a power of ten) that fits at most `most` times into `high`."""
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-12))


def _axis(high: float, start: float, end: float, text: object) -> _Axis:
    step = _nice_step(high, 5)
    top = math.ceil(high / step - 1e-9) * step
    write = text if callable(text) else str
    ticks = tuple((i * step, str(write(i * step))) for i in range(round(top / step) + 1))
    return _Axis(0.0, top, start, end, False, ticks)


def _time_axis(high: float) -> _Axis:
    """From 0 to `high` seconds, in the unit that suits all ticks."""
    high = high if high > 0.0 else 1.0
    unit, name = next(
        (u, n)
        for u, n in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "s"))
        if high >= (3.0 if u >= 60.0 else 1.0) * u
    )
    unit = unit or 1.0
    step = _nice_step(high / unit, 6)
    ticks = tuple((i * step * unit, f"{i * step:.6g} {name}") for i in range(int(high / unit / step + 1e-9) + 1))
    return _Axis(0.0, high, _LEFT, _WIDTH - _RIGHT, False, ticks)


def _log_axis(low: float, high: float) -> _Axis:
    """From `low` to `high` > `low` seconds; ticks at powers of ten, or at 1, 2, 5 when these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if len(powers) <= 3 else (1.0,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    ticks = tuple((v, duration(v)) for v in values if low <= v <= high)
    return _Axis(low, high, _LEFT, _WIDTH - _RIGHT, True, ticks)
