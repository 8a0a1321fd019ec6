"""The radio of a device: what a leg takes on its way, and what it costs the battery (rules N4 to N7, V3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

from sim.fleet import NetworkClass
from tests.oracle.links import Air, quantile
from tests.oracle.requests import Request
from tests.oracle.rows import Row

__all__ = ["Leg", "Radio"]


@dataclass(eq=False, slots=True, kw_only=True)
class Leg:
    """One attempt to have a request answered on a hub (pool -1) or in a pool."""

    request: Request
    pool: int
    network: NetworkClass
    rtt_s: float
    uplink_bps: float
    downlink_bps: float
    sent_s: float
    lands_s: float = nan
    first_s: float = nan  # when its first token is at the device (N6)
    over: bool = False


class Radio:
    """One device's: all of its legs under way share it."""

    def __init__(self, row: Row, air: Air) -> None:
        self.row = row
        self.air = air
        self.legs: list[Leg] = []  # under way
        self.reset()

    def reset(self) -> None:
        """X4: as at the start. Legs under way stay."""
        self.active_s = -inf
        self.awake_until_s = self.now

    @property
    def now(self) -> float:
        return self.row.clock.now

    def draw(self, request: Request, attempt: int, k: int) -> float:
        return self.air.uniform(self.air.seed, request.id, attempt, k)

    def charge(self, request: Request, joules: float) -> None:
        """V3: radio energy."""
        self.row.settle(self.now)
        request.device_j += joules
        self.row.drain(joules)

    def gap_s(self) -> float:
        """N5."""
        return 0.0 if self.legs else self.now - self.active_s

    def send(self, request: Request, pool: int, nearby: bool) -> Leg:
        """N4, N5. Who sends it sets the LEG at `lands_s`."""
        assert request.ask is not None
        t, device = self.now, self.row.id
        network, weather = self.air.class_of(device, t), self.air.weather_of(device)
        leg = Leg(
            request=request,
            pool=pool,
            network=network,
            rtt_s=quantile(network.rtt_edge_s if nearby else network.rtt_s, self.draw(request, 0, 10))
            * weather.rtt_factor,
            uplink_bps=quantile(network.uplink_bps, self.draw(request, 0, 11)) * weather.rate_factor,
            downlink_bps=quantile(network.downlink_bps, self.draw(request, 0, 12)) * weather.rate_factor,
            sent_s=t,
        )
        gap_s, x = self.gap_s(), t
        if gap_s > network.promotion_idle_s:
            x += network.promotion_s
        if gap_s > 60:
            x += network.setup_round_trips * leg.rtt_s
        if self.draw(request, request.attempts, 16) < network.loss:
            x = self.air.clear(device, network, x)
        uplink_s = 8 * request.ask.up_bytes / leg.uplink_bps
        leg.lands_s = x + (leg.rtt_s / 2 + uplink_s)
        self.charge(request, transfer_w(network) * uplink_s + network.up_j_per_byte * request.ask.up_bytes)
        if not self.legs:
            self.awake_until_s = max(self.awake_until_s, t)
        self.active_s = t
        self.legs.append(leg)
        return leg

    def reaches_at(self, leg: Leg, x: float) -> float:
        """N6: when the device has what the far side has at x."""
        if self.draw(leg.request, leg.request.attempts, 17) < leg.network.loss:
            x = self.air.clear(self.row.id, leg.network, x)
        return x + leg.rtt_s / 2

    def last_at(self, leg: Leg, x: float) -> float:
        """N6: the DELIVER, when the far side has the last token at x."""
        assert leg.request.ask is not None
        return max(leg.first_s, self.reaches_at(leg, x) + 8 * leg.request.ask.down_bytes / leg.downlink_bps)

    def delivered(self, leg: Leg) -> None:
        """N7: what the answer costs."""
        assert leg.request.ask is not None
        down, network = leg.request.ask.down_bytes, leg.network
        self.charge(leg.request, transfer_w(network) * (8 * down / leg.downlink_bps) + network.down_j_per_byte * down)

    def over(self, leg: Leg) -> None:
        """N7: for whatever reason. The radio stays awake for its tail."""
        t, network = self.now, leg.network
        ext_s = max(0.0, t + network.tail_s - self.awake_until_s)
        self.charge(leg.request, network.tail_w * ext_s)
        self.awake_until_s = max(self.awake_until_s, t + network.tail_s)
        self.active_s = t
        self.legs.remove(leg)
        leg.over = True


def transfer_w(network: NetworkClass) -> float:
    """N5: watts of moving bytes, beyond those of being awake."""
    return max(0.0, network.base_w - network.tail_w)
