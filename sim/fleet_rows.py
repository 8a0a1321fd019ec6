"""Which device is of which kind, in which household, in which region, with how much charge: one array each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.fleet import RowKind
from sim.fleet_spec import FleetSpec
from sim.workloads.streams import stream

__all__ = ["Rows", "largest_remainder", "rows_of"]


class Rows(NamedTuple):
    """Arrays of `sim.fleet.FleetSettings`."""

    kind: NDArray[np.int16]
    hub: NDArray[np.int32]
    region: NDArray[np.int8]
    battery_share: NDArray[np.float32]
    counts: list[tuple[str, int, int]]
    """Group, its devices, those of them in a household with a hub; hubs as a group of their own."""

    @property
    def empty(self) -> list[str]:
        """Groups without a device."""
        return [name for name, count, _ in self.counts if count == 0 and name != "hubs"]


def rows_of(spec: FleetSpec, kinds: Sequence[RowKind], *, seed: int) -> Rows:
    """Devices by share, exactly and in random order; owners of hubs in random households.

    Everything is drawn from streams of its own, so that another share of hubs leaves kinds as they were.
    """
    groups = list(spec.groups.values())
    counts = largest_remainder([group.share for group in groups], spec.devices)
    kind = np.repeat(np.arange(len(groups), dtype=np.int16), counts)
    stream(seed, "fleet.kinds").shuffle(kind)
    wanted = [math.floor(count * group.hub_share + 0.5) for count, group in zip(counts, groups, strict=True)]
    hub = np.full(spec.devices, -1, dtype=np.int32)
    region = stream(seed, "fleet.regions").integers(0, spec.regions, spec.devices, dtype=np.int8)
    hubs = 0
    if spec.hubs is not None and any(wanted):
        household = spec.hubs.household
        owners = _owners(kind, wanted, seed)
        hub[owners] = spec.devices + np.arange(len(owners)) // household
        region[owners] = np.repeat(region[owners[::household]], household)[: len(owners)]
        hubs = -(-len(owners) // household)
        kind = np.concatenate((kind, np.full(hubs, len(groups), dtype=np.int16)))
    told = list(zip(spec.groups, counts, wanted, strict=True))
    return Rows(
        kind=kind,
        hub=hub,
        region=region,
        battery_share=_battery(spec, kinds, kind, seed),
        counts=told if spec.hubs is None else [*told, ("hubs", hubs, 0)],
    )


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that sum to `total` and are nearest to the shares; of equal remainders the first gets more."""
    exact = [share / sum(shares) * total for share in shares]
    counts = [math.floor(one) for one in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _owners(kind: NDArray[np.int16], wanted: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Devices in random order, as many of each kind as wanted."""
    order = stream(seed, "fleet.households").permutation(len(kind))
    kinds = kind[order]
    chosen = np.zeros(len(kind), dtype=np.bool_)
    for number, count in enumerate(wanted):
        chosen[np.flatnonzero(kinds == number)[:count]] = True
    return order[chosen]


def _battery(spec: FleetSpec, kinds: Sequence[RowKind], kind: NDArray[np.int16], seed: int) -> NDArray[np.float32]:
    """Charge at the start; 1 on mains."""
    spans = [group.battery_at_start for group in spec.groups.values()]
    spans += [(1.0, 1.0)] * (len(kinds) - len(spans))
    low = np.array([a if k.capacity_j else 1.0 for (a, _), k in zip(spans, kinds, strict=True)], dtype=np.float32)
    high = np.array([b if k.capacity_j else 1.0 for (_, b), k in zip(spans, kinds, strict=True)], dtype=np.float32)
    drawn = stream(seed, "fleet.battery").random(len(kind), dtype=np.float32)
    return low[kind] + (high - low)[kind] * drawn
