"""The pictures of docs/accuracy.md as SVG, written by hand: no library, small files, the same bytes every time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = ["MOST_DOTS", "Bar", "Dot", "bars", "scatter"]

MOST_DOTS = 300
"""Dots of a panel; of more, evenly many of every size of error are shown."""

_COLOURS = {
    "vllm": "#0072b2", "sglang": "#e69f00", "trtllm": "#009e73", "genie": "#cc79a7", "rkllm": "#56b4e9",
    "litert": "#d55e00", "llama.cpp": "#000000", "smallthinker": "#8c6d31", "executorch": "#7b3294",
    "mnn": "#999933",
}  # fmt: skip
_OTHERS, _OTHER_COLOUR = "others", "#999999"
_SIDE, _LEFT, _TOP, _GAP, _LEGEND = 300.0, 62.0, 46.0, 40.0, 118.0
_FONT = 'font-family="sans-serif" font-size="11" fill="#222"'
_BAND = 0.25
_ROW, _NAMES, _PLOT = 15.0, 210.0, 420.0
_BAR_LEAST, _BAR_MOST = 0.01, 4.0


class Dot(NamedTuple):
    """A measured value and a predicted one."""

    family: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1|."""
        return abs(self.predicted / self.measured - 1.0)


class Bar(NamedTuple):
    """Errors of a group as fractions: median and 90th percentile, in sample and held out."""

    name: str
    cells: int
    inside: tuple[float, float]
    outside: tuple[float, float]


def scatter(title: str, unit: str, panels: Sequence[tuple[str, Sequence[Dot]]]) -> str:
    """Predicted against measured on logarithmic axes, panel beside panel, with the identity and a band of 25 %."""
    values = [value for _, dots in panels for dot in dots for value in (dot.measured, dot.predicted)]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    width = _LEFT + len(panels) * (_SIDE + _GAP) + _LEGEND
    shown = {_named(dot.family) for _, dots in panels for dot in dots}
    told = "; ".join(f"{name}: {len(dots):,} values, {_inside(dots):.0%} within 25 %" for name, dots in panels)
    parts = [_panel(name, unit, dots, place, low, high) for place, (name, dots) in enumerate(panels)]
    parts.append(_legend(shown, width - _LEGEND))
    return _svg(title, f"Predicted against measured, {unit}. {told}.", width, _TOP + _SIDE + 44.0, parts)


def _named(family: str) -> str:
    return family if family in _COLOURS else _OTHERS


def _inside(dots: Sequence[Dot]) -> float:
    return sum(dot.error <= _BAND for dot in dots) / len(dots)


def _panel(name: str, unit: str, dots: Sequence[Dot], place: int, low: int, high: int) -> str:
    left = _LEFT + place * (_SIDE + _GAP)

    def at(value: float) -> float:
        share = (math.log10(value) - low) / (high - low)
        return min(max(share, 0.0), 1.0) * _SIDE

    lines = [f'<g transform="translate({left:g} {_TOP:g})">']
    lines.append(f'<rect width="{_SIDE:g}" height="{_SIDE:g}" fill="none" stroke="#888"/>')
    for power in range(low, high + 1):
        where = at(10.0**power)
        label = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
        lines.append(f'<path d="M{where:.1f} 0V{_SIDE:g}M0 {_SIDE - where:.1f}H{_SIDE:g}" stroke="#ddd"/>')
        lines.append(f'<text x="{where:.1f}" y="{_SIDE + 14:g}" text-anchor="middle" {_FONT}>{label}</text>')
        if place == 0:
            lines.append(f'<text x="-6" y="{_SIDE - where + 4:.1f}" text-anchor="end" {_FONT}>{label}</text>')
    for factor, dash in ((1.0, ""), (1.0 + _BAND, ' stroke-dasharray="4 3"'), (1.0 - _BAND, ' stroke-dasharray="4 3"')):
        lines.append(_line(factor, low, high, dash))
    for family in sorted({_named(dot.family) for dot in dots}):
        marks = "".join(
            f"M{at(dot.measured):.1f} {_SIDE - at(dot.predicted):.1f}h0"
            for dot in _thinned(dots)
            if _named(dot.family) == family
        )
        colour = _COLOURS.get(family, _OTHER_COLOUR)
        lines.append(
            f'<path d="{marks}" stroke="{colour}" stroke-width="4.4" stroke-linecap="round" stroke-opacity="0.65"/>'
        )
    lines.append(f'<text x="{_SIDE / 2:g}" y="-8" text-anchor="middle" {_FONT}>{escape(name)}</text>')
    lines.append(f'<text x="{_SIDE / 2:g}" y="{_SIDE + 32:g}" text-anchor="middle" {_FONT}>measured, {unit}</text>')
    if place == 0:
        turned = f'transform="translate(-48 {_SIDE / 2:g}) rotate(-90)"'
        lines.append(f'<text {turned} text-anchor="middle" {_FONT}>predicted, {unit}</text>')
    return "\n".join([*lines, "</g>"])


def _line(factor: float, low: int, high: int, dash: str) -> str:
    """predicted = factor x measured, from edge to edge."""
    shift = math.log10(factor) / (high - low) * _SIDE
    x0, x1 = max(0.0, -shift), min(_SIDE, _SIDE - shift)
    return f'<path d="M{x0:.1f} {_SIDE - x0 - shift:.1f}L{x1:.1f} {_SIDE - x1 - shift:.1f}" stroke="#444"{dash}/>'


def _thinned(dots: Sequence[Dot]) -> Sequence[Dot]:
    """At most so many dots, evenly by rank of the error, the largest and the smallest among them."""
    if len(dots) <= MOST_DOTS:
        return dots
    ranked = sorted(dots, key=lambda dot: (dot.error, *dot))
    step = (len(ranked) - 1) / (MOST_DOTS - 1)
    return [ranked[round(k * step)] for k in range(MOST_DOTS)]


def _legend(shown: set[str], left: float) -> str:
    names = [name for name in (*_COLOURS, _OTHERS) if name in shown]
    lines = []
    for place, name in enumerate(names):
        y, colour = _TOP + 10.0 + 16.0 * place, _COLOURS.get(name, _OTHER_COLOUR)
        lines.append(f'<circle cx="{left + 6:g}" cy="{y - 4:g}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{left + 16:g}" y="{y:g}" {_FONT}>{name}</text>')
    y = _TOP + 10.0 + 16.0 * len(names)
    for text, dash in (("equal", ""), ("25 % off", ' stroke-dasharray="4 3"')):
        lines.append(f'<path d="M{left:g} {y - 4:g}h12" stroke="#444"{dash}/>')
        lines.append(f'<text x="{left + 16:g}" y="{y:g}" {_FONT}>{text}</text>')
        y += 16.0
    return "\n".join(lines)


def bars(title: str, sections: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Errors by group: from the median to the 90th percentile, held out, and the same in sample above it."""
    parts, y = [], _TOP
    for name, rows in sections:
        parts.append(f'<text x="8" y="{y + 11:g}" font-weight="bold" {_FONT}>{escape(name)}</text>')
        y += 20.0
        parts.append(_grid(y, _ROW * len(rows)))
        for row in rows:
            parts.append(f'<text x="8" y="{y + 11:g}" {_FONT}>{escape(row.name)} ({row.cells})</text>')
            parts.append(_span(row.outside, y + 10.0, "#d55e00"))
            parts.append(_span(row.inside, y + 5.0, "#0072b2"))
            y += _ROW
        y += 28.0
    key = [("#0072b2", "in sample"), ("#d55e00", "without any row of the model")]
    for place, (colour, text) in enumerate(key):
        x = _NAMES + 130.0 * place
        parts.append(f'<path d="M{x:g} 36h14" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 20:g}" y="40" {_FONT}>{text}</text>')
    told = "; ".join(
        f"{name}: {row.name} {row.outside[0]:.0%} to {row.outside[1]:.0%}" for name, rows in sections for row in rows
    )
    text = f"For each group the median error (dot) and the 90th percentile (end of the line). Held out: {told}."
    return _svg(title, text, _NAMES + _PLOT + 30.0, y, parts)


def _x(error: float) -> float:
    share = math.log(error / _BAR_LEAST) / math.log(_BAR_MOST / _BAR_LEAST)
    return _NAMES + min(max(share, 0.0), 1.0) * _PLOT


def _grid(y: float, height: float) -> str:
    lines = []
    for error in (0.01, 0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0):
        x = _x(error)
        lines.append(f'<path d="M{x:.1f} {y:g}v{height:g}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{y + height + 12:g}" text-anchor="middle" {_FONT}>{error:.0%}</text>')
    return "\n".join(lines)


def _span(errors: tuple[float, float], y: float, colour: str) -> str:
    left, right = _x(errors[0]), _x(errors[1])
    line = f'<path d="M{left:.1f} {y:g}H{right:.1f}" stroke="{colour}" stroke-width="2"/>'
    return line + f'<circle cx="{left:.1f}" cy="{y:g}" r="2.6" fill="{colour}"/>'


def _svg(title: str, text: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-labelledby="title text" fill="none">'
    )
    name, told = f'<title id="title">{escape(title)}</title>', f'<desc id="text">{escape(text)}</desc>'
    heading = f'<text x="8" y="18" font-family="sans-serif" font-size="13" fill="#222">{escape(title)}</text>'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>'
    return "\n".join([head, name, told, ground, heading, *parts, "</svg>"]) + "\n"
