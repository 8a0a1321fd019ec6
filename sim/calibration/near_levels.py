"""Which fitted coefficients a case uses, from general to specific, and what they make of its times.

A `Slot` is the place of one number in the records of kind near-runtime. The fit fills slots, a prediction reads them
from the catalogue: both ask `slots_of` which, so that neither can know a level that the other does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from profiles import Catalogue
from profiles.near_runtime import ANY_FAMILY, FittedTimes
from profiles.soc import EngineKind
from sim.calibration.near_case import NearCase
from sim.calibration.near_names import architecture_of, series_of
from sim.calibration.near_times import DECODE, PREFILL, decode_s, prefill_s, terms_of

__all__ = [
    "COEFFICIENTS",
    "METRICS",
    "TABLES",
    "TIME",
    "Metric",
    "Slot",
    "Slots",
    "Table",
    "coefficients_of",
    "seconds",
    "shipped",
    "slots_of",
]

Metric = Literal["decode", "prefill"]
Table = Literal["coefficients", "by_soc", "by_precision", "by_architecture", "by_series"]

METRICS: tuple[Metric, ...] = ("decode", "prefill")
TABLES: tuple[Table, ...] = ("coefficients", "by_soc", "by_precision", "by_architecture", "by_series")
COEFFICIENTS: Mapping[Metric, tuple[str, ...]] = {"decode": DECODE, "prefill": PREFILL}
TIME = "time"
"""The runtime's own factor on the whole time."""

_OF_A_RUNTIME: Mapping[Metric, tuple[str, ...]] = {
    "decode": ("layer_us", "cache_slowdown", "unpack_efficiency"),
    "prefill": (),
}
"""Coefficients on which a runtime has a factor of its own."""


def coefficients_of(metric: Metric, engine: EngineKind) -> tuple[str, ...]:
    """The coefficients that a time has on an engine: only a CPU has to unpack weights before it multiplies them."""
    return tuple(name for name in COEFFICIENTS[metric] if engine == "cpu" or name != "unpack_efficiency")


class Slot(NamedTuple):
    """The place of one number: `family` `*` is the general level of an engine."""

    family: str
    engine: EngineKind
    table: Table
    key: str


@dataclass(frozen=True, slots=True)
class Slots:
    """The numbers that one time of one case is made of."""

    coefficients: Mapping[str, tuple[Slot, ...]]
    """Slots by coefficient: their product is its value."""
    factors: tuple[Slot, ...]
    """Slots whose product multiplies the time."""


def slots_of(case: NearCase, metric: Metric) -> Slots:
    """Every slot of a case, general ones first. A runtime that nobody knows has general ones only."""
    engine, family = case.engine, case.family
    known = family != ANY_FAMILY
    coefficients = {}
    for name in coefficients_of(metric, engine):
        found = [Slot(ANY_FAMILY, engine, "coefficients", name)]
        if known and name in _OF_A_RUNTIME[metric]:
            found.append(Slot(family, engine, "coefficients", name))
        coefficients[name] = tuple(found)
    factors = [
        Slot(ANY_FAMILY, engine, "by_soc", case.soc.name),
        Slot(ANY_FAMILY, engine, "by_series", series_of(case.model)),
    ]
    if (architecture := architecture_of(case.model)) != "dense":
        factors.append(Slot(ANY_FAMILY, engine, "by_architecture", architecture))
    if known:
        factors += [
            Slot(family, engine, "coefficients", TIME),
            Slot(family, engine, "by_soc", case.soc.name),
            Slot(family, engine, "by_precision", case.precision.name),
        ]
    return Slots(coefficients, tuple(factors))


def seconds(case: NearCase, metric: Metric, value: Callable[[Slot], float | None]) -> float:
    """The time of a case in seconds; `value` tells the number in a slot, None counts as 1."""

    def product(slots: tuple[Slot, ...]) -> float:
        return math.prod(1.0 if (found := value(slot)) is None else found for slot in slots)

    slots, terms = slots_of(case, metric), terms_of(case)
    named = {name: product(slots.coefficients.get(name, ())) for name in COEFFICIENTS[metric]}
    if metric == "decode":
        return float(decode_s(terms, named)) * product(slots.factors) + terms.flash_s
    return float(prefill_s(terms, named)) * product(slots.factors)


def shipped(catalogue: Catalogue, metric: Metric) -> Callable[[Slot], float | None]:
    """What the records of a catalogue hold in a slot; None where they hold nothing."""

    def value(slot: Slot) -> float | None:
        record = catalogue.near_runtime(slot.family, slot.engine)
        if record is None:
            return None
        times: FittedTimes = getattr(record, metric)
        table: Mapping[str, float] = getattr(times, slot.table)
        return table.get(slot.key)

    return value
