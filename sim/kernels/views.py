"""From addresses to records and rows.

Numba counts references to every array that a function touches, with an atomic instruction each: in this engine that was
nine tenths of the time. So the kernels pass records around, `s` of a pool (`sim.kernels.state.POOL`) or `w` of the
whole run (`WORLD`), which hold the *addresses* of the arrays, and read through them. `sim.plane.DataPlane` owns the
arrays and keeps them alive; indices come from the engine itself and are not checked.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from policies.compiled import kernel
from sim.kernels.fleet_state import FIGURES, KIND, NETWORK, ROW, TASK, TRIP, WEATHER
from sim.kernels.state import BIN, CLASSES, NODE, POOL, REPLICA, REQUEST, WORLD
from sim.kernels.step_cost import STEP_COSTS


def _record_reader(dtype: np.dtype[Any]) -> Any:
    """An intrinsic (address, index) -> record `index` of the array at `address`; no copy, no reference count."""
    record = numba.from_dtype(dtype)

    @intrinsic
    def read(_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            offset = builder.mul(args[1], ir.Constant(ir.IntType(64), dtype.itemsize))
            return builder.inttoptr(builder.add(args[0], offset), context.get_value_type(record))

        return record(types.int64, types.int64), generate

    return read


def _row_reader(scalar: Any) -> Any:
    """An intrinsic (address, start, length) -> 1-d array view of `length` items from item `start`."""
    array = types.Array(scalar, 1, "C")

    @intrinsic
    def read(_context: Any, address: Any, start: Any, length: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            size = ir.Constant(ir.IntType(64), scalar.bitwidth // 8)
            data = builder.inttoptr(
                builder.add(args[0], builder.mul(args[1], size)), context.get_data_type(scalar).as_pointer()
            )
            view = context.make_array(array)(context, builder)
            null = cgutils.get_null_value(ir.IntType(8).as_pointer())
            view.data = data
            view.nitems = args[2]
            view.itemsize = size
            view.shape = cgutils.pack_array(builder, [args[2]])
            view.strides = cgutils.pack_array(builder, [size])
            view.meminfo = null
            view.parent = null
            return view._getvalue()

        return array(types.int64, types.int64, types.int64), generate

    return read


def _line_fetcher() -> Any:
    """An intrinsic (address) -> nothing: ask for a cache line before it is needed."""

    @intrinsic
    def fetch(_context: Any, address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            byte = ir.IntType(8).as_pointer()
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            hints = [ir.Constant(number, hint) for hint in (1, 3, 1)]  # to write, to keep, data
            builder.call(prefetch, [builder.inttoptr(args[0], byte), *hints])

        return types.void(types.int64), generate

    return fetch


_fetch = _line_fetcher()
_world = _record_reader(WORLD)
_pool = _record_reader(POOL)
_request = _record_reader(REQUEST)
_replica = _record_reader(REPLICA)
_node = _record_reader(NODE)
_bin = _record_reader(BIN)
_costs = _record_reader(STEP_COSTS)
_trip = _record_reader(TRIP)
_row = _record_reader(ROW)
_kind = _record_reader(KIND)
_network = _record_reader(NETWORK)
_task = _record_reader(TASK)
_weather = _record_reader(WEATHER)
_figures = _record_reader(FIGURES)
_ROW_BYTES = ROW.itemsize
_int32 = _row_reader(types.int32)
_int64 = _row_reader(types.int64)
_float64 = _row_reader(types.float64)


@kernel
def world_of(s: Any) -> Any:
    """The WORLD of a pool."""
    return _world(s.world, 0)


@kernel
def pool_of(w: Any, p: int) -> Any:
    """POOL p."""
    return _pool(w.pools, p)


@kernel
def request_of(s: Any, r: int) -> Any:
    """REQUEST r; of a pool or of the world."""
    return _request(s.requests, r)


@kernel
def replica_of(s: Any, i: int) -> Any:
    """REPLICA i."""
    return _replica(s.replica_records, i)


@kernel
def node_of(s: Any, i: int, at: int) -> Any:
    """NODE `at` of replica i."""
    return _node(s.nodes, i * (s.kv_blocks + 1) + at)


@kernel
def bin_of(s: Any, b: int) -> Any:
    """BIN b of the timeline."""
    return _bin(s.timeline, b)


@kernel
def costs_of(s: Any) -> Any:
    """The scalar STEP_COSTS."""
    return _costs(s.costs, 0)


@kernel
def open_arrivals(w: Any) -> Any:
    """int32 (open_count,): ids of the requests that wait for nobody, by (arrival, id)."""
    return _int32(w.open_ids, 0, w.open_count)


@kernel
def chained_heap(w: Any) -> Any:
    """Heap of arrivals set off by a predecessor: instants, ids."""
    return _float64(w.chained_s, 0, w.chain_room), _int64(w.chained_id, 0, w.chain_room)


@kernel
def timer_heap(w: Any) -> Any:
    """Heap of timers: instants, 2 * request + (0 patience, 1 deadline)."""
    return _float64(w.timer_s, 0, w.timer_room), _int64(w.timer_id, 0, w.timer_room)


@kernel
def agenda_heap(w: Any) -> Any:
    """Heap of what happens to devices: instants, event << EVENT_SHIFT | row or request."""
    return _float64(w.agenda_s, 0, w.agenda_room), _int64(w.agenda_id, 0, w.agenda_room)


@kernel
def event_heap(s: Any) -> Any:
    """Heap of replica events: instants, kind * R + replica (kind 0 END, 1 START)."""
    return _float64(s.event_s, 0, s.replicas), _int64(s.event_id, 0, s.replicas)


@kernel
def queue_heads(s: Any, i: int) -> Any:
    """int32 (CLASSES,): first waiting request of each priority class."""
    return _int32(s.queue_head, i * CLASSES, CLASSES)


@kernel
def queue_tails(s: Any, i: int) -> Any:
    """int32 (CLASSES,): last waiting request of each priority class."""
    return _int32(s.queue_tail, i * CLASSES, CLASSES)


@kernel
def emitting_of(s: Any, i: int, parity: int) -> Any:
    """int32 (S,): requests whose prefill is finished by the step in flight of this parity."""
    return _int32(s.emitting, (2 * i + parity) * s.max_num_seqs, s.max_num_seqs)


@kernel
def retiring_of(s: Any, i: int, parity: int) -> Any:
    """int32 (S,): requests whose last token is in the step in flight of this parity."""
    return _int32(s.retiring, (2 * i + parity) * s.max_num_seqs, s.max_num_seqs)


@kernel
def finishing_of(s: Any, i: int) -> Any:
    """int64 (S,): heap of step << 32 | request over the decodes."""
    return _int64(s.finishing, i * s.max_num_seqs, s.max_num_seqs)


@kernel
def zombies_of(s: Any, i: int) -> Any:
    """int32 (S,): requests abandoned while running, not yet removed."""
    return _int32(s.zombies, i * s.max_num_seqs, s.max_num_seqs)


@kernel
def phases_of(s: Any, i: int) -> Any:
    """int32 (block_size,): decodes that need a block at steps of this residue."""
    return _int32(s.phases, i * s.block_size, s.block_size)


@kernel
def crossings_of(s: Any, i: int) -> Any:
    """int32 (window + 1,): decodes whose context reaches the window at steps of this residue."""
    return _int32(s.crossings, i * (s.window + 1), s.window + 1)


@kernel
def table_names_of(s: Any, i: int) -> Any:
    """int64 (T,): open addressing by name, T a power of two."""
    return _int64(s.table_names, i * s.table_size, s.table_size)


@kernel
def table_nodes_of(s: Any, i: int) -> Any:
    """int32 (T,): the node that holds each name."""
    return _int32(s.table_nodes, i * s.table_size, s.table_size)


@kernel
def name_id(s: Any, at: int) -> int:
    """One of the workload's prefix names."""
    return _int64(s.name_ids, at, 1)[0]


@kernel
def batch_ids(s: Any) -> Any:
    """int32 (S,): prefills of the batch that is being composed."""
    return _int32(s.batch_ids, 0, s.max_num_seqs)


@kernel
def batch_tokens(s: Any) -> Any:
    """int32 (S,): their tokens."""
    return _int32(s.batch_tokens, 0, s.max_num_seqs)


@kernel
def cost_tables(s: Any) -> Any:
    """token_s, token_j, emit_s, emit_j, smooth (see `sim.kernels.step_cost`)."""
    tokens = s.max_num_batched_tokens + 1
    seqs = s.max_num_seqs + 1
    return (
        _float64(s.token_s, 0, tokens),
        _float64(s.token_j, 0, tokens),
        _float64(s.emit_s, 0, seqs),
        _float64(s.emit_j, 0, seqs),
        _float64(s.smooth, 0, s.smooth_size),
    )


# -- the fleet ---------------------------------------------------------------------------------------------------------


@kernel
def trip_of(w: Any, r: int) -> Any:
    """TRIP of request r."""
    return _trip(w.trips, r)


@kernel
def row_of(w: Any, e: int) -> Any:
    """ROW e: a device or a hub."""
    return _row(w.rows, e)


@kernel
def fetch_row(w: Any, e: int) -> None:
    """Ask for row e from memory: an arrival that comes soon will need it."""
    address = w.rows + e * _ROW_BYTES
    _fetch(address)
    _fetch(address + 64)
    _fetch(address + 128)


@kernel
def kind_of(w: Any, row: Any) -> Any:
    """KIND of a row."""
    return _kind(w.kinds, row.kind)


@kernel
def network_of(w: Any, n: int) -> Any:
    """NETWORK class n."""
    return _network(w.networks, n)


@kernel
def task_of(w: Any, t: int) -> Any:
    """TASK t."""
    return _task(w.tasks, t)


@kernel
def weather_of(w: Any, region: int) -> Any:
    """WEATHER of a region."""
    return _weather(w.weather, region)


@kernel
def ability_of(w: Any, model: int, task: int) -> float:
    """Logits of a model at a task."""
    return _float64(w.ability, model * w.task_count + task, 1)[0]


@kernel
def quantiles_of(w: Any, n: int, table: int) -> Any:
    """float64 (6,): quantiles of network class n; `table` is RTT, RTT_EDGE, UPLINK or DOWNLINK."""
    return _float64(w.quantiles, (n * 4 + table) * 6, 6)


@kernel
def network_weights_of(w: Any, kind: int) -> Any:
    """float64 (network_count,): cumulated weights of the classes that rows of a kind are connected by."""
    return _float64(w.mixes, kind * w.network_count, w.network_count)


@kernel
def kinds_used(w: Any, which: int) -> Any:
    """int64 (5,): which kinds of actions policy 0 or 1 uses (rule W7)."""
    return _int64(w.kinds_used, which * 5, 5)


@kernel
def judges(w: Any, which: int) -> bool:
    """Whether policy 0 or 1 looks at quality or difficulty at all; if not, they are not worked out."""
    return bool(_int64(w.judges, which, 1)[0] != 0)


@kernel
def weights_of(w: Any, which: int, features: int) -> Any:
    """float64 (features,): the weights of a policy."""
    return _float64(w.weights, which * features, features)


@kernel
def scene_of(w: Any, which: int, task: int) -> Any:
    """float64 (5,): what a policy adds for a task, by kind of action."""
    return _float64(w.scenes, (which * w.task_count + task) * 5, 5)


@kernel
def figures_of(w: Any, action: int) -> Any:
    """FIGURES of an action, scratch of the decision that is being made."""
    return _figures(w.figures, action)


@kernel
def phi_of(w: Any, features: int) -> Any:
    """float64 (features,): scratch."""
    return _float64(w.phi, 0, features)


@kernel
def decode_s_of(s: Any, b: int) -> float:
    """Seconds of a step of b decodes at a pool's typical context."""
    return _float64(s.decode_s, b, 1)[0]
