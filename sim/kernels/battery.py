"""Battery and heat of a row, integrated when somebody looks (rules V)."""

from __future__ import annotations

import math
from typing import Any

from policies.compiled import kernel
from sim.kernels.views import kind_of, row_of, trip_of

DAY_S = 86_400.0


@kernel
def charging_until(w: Any, kind: Any, when: float) -> tuple[bool, float]:
    """Whether a battery of this kind is on the charger, and until when that stays so."""
    offset = kind.charge_from_s - w.start_s
    begin = math.floor((when - offset) / DAY_S) * DAY_S + offset
    if when >= begin + DAY_S:
        begin += DAY_S
    if when < begin + kind.charge_s:
        return True, begin + kind.charge_s
    return False, begin + DAY_S


@kernel
def can_charge(kind: Any) -> bool:
    return bool(kind.capacity_j > 0.0 and kind.charge_s > 0.0)


@kernel
def is_charging(w: Any, kind: Any, when: float) -> bool:
    """Whether a row of this kind is on the charger."""
    return can_charge(kind) and charging_until(w, kind, when)[0]


@kernel
def settle(w: Any, e: int, now: float) -> None:
    """Bring row e to this instant (rules V1, V2)."""
    row = row_of(w, e)
    kind = kind_of(w, row)
    while row.settled_s < now:
        begin = row.settled_s
        end = now
        if begin < row.run_s < end:
            end = row.run_s
        if begin < row.hot_s < end:
            end = row.hot_s
        watts = kind.background_w
        if begin >= row.run_s:
            watts += kind.power_w * kind.throttled_clock if begin >= row.hot_s else kind.power_w
        inflow = 0.0
        if can_charge(kind):
            charging, until = charging_until(w, kind, begin)
            if begin < until < end:
                end = until
            if charging:
                inflow = kind.charge_w
        span = end - begin
        target = kind.ambient_c + kind.resistance_c_per_w * watts
        if row.temp_c != target:
            decay = math.exp(-span / (kind.resistance_c_per_w * kind.capacitance_j_per_c))
            row.temp_c = target + (row.temp_c - target) * decay
        if kind.capacity_j > 0.0:
            row.battery_j = min(kind.capacity_j, max(0.0, row.battery_j - watts * span + inflow * span))
        row.settled_s = end


@kernel
def charge(w: Any, r: int, joules: float, now: float) -> None:
    """Charge request r with energy of its device's radio (rule V3)."""
    trip = trip_of(w, r)
    settle(w, trip.device, now)
    row = row_of(w, trip.device)
    trip.device_j += joules
    row.requests_j += joules
    row.battery_j = max(0.0, row.battery_j - joules)


@kernel
def battery_share(kind: Any, row: Any) -> float:
    """0 to 1; 1 without a battery (rule V4)."""
    return float(row.battery_j / kind.capacity_j) if kind.capacity_j > 0.0 else 1.0
