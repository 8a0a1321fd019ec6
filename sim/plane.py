"""The data plane from Python: build its arrays, advance it, look at it, act on it.

    plane = DataPlane(workload, pool, costs, seed=1)
    plane.advance(math.inf)
    plane.requests["finish"]

`advance` is the only way time passes. Controls (`fail`, `repair`) act at the instant the plane stands at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import ReplicaView, RequestView
from profiles.errors import UserError
from sim.kernels import engine, state
from sim.kernels.door import choose, dispatch, fail, passes_door, repair, view
from sim.kernels.replica import clear_replica
from sim.pool import BALANCERS, PoolSettings, check_pool
from sim.workloads.checks import check_workload
from sim.workloads.workload import Workload

__all__ = ["DataPlane", "StepCosts"]

_BINS = 512
_FIRST_BIN_S = 1 / 64
_SLICE = 100_000  # external events between two looks at the clock and at Ctrl-C
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

Policy = Callable[[RequestView, list[ReplicaView]], int]


class StepCosts(NamedTuple):
    """The tables of one deployment (`sim.latency.step_costs` makes them); see `sim.kernels.step_cost`."""

    costs: NDArray[Any]  # STEP_COSTS (1,)
    token_s: NDArray[np.float64]
    token_j: NDArray[np.float64]
    emit_s: NDArray[np.float64]
    emit_j: NDArray[np.float64]
    smooth: NDArray[np.float64]


class DataPlane:
    """All requests and replicas of one run, in arrays.

    Raises `UserError` when the settings contradict each other. `policy` is needed with balancer `python` (rule B6).
    """

    def __init__(
        self,
        workload: Workload,
        pool: PoolSettings,
        costs: StepCosts,
        *,
        seed: int = 0,
        policy: Policy | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        check_workload(workload)
        check_pool(pool, name_unit_tokens=workload.name_unit_tokens if len(workload.name_ids) else 0)
        if (pool.balancer == "python") != (policy is not None):
            raise UserError("balancer 'python' and a Python policy go together", got=pool.balancer)
        if len(costs.token_s) <= pool.engine.max_num_batched_tokens or len(costs.emit_s) <= pool.engine.max_num_seqs:
            raise UserError("the step-cost tables are shorter than the engine's limits")
        self.workload = workload
        self.pool = pool
        self.now_s = 0.0
        self._policy = policy
        self._costs = costs
        self._progress = progress
        try:
            self._plane, self._arrays = _allocate(workload, pool, costs, seed)
        except MemoryError:
            raise UserError(
                f"not enough memory for {len(workload):,} requests and {pool.replicas:,} replicas of "
                f"{pool.engine.kv_blocks:,} KV blocks",
                next_step="simulate fewer of them",
            ) from None
        self._state = self._plane[0]
        self._lost = np.zeros(len(workload), np.int32)
        for i in range(pool.replicas):
            clear_replica(self._state, i)

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self, until_s: float) -> bool:
        """Let everything before `until_s` happen, and step ENDs at it. Returns whether every request is terminal."""
        while True:
            status = engine.advance(self._state, until_s, _SLICE)
            if status == state.DECIDE:
                self.now_s = float(self._state["now_s"])
                self._place(int(self._state["pending"]))
            elif status == state.PAUSED:
                if self._progress is not None:
                    self._progress(int(self._state["terminal"]), len(self.workload))
            elif status == state.CONTROL:
                if math.isinf(until_s):
                    raise RuntimeError("the data plane stalled with requests in flight: please report this scenario")
                self.now_s = until_s
                return False
            else:
                self.now_s = max(self.now_s, float(self._state["now_s"]))
                return True

    @property
    def done(self) -> bool:
        """Whether every request is terminal."""
        return bool(self._state["terminal"] == len(self.workload))

    # -- controls ------------------------------------------------------------------------------------------------------

    def fail(self, replica: int) -> None:
        """Take a replica down now (rule F1)."""
        again = fail(self._state, self._checked(replica), self.now_s, self._lost)
        for r in self._lost[:again].copy():
            if passes_door(self._state, r, self.now_s):
                self._place(int(r))

    def repair(self, replica: int) -> None:
        """Bring a replica back now, empty (rule F2)."""
        repair(self._state, self._checked(replica), self.now_s)

    # -- what there is to see ------------------------------------------------------------------------------------------

    @property
    def requests(self) -> NDArray[Any]:
        """One record a request (`sim.kernels.state.REQUEST`), in order of id."""
        return self._arrays["requests"]

    @property
    def replicas(self) -> NDArray[Any]:
        """One record a replica (`sim.kernels.state.REPLICA`)."""
        return self._arrays["replica_records"]

    @property
    def bins(self) -> tuple[float, NDArray[Any]]:
        """The timeline: the width of a bin in seconds, and one record (`BIN`) a bin."""
        return float(self._state["bin_s"]), self._arrays["timeline"]

    @property
    def costs(self) -> StepCosts:
        """The step-cost tables it runs on."""
        return self._costs

    def views(self) -> list[ReplicaView]:
        """The replicas as the balancer sees them now."""
        return [
            ReplicaView(id=i, up=bool(self.replicas[i]["up"]), outstanding=view(self._state, i))
            for i in range(self.pool.replicas)
        ]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _checked(self, replica: int) -> int:
        if not isinstance(replica, int | np.integer) or not 0 <= replica < self.pool.replicas:
            raise UserError(
                f"no such replica in pool {self.pool.name!r}", got=replica, allowed=f"0 to {self.pool.replicas - 1}"
            )
        return replica

    def _place(self, r: int) -> None:
        """Choose a replica for request r and send it there."""
        i = int(choose(self._state, r)) if self._policy is None else self._ask(r, self._policy)
        dispatch(self._state, r, i, self.now_s)

    def _ask(self, r: int, policy: Policy) -> int:
        request = self.requests[r]
        replicas = self.views()
        asked = RequestView(
            id=r,
            now_s=self.now_s,
            arrival_s=float(request["arrival"]),
            prompt_tokens=int(request["prompt"]),
            priority=int(request["priority"]),
            session=int(self.workload.session[r]),
            attempt=int(request["attempts"]),
        )
        try:
            answer = policy(asked, replicas)
        except (Exception, SystemExit) as error:  # the user's code may raise anything; the error names it
            raise UserError(f"the policy raised {type(error).__name__}: {error}") from error
        up = [replica.id for replica in replicas if replica.up]
        if answer not in up:
            raise UserError(
                "the policy must return the id of a replica that is up (replica.id)", got=answer, allowed=str(up)
            )
        return int(answer)


def _allocate(
    workload: Workload, pool: PoolSettings, costs: StepCosts, seed: int
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """The PLANE record and the arrays that it points into."""
    count, limits = pool.replicas, pool.engine
    seqs, blocks = limits.max_num_seqs, limits.kv_blocks
    caching = limits.prefix_caching and len(workload.name_ids) > 0
    table = 1 << (2 * blocks).bit_length() if caching else 2
    waits = workload.after >= 0
    chain_room = int(waits.sum()) + 1
    timer_room = int(np.isfinite(workload.patience_s).sum() + np.isfinite(workload.deadline_s).sum()) + 1
    arrays: dict[str, NDArray[Any]] = {
        "requests": _request_records(workload),
        "replica_records": np.zeros(count, state.REPLICA),
        "open_ids": np.flatnonzero(~waits).astype(np.int32),
        "chained_s": np.zeros(chain_room),
        "chained_id": np.zeros(chain_room, np.int64),
        "timer_s": np.zeros(timer_room),
        "timer_id": np.zeros(timer_room, np.int64),
        "event_s": np.zeros(count),
        "event_id": np.zeros(count, np.int64),
        "queue_head": np.zeros((count, state.CLASSES), np.int32),
        "queue_tail": np.zeros((count, state.CLASSES), np.int32),
        "emitting": np.zeros((count, 2, seqs), np.int32),
        "retiring": np.zeros((count, 2, seqs), np.int32),
        "finishing": np.zeros((count, seqs), np.int64),
        "zombies": np.zeros((count, seqs), np.int32),
        "phases": np.zeros((count, limits.block_size), np.int32),
        "crossings": np.zeros((count, pool.window_tokens + 1), np.int32),
        "nodes": np.zeros((count, blocks + 1), state.NODE),
        "table_names": np.zeros((count, table), np.int64),
        "table_nodes": np.zeros((count, table), np.int32),
        "name_ids": np.ascontiguousarray(workload.name_ids, np.int64),
        "batch_ids": np.zeros(seqs, np.int32),
        "batch_tokens": np.zeros(seqs, np.int32),
        "timeline": np.zeros(_BINS, state.BIN),
        "costs": costs.costs,
        "token_s": costs.token_s,
        "token_j": costs.token_j,
        "emit_s": costs.emit_s,
        "emit_j": costs.emit_j,
        "smooth": costs.smooth,
    }
    arrays["replica_records"]["up"] = 1
    plane = np.zeros(1, state.PLANE)
    record = plane[0]
    for name in state.ARRAYS:
        record[name] = arrays[name].ctypes.data
    for field in _COPIED_LIMITS:
        record[field] = getattr(limits, field)
    record["bin_s"] = _FIRST_BIN_S
    record["pending"] = state.NOBODY
    record["up"] = record["replicas"] = count
    record["request_count"] = len(workload)
    record["by_priority"] = limits.scheduling == "priority"
    record["prefix_caching"] = limits.prefix_caching
    record["balancer"] = BALANCERS.index(pool.balancer)
    record["telemetry_lag_s"] = pool.telemetry_lag_s
    record["window"] = pool.window_tokens
    record["cold_start_s"] = pool.cold_start_s
    record["seed"] = seed & 0x7FFF_FFFF_FFFF_FFFF
    record["name_unit"] = max(1, workload.name_unit_tokens // limits.block_size)
    record["chains"] = bool(waits.any())
    record["open_count"] = len(arrays["open_ids"])
    record["chain_room"], record["timer_room"] = chain_room, timer_room
    record["table_size"], record["smooth_size"], record["bins"] = table, len(costs.smooth), _BINS
    return plane, arrays


def _request_records(workload: Workload) -> NDArray[Any]:
    records = np.zeros(len(workload), state.REQUEST)
    records["arrival"] = workload.arrival_s
    records["patience"] = workload.patience_s
    records["deadline"] = workload.deadline_s
    records["prompt"] = workload.prompt_tokens
    records["output"] = workload.output_tokens
    records["named_tokens"] = workload.named_tokens
    records["name_start"] = workload.name_start
    records["priority"] = workload.priority
    records["successor"] = state.NOBODY
    followers = np.flatnonzero(workload.after >= 0)
    records["successor"][workload.after[followers]] = followers
    for field in ("replica", "run", "before", "behind", "granted"):
        records[field] = state.NOBODY
    for field in ("scheduled", "first_token", "finish"):
        records[field] = np.nan
    return records
