"""The air: which network a device is on, whether its link is good, how long a leg travels (rules N)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.battery import charge
from sim.kernels.draws import uniform
from sim.kernels.fleet_state import DOWNLINK, IN_AIR, NO_LEG, RTT, RTT_EDGE, UPLINK
from sim.kernels.views import (
    kind_of,
    network_of,
    network_weights_of,
    quantiles_of,
    request_of,
    row_of,
    trip_of,
    weather_of,
)

KEEP_ALIVE_S = 60.0  # after which a connection is set up anew (rule N5)


@kernel
def network_at(w: Any, d: int, now: float) -> int:
    """The network class of device d (rule N1)."""
    row = row_of(w, d)
    weights = network_weights_of(w, row.kind)
    last = w.network_count - 1
    draw = uniform(w.seed, d, int(now / kind_of(w, row).network_period_s), 100)
    n = 0
    while n < last and draw >= weights[n]:
        n += 1
    return n


@kernel
def is_connected(w: Any, d: int, n: int) -> bool:
    """Whether device d reaches anything by class n (rule N2)."""
    return bool(network_of(w, n).radio != 0 and weather_of(w, row_of(w, d).region).up != 0)


@kernel
def clear(w: Any, d: int, n: int, when: float) -> float:
    """The first instant from `when` on at which the link of device d by class n is good (rule N3)."""
    network = network_of(w, n)
    good, bad = network.mean_good_s, network.mean_bad_s
    if bad <= 0.0:
        return when
    span = 2.0 * (good + bad)
    epoch = int(when / span)
    is_bad = uniform(w.seed, d, epoch, 101) < bad / (good + bad)
    at = epoch * span
    draw = 102
    while True:
        at -= (bad if is_bad else good) * math.log(1.0 - uniform(w.seed, d, epoch, draw))
        if at > when:
            break
        is_bad = not is_bad
        draw += 1
    return min(at, (epoch + 1) * span) if is_bad else when


@kernel
def quantile(table: Any, draw: float) -> float:
    """Linear between the quantiles at 5, 25, 50, 75, 95 and 99 %, flat outside (rule N4)."""
    if draw <= 0.05:
        return float(table[0])
    if draw < 0.25:
        return float(table[0] + (table[1] - table[0]) * ((draw - 0.05) / 0.2))
    if draw < 0.5:
        return float(table[1] + (table[2] - table[1]) * ((draw - 0.25) / 0.25))
    if draw < 0.75:
        return float(table[2] + (table[3] - table[2]) * ((draw - 0.5) / 0.25))
    if draw < 0.95:
        return float(table[3] + (table[4] - table[3]) * ((draw - 0.75) / 0.2))
    if draw < 0.99:
        return float(table[4] + (table[5] - table[4]) * ((draw - 0.95) / 0.04))
    return float(table[5])


@kernel
def gap_before(w: Any, d: int, now: float) -> float:
    """Seconds since the radio carried anything (rule N5)."""
    row = row_of(w, d)
    return 0.0 if row.under_way > 0 else float(now - row.active_s)


@kernel
def transfer_w(network: Any) -> float:
    """Watts of moving bytes, beyond those of being awake (rule N5)."""
    return max(0.0, network.base_w - network.tail_w)


@kernel
def send(w: Any, r: int, nearby: bool, now: float) -> float:
    """Send a leg of request r, `nearby` to a hub or an edge pool; returns when it lands (rules N4, N5)."""
    trip = trip_of(w, r)
    request = request_of(w, r)
    d = trip.device
    row = row_of(w, d)
    weather = weather_of(w, row.region)
    n = network_at(w, d, now)
    network = network_of(w, n)
    rtt = quantile(quantiles_of(w, n, RTT_EDGE if nearby else RTT), uniform(w.seed, r, 0, 10)) * weather.rtt_factor
    uplink = quantile(quantiles_of(w, n, UPLINK), uniform(w.seed, r, 0, 11)) * weather.rate_factor
    downlink = quantile(quantiles_of(w, n, DOWNLINK), uniform(w.seed, r, 0, 12)) * weather.rate_factor
    gap = gap_before(w, d, now)
    leave = now
    if gap > network.promotion_idle_s:
        leave += network.promotion_s
    if gap > KEEP_ALIVE_S:
        leave += network.setup_round_trips * rtt
    if uniform(w.seed, r, request.attempts, 16) < network.loss:
        leave = clear(w, d, n, leave)
    up_s = 8.0 * trip.up_bytes / uplink
    trip.network = n
    trip.rtt_s = rtt
    trip.down_s = 8.0 * trip.down_bytes / downlink
    trip.leg = IN_AIR
    trip.leg_start_s = now
    trip.far_first_s = np.nan
    charge(w, r, transfer_w(network) * up_s + network.up_j_per_byte * trip.up_bytes, now)
    if row.under_way == 0:
        row.awake_until_s = max(row.awake_until_s, now)
    row.active_s = now
    row.under_way += 1
    return float(leave + (rtt / 2.0 + up_s))


@kernel
def arrives(w: Any, r: int, now: float) -> float:
    """When what the far side has now is at the device (rule N6)."""
    trip = trip_of(w, r)
    passes = now
    if uniform(w.seed, r, request_of(w, r).attempts, 17) < network_of(w, trip.network).loss:
        passes = clear(w, trip.device, trip.network, now)
    return float(passes + trip.rtt_s / 2.0)


@kernel
def receive(w: Any, r: int, now: float) -> None:
    """The answer has been delivered: what its bytes cost (rule N7)."""
    trip = trip_of(w, r)
    network = network_of(w, trip.network)
    charge(w, r, transfer_w(network) * trip.down_s + network.down_j_per_byte * trip.down_bytes, now)


@kernel
def hang_up(w: Any, r: int, now: float) -> None:
    """The leg of request r is over: the radio's tail (rule N7)."""
    trip = trip_of(w, r)
    row = row_of(w, trip.device)
    network = network_of(w, trip.network)
    longer = max(0.0, now + network.tail_s - row.awake_until_s)
    charge(w, r, network.tail_w * longer, now)
    row.awake_until_s = max(row.awake_until_s, now + network.tail_s)
    row.active_s = now
    row.under_way -= 1
    trip.leg = NO_LEG
