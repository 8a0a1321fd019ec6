"""What may be known of an action before it is chosen (rule W5), and the numbers of φ that are made of it (W4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erfc, exp, floor, log2, sqrt
from statistics import NormalDist

from policies.layout import FEATURE_NAMES, KINDS
from sim.fleet import CascadeSettings, NetworkClass, TaskKind
from tests.oracle.links import Weather
from tests.oracle.pools import Pool
from tests.oracle.radios import transfer_w
from tests.oracle.requests import Ask, Request
from tests.oracle.rows import Row, work_of

__all__ = [
    "Figures",
    "Way",
    "at_a_pool",
    "at_a_row",
    "both",
    "in_turn",
    "on_a_hub",
    "phi",
    "probit",
    "sharpness",
    "sigma",
]


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


def normal(x: float) -> float:
    """Φ."""
    return 0.5 * erfc(-x / sqrt(2))


def probit(u: float) -> float:
    """Φ⁻¹ of a draw, which may be 0."""
    return NormalDist().inv_cdf(max(u, 2.0**-54))


def sharpness(cascade: CascadeSettings) -> float:
    """G5: δ."""
    return sqrt(2) * NormalDist().inv_cdf(cascade.auc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one action."""

    quality: float
    ttft_s: float
    e2e_s: float
    energy_j: float
    cost_usd: float = 0.0
    egress_bytes: float = 0.0
    load: float


@dataclass(frozen=True, slots=True)
class Way:
    """From the device to a hub or to a pool, at the medians."""

    rtt_s: float
    up_s: float
    moving_j: float
    network: NetworkClass

    @classmethod
    def of(
        cls,
        network: NetworkClass,
        weather: Weather,
        gap_s: float,
        ask: Ask,
        nearby: bool,
        at: Callable[[Sequence[float], int], float],
    ) -> Way:
        """`at(quantiles, k)` is what is expected of draw k (W5, W8)."""
        up_bytes = ask.up_bytes
        rtt_s = at(network.rtt_edge_s if nearby else network.rtt_s, 10) * weather.rtt_factor
        uplink_s = 8 * up_bytes / (at(network.uplink_bps, 11) * weather.rate_factor)
        up_s = network.promotion_s if gap_s > network.promotion_idle_s else 0.0
        up_s += network.setup_round_trips * rtt_s if gap_s > 60 else 0.0
        up_s = up_s + rtt_s / 2 + uplink_s
        downlink_s = 8 * ask.down_bytes / (at(network.downlink_bps, 12) * weather.rate_factor)
        moving_j = transfer_w(network) * (uplink_s + downlink_s)
        moving_j += network.up_j_per_byte * up_bytes
        moving_j += network.down_j_per_byte * ask.down_bytes
        return cls(rtt_s, up_s, moving_j, network)

    def radio_j(self, e2e_s: float) -> float:
        """Both transfers, and the radio awake for so long and its tail."""
        return self.moving_j + self.network.tail_w * (e2e_s + self.network.tail_s)


def at_a_row(row: Row, request: Request, output: float, quality: float, t: float, loaded: bool) -> Figures:
    """A row: the asking device, or what a hub would need by itself. `output` tokens are expected."""
    prefill_s, decode_s = work_of(row.kind, request.prompt, output)
    clock = row.kind.throttled_clock if row.is_hot else 1.0
    wait_s = max(0.0, row.running.expected_end_s - t) if row.running else 0.0
    wait_s += sum(job.hint_s for job in row.waiting)
    ttft_s = wait_s + (0.0 if loaded else row.kind.load_s) + prefill_s / clock
    return Figures(
        quality=quality,
        ttft_s=ttft_s,
        e2e_s=ttft_s + decode_s / clock,
        energy_j=row.kind.power_w * (prefill_s + decode_s),
        load=len(row.jobs),
    )


def on_a_hub(way: Way, row: Row, request: Request, output: float, quality: float, t: float, loaded: bool) -> Figures:
    """Hub."""
    alone = at_a_row(row, request, output, quality, t, loaded)
    ttft_s = way.up_s + alone.ttft_s + way.rtt_s / 2
    _, decode_s = work_of(row.kind, request.prompt, output)
    clock = row.kind.throttled_clock if row.is_hot else 1.0
    e2e_s = ttft_s + decode_s / clock
    return Figures(quality=quality, ttft_s=ttft_s, e2e_s=e2e_s, energy_j=way.radio_j(e2e_s), load=alone.load)


def at_a_pool(way: Way, pool: Pool, request: Request, output: float, quality: float, live: bool) -> Figures:
    """Pool, as last reported, or as it is (W8)."""
    assert request.ask is not None
    far, slots = pool.far, pool.engine.max_num_seqs
    if live:
        held, up = sum(replica.outstanding for replica in pool.replicas), sum(replica.up for replica in pool.replicas)
    else:
        held, up = sum(pool.balance.view(replica) for replica in pool.replicas), pool.balance.reported_up
    n = held / max(1, up)
    b = min(floor(n) + 1, slots)
    slowdown = pool.slowdown if live else pool.reported_slowdown
    step_s = far.decode_s[b] * slowdown
    prefill_s = far.prefill_token_s * slowdown
    queue_s = max(0.0, n - slots) * far.output_mean * far.decode_s[slots] * slowdown / slots
    ttft_s = way.up_s + (queue_s + step_s + request.prompt * prefill_s) + way.rtt_s / 2
    e2e_s = ttft_s + (output - 1) * step_s
    return Figures(
        quality=quality,
        ttft_s=ttft_s,
        e2e_s=e2e_s,
        energy_j=way.radio_j(e2e_s),
        cost_usd=pool.price_usd_per_s * (request.prompt * prefill_s + output * step_s / b),
        egress_bytes=request.ask.up_bytes,
        load=n / slots,
    )


def in_turn(near: Figures, far: Figures, cascade: CascadeSettings, released: bool | None) -> Figures:
    """Cascade; `released` where it is known beforehand (W8)."""
    delta, tau, q = sharpness(cascade), cascade.threshold, near.quality
    let_out = q * normal(delta - tau) + (1 - q) * normal(-tau)
    kept = q * normal(delta - tau)
    if released is not None:
        let_out, kept = float(released), float(released) * q
    return Figures(
        quality=kept + (1 - let_out) * far.quality,
        ttft_s=near.e2e_s + cascade.check_s + (1 - let_out) * far.ttft_s,
        e2e_s=near.e2e_s + cascade.check_s + (1 - let_out) * far.e2e_s,
        energy_j=near.energy_j + (1 - let_out) * far.energy_j,
        cost_usd=(1 - let_out) * far.cost_usd,
        egress_bytes=(1 - let_out) * far.egress_bytes,
        load=max(near.load, far.load),
    )


def both(near: Figures, far: Figures) -> Figures:
    """Hedge."""
    first = near if near.ttft_s <= far.ttft_s else far
    return Figures(
        quality=first.quality,
        ttft_s=first.ttft_s,
        e2e_s=first.e2e_s,
        energy_j=near.energy_j + far.energy_j,
        cost_usd=far.cost_usd,
        egress_bytes=far.egress_bytes,
        load=max(near.load, far.load),
    )


def phi(
    figures: Figures,
    *,
    kind: int,
    noise: float,
    task: TaskKind,
    prompt: int,
    difficulty: float,
    share: float,
    heat: float,
    metered: bool,
) -> list[float]:
    """φ, in the order of the layout. `difficulty` is the estimate, `share` and `heat` the device's."""
    near = 1.0 if KINDS[kind] == "near" else 0.0
    egress_mb = figures.egress_bytes / 1e6
    values = {
        **{name: float(number == kind) for number, name in enumerate(KINDS)},
        "quality": figures.quality,
        "ttft_s": min(figures.ttft_s, 600.0),
        "e2e_s": min(figures.e2e_s, 3600.0),
        "ttft_over_slo": min(figures.ttft_s / task.slo_ttft_s, 10.0),  # without a limit: by inf
        "energy_j": figures.energy_j,
        "cost_usd": figures.cost_usd,
        "egress_mb": egress_mb,
        "load": figures.load,
        "noise": noise,
        "near_difficulty": near * difficulty,
        "near_log_prompt": near * log2(1 + prompt),
        "near_battery": near * share,
        "near_heat": near * heat,
        "metered_mb": egress_mb if metered else 0.0,
        "scarce_energy_j": figures.energy_j * (1 - share),
    }
    return [values[name] for name in FEATURE_NAMES]
