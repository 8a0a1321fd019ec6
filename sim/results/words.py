"""Numbers as people read them, on the screen and in the report. None is a dash."""

from __future__ import annotations

__all__ = ["count", "duration", "figure", "money", "percent"]


def count(n: int | None) -> str:
    """1,234,567"""
    return "-" if n is None else f"{n:,}"


def percent(share: float | None) -> str:
    """A share as a percentage; what is not quite all or nothing never reads 100 % or 0 %."""
    if share is None:
        return "-"
    if 0.999 <= share < 1.0:
        return f"{max(0.0, int(share * 1e5) / 1e3):.3f} %"
    if 0.0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def figure(value: float | None, unit: str = "") -> str:
    """Three significant digits, or all before the point."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits: 850 µs, 12.3 ms, 4.56 s, 12.5 min, 3.2 h."""
    if seconds is None:
        return "-"
    for limit, factor, unit in (
        (1e-3, 1e6, "µs"),
        (1.0, 1e3, "ms"),
        (600.0, 1.0, "s"),
        (7200.0, 1 / 60, "min"),
    ):
        if 0 < abs(seconds) < limit:
            return figure(seconds * factor, unit)
    return "0 s" if seconds == 0 else f"{seconds / 3600:,.1f} h"


def money(usd: float | None) -> str:
    """$1.23, or two significant digits of less than ten cents."""
    return "-" if usd is None else f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.2g}"
