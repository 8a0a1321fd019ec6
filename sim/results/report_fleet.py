"""The part of the report that only a fleet has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.results.analysis import Analysis

__all__ = ["Baselines", "fleet_section", "outages_of"]

Baselines = Mapping[str, Mapping[str, float | None]]


def fleet_section(analysis: Analysis, summary: Mapping[str, Any], baselines: Baselines | None) -> str:
    return ""


def outages_of(analysis: Analysis) -> list[tuple[float, float]]:
    return []
