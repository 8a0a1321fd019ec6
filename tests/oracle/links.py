"""The air: how a device is connected, and when its link is good (rules N1 to N4)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import floor, log

from sim.fleet import FleetSettings, NetworkClass, Six
from tests.oracle.balancers import Uniform

__all__ = ["Air", "Weather", "quantile"]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Weather:
    """N2: of one region."""

    rtt_factor: float = 1.0
    rate_factor: float = 1.0
    up: bool = True


class Air:
    """Classes, weather, outages. Nothing here depends on what anybody sends."""

    def __init__(self, fleet: FleetSettings, seed: int, uniform: Uniform) -> None:
        self.fleet = fleet
        self.seed = seed
        self.uniform = uniform
        self.weather = [Weather() for _ in range(fleet.regions)]

    def weather_of(self, device: int) -> Weather:
        return self.weather[int(self.fleet.region[device])]

    def class_of(self, device: int, t: float) -> NetworkClass:
        """N1: drawn anew in each period."""
        kind = self.fleet.kinds[int(self.fleet.kind[device])]
        u = self.uniform(self.seed, device, floor(t / kind.network_period_s), 100)
        running = list(accumulate(kind.networks))
        for network, cumulative in zip(self.fleet.networks[:-1], running[:-1], strict=True):
            if cumulative / running[-1] > u:
                return network
        return self.fleet.networks[-1]  # its cumulative weight is 1

    def is_connected(self, device: int, t: float) -> bool:
        """N2."""
        return self.class_of(device, t).radio and self.weather_of(device).up

    def clear(self, device: int, network: NetworkClass, t: float) -> float:
        """N3: t when the link is good then, else the end of the bad spell, or of the epoch."""
        g, b = network.mean_good_s, network.mean_bad_s
        if b == 0:
            return t
        length = 2 * (g + b)
        j = floor(t / length)
        bad = self.uniform(self.seed, device, j, 101) < b / (g + b)
        end = j * length
        k = 0
        while True:
            mean = b if bad else g
            end += -mean * log(1 - self.uniform(self.seed, device, j, 102 + k))
            if end > t:
                break  # this spell is not over
            bad = not bad
            k += 1
        if not bad:
            return t
        return end if end < (j + 1) * length else (j + 1) * length


def quantile(six: Six, u: float) -> float:
    """N4: linear between the levels, flat outside."""
    if u <= LEVELS[0]:
        return six[0]
    for i in range(len(LEVELS) - 1):
        if u <= LEVELS[i + 1]:
            return six[i] + (u - LEVELS[i]) / (LEVELS[i + 1] - LEVELS[i]) * (six[i + 1] - six[i])
    return six[-1]
