"""What all charts of the report are made of: figure, axes, grid, paths. Inline SVG, coloured by the style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from sim.results.parts import Floats
from sim.results.words import duration

__all__ = [
    "BOTTOM", "COLOURS", "HEIGHT", "LEFT", "RIGHT", "TOP", "WIDTH",
    "Axis", "Series", "Span", "figure_of", "grid", "linear_axis", "log_axis", "path", "shades", "time_axis",
]  # fmt: skip

WIDTH, HEIGHT = 480, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 26
COLOURS = ("one", "two", "three", "four")
Span = tuple[float, float]
"""From one instant to another, in seconds."""


class Series(NamedTuple):
    """One curve: its name and its values, one for each x of the chart."""

    label: str
    values: Floats


class Axis(NamedTuple):
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


# -- parts -----------------------------------------------------------------------------------------------


def figure_of(title: str, labels: Sequence[str], body: str, instead: str = "", height: int = HEIGHT) -> str:
    """A figure with its caption and the key of its colours; `instead` is a sentence where there is nothing to draw."""
    keys = "".join(
        f'<span class="key {colour}"></span>{escape(label)}' for label, colour in zip(labels, COLOURS, strict=False)
    )
    caption = f"<figcaption><b>{escape(title)}</b>{keys}</figcaption>"
    if instead:
        return f'<figure>{caption}<p class="soft">{escape(instead)}</p></figure>'
    drawing = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
    return f"<figure>{caption}{drawing}</figure>"


def shades(x: Axis, spans: Sequence[Span]) -> str:
    """Another background for spans of time."""
    parts = []
    for since, until in spans:
        left, right = (float(at) for at in x.at(np.clip(np.array([since, until]), x.low, x.high)))
        wide = max(1.0, right - left)
        parts.append(
            f'<rect class="shade" x="{left:.1f}" y="{TOP}" width="{wide:.1f}" height="{HEIGHT - BOTTOM - TOP}"/>'
        )
    return "".join(parts)


def path(x: Floats, y: Floats) -> str:
    """The points of a curve, as a path of SVG."""
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def grid(x: Axis, y: Axis) -> str:
    """Lines at the ticks of y, and the words of both axes."""
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value, text in y.ticks:
        at = float(y.at(np.array([value]))[0])
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for value, text in x.ticks:
        at = float(x.at(np.array([value]))[0])
        side = "end" if at > right - 12 else "start" if at < LEFT + 12 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{base + 17}" text-anchor="{side}">{escape(text)}</text>')
    return "".join(parts)


# -- axes ------------------------------------------------------------------------------------------------


def _nice_step(high: float, most: int) -> float:
    """A round step (1, 2 or 5 times a power of ten) that fits at most `most` times into `high`."""
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-12))


def linear_axis(high: float, start: float, end: float, text: Callable[[float], str]) -> Axis:
    """From 0 to a round number from `high` on."""
    step = _nice_step(high, 5)
    top = math.ceil(high / step - 1e-9) * step
    ticks = tuple((i * step, text(i * step)) for i in range(round(top / step) + 1))
    return Axis(0.0, top, start, end, False, ticks)


def time_axis(high: float) -> Axis:
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
    return Axis(0.0, high, LEFT, WIDTH - RIGHT, False, ticks)


def log_axis(
    low: float, high: float, text: Callable[[float], str] = duration, start: float = LEFT, end: float = WIDTH - RIGHT
) -> Axis:
    """From `low` to `high` > `low`; ticks at powers of ten, or at 1, 2, 5 when these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if len(powers) <= 3 else (1.0,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    ticks = tuple((v, text(v)) for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9))
    return Axis(low, high, start, end, True, ticks)
