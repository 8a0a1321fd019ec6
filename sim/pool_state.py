"""One pool of the data plane from Python: its arrays, and what there is to see of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies import ReplicaView
from sim.kernels import state
from sim.kernels.door import view
from sim.kernels.replica import clear_replica
from sim.pool import BALANCERS, PoolPlan, PoolSettings

__all__ = ["PoolState"]

_BINS = 512
_FIRST_BIN_S = 1 / 64
_COPIED_LIMITS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "block_size",
    "kv_blocks",
    "chunked_prefill",
    "async_scheduling",
    "max_queue",
    "max_outstanding",
)


class PoolState:
    """Replicas and books of one pool. `record` is its `sim.kernels.state.POOL`, a place in the world's array."""

    def __init__(
        self,
        number: int,
        plan: PoolPlan,
        record: Any,
        *,
        named: bool,
        unit_tokens: int,
        shared: dict[str, NDArray[Any]],
    ) -> None:
        self.number = number
        self.plan = plan
        self.record = record
        self._arrays = _arrays(plan, named=named)
        for name in state.POOL_ARRAYS:
            record[name] = self._arrays[name].ctypes.data
        for name in ("requests", "name_ids"):
            record[name] = shared[name].ctypes.data
        record["world"] = shared["world"].ctypes.data
        record["number"] = number
        self._fill(unit_tokens)
        for i in np.flatnonzero(self.replicas["up"]):  # the others are cleared at their start: most never touch memory
            clear_replica(record, int(i))

    # -- what there is to see ------------------------------------------------------------------------------------------

    @property
    def pool(self) -> PoolSettings:
        """Its settings."""
        return self.plan.settings

    @property
    def costs(self) -> Any:
        """The step-cost tables (`sim.plane.StepCosts`) that it runs on."""
        return self.plan.costs

    @property
    def replicas(self) -> NDArray[Any]:
        """One record a replica (`sim.kernels.state.REPLICA`)."""
        return self._arrays["replica_records"]

    @property
    def bins(self) -> tuple[float, NDArray[Any]]:
        """The timeline: the width of a bin in seconds, and one record (`BIN`) a bin."""
        return float(self.record["bin_s"]), self._arrays["timeline"]

    def views(self) -> list[ReplicaView]:
        """The replicas as the balancer sees them now."""
        return [
            ReplicaView(id=i, up=bool(self.replicas[i]["up"]), outstanding=view(self.record, i))
            for i in range(self.pool.replicas)
        ]

    def billed_usd(self, until_s: float) -> float:
        """What its replicas cost from the start until then (rule X5)."""
        since = self.replicas["paid_since"]
        owed = np.maximum(0.0, until_s - since[~np.isnan(since)]).sum()
        return float(self.record["billed_usd"] + self.record["price_usd_per_s"] * owed)

    def paid_s(self, until_s: float) -> NDArray[np.float64]:
        """(replicas,): the seconds for which each replica is paid until then."""
        since = self.replicas["paid_since"]
        open_s = np.where(np.isnan(since), 0.0, np.maximum(0.0, until_s - np.nan_to_num(since)))
        return np.asarray(self.replicas["paid_s"] + open_s)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _fill(self, unit_tokens: int) -> None:
        """Limits, counters and what a router knows."""
        record, settings, far = self.record, self.pool, self.plan.far
        limits = settings.engine
        for field in _COPIED_LIMITS:
            record[field] = getattr(limits, field)
        count = settings.replicas
        started = count if settings.started < 0 else min(settings.started, count)
        replicas = self.replicas
        replicas["up"] = np.arange(count) < started
        replicas["retired"] = replicas["off"] = np.arange(count) >= started
        replicas["free"] = limits.kv_blocks
        replicas["paid_since"] = np.where(np.arange(count) < started, 0.0, np.nan)
        record["replicas"] = count
        record["up"] = record["reported_up"] = started
        record["bin_s"] = _FIRST_BIN_S
        record["slowdown"] = record["reported_slowdown"] = 1.0
        record["price_usd_per_s"] = far.price_usd_per_s
        record["by_priority"] = limits.scheduling == "priority"
        record["prefix_caching"] = limits.prefix_caching
        record["balancer"] = BALANCERS.index(settings.balancer)
        record["asks_python"] = settings.balancer == "python"
        record["telemetry_lag_s"] = settings.telemetry_lag_s
        record["window"] = settings.window_tokens
        record["cold_start_s"] = settings.cold_start_s
        record["name_unit"] = max(1, unit_tokens // limits.block_size)
        record["table_size"] = self._arrays["table_names"].shape[1]
        record["smooth_size"], record["bins"] = len(self.costs.smooth), _BINS
        record["is_edge"] = far.tier == "edge"
        record["model"], record["modalities"] = far.model, far.modalities
        record["prefill_token_s"], record["output_mean"] = far.prefill_token_s, far.output_mean


def _arrays(plan: PoolPlan, *, named: bool) -> dict[str, NDArray[Any]]:
    settings, costs = plan.settings, plan.costs
    count, limits = settings.replicas, settings.engine
    seqs, blocks = limits.max_num_seqs, limits.kv_blocks
    table = 1 << (2 * blocks).bit_length() if limits.prefix_caching and named else 2
    decode_s = np.asarray(plan.far.decode_s, np.float64)
    return {
        "replica_records": np.zeros(count, state.REPLICA),
        "event_s": np.zeros(count),
        "event_id": np.zeros(count, np.int64),
        "queue_head": np.zeros((count, state.CLASSES), np.int32),
        "queue_tail": np.zeros((count, state.CLASSES), np.int32),
        "emitting": np.zeros((count, 2, seqs), np.int32),
        "retiring": np.zeros((count, 2, seqs), np.int32),
        "finishing": np.zeros((count, seqs), np.int64),
        "zombies": np.zeros((count, seqs), np.int32),
        "phases": np.zeros((count, limits.block_size), np.int32),
        "crossings": np.zeros((count, settings.window_tokens + 1), np.int32),
        "nodes": np.zeros((count, blocks + 1), state.NODE),
        "table_names": np.zeros((count, table), np.int64),
        "table_nodes": np.zeros((count, table), np.int32),
        "batch_ids": np.zeros(seqs, np.int32),
        "batch_tokens": np.zeros(seqs, np.int32),
        "timeline": np.zeros(_BINS, state.BIN),
        "costs": costs.costs,
        "token_s": costs.token_s,
        "token_j": costs.token_j,
        "emit_s": costs.emit_s,
        "emit_j": costs.emit_j,
        "smooth": costs.smooth,
        "decode_s": np.pad(decode_s, (0, max(0, seqs + 1 - len(decode_s))), mode="edge"),
    }
