"""What the data plane remembers: one record a request, one a replica, one a device, and the arrays between them.

Records (not one array a field) keep what a step touches in a few cache lines, and let a dozen arrays carry the state
through every kernel.
"""

from __future__ import annotations

import numpy as np

# A request's status. COMPLETED to FAILED are terminal.
# AWAY: in no pool at the moment (on a device, in the air), and not over.
PENDING, WAITING, PREFILLING, DECODING, RETIRING, COMPLETED, REJECTED, ABANDONED, FAILED, AWAY = range(10)

# Why it ended as it did.
(
    NO_REASON,
    TOO_LONG,
    EXCEEDS_KV,
    QUEUE_FULL,
    NO_REPLICA,
    REPLICA_LOST,
    PATIENCE,
    DEADLINE,
    DEVICE_OFF,
    NO_TARGET,
    DEVICE_LOST,
) = range(11)
REASONS = (
    "",
    "too_long",
    "exceeds_kv",
    "queue_full",
    "no_replica",
    "replica_lost",
    "patience",
    "deadline",
    "device_off",
    "no_target",
    "device_lost",
)

# What a replica waits for.
IDLE, END, START = range(3)

# Why `advance` came back.
DONE, CONTROL, DECIDE, PAUSED = range(4)

# Why waiting requests were not admitted (rule C8).
BLOCKED_KV, BLOCKED_SEQS, BLOCKED_TOKENS = range(3)

CLASSES = 8  # priority classes
NOBODY = -1

REQUEST = np.dtype(
    [
        # what was asked
        ("arrival", "f8"),  # absolute, seconds; the think time until a predecessor has ended
        ("patience", "f8"),
        ("deadline", "f8"),
        ("successor", "i4"),
        ("prompt", "i4"),
        ("output", "i4"),
        ("named_tokens", "i4"),
        ("name_start", "i8"),
        # where it is
        ("finish_step", "i8"),
        ("offset", "i8"),  # decoding: context at step k is k + offset
        ("energy_mark", "f8"),
        ("before", "i4"),  # neighbours in the waiting queue or the running order
        ("behind", "i4"),
        ("replica", "i4"),
        ("target", "i4"),
        ("computed", "i4"),
        ("generated", "i4"),
        ("published", "i4"),  # leading blocks it holds under their names
        ("run", "i4"),  # node of its kept private blocks in the free queue
        ("run_full", "i4"),
        ("granted", "i8"),
        ("priority", "i1"),
        ("status", "i1"),
        ("reason", "i1"),
        # what came of it
        ("attempts", "i4"),
        ("preemptions", "i4"),
        ("cached", "i4"),
        ("scheduled", "f8"),
        ("first_token", "f8"),
        ("finish", "f8"),
        ("energy", "f8"),
    ],
    align=True,
)

REPLICA = np.dtype(
    [
        # the next event
        ("event_s", "f8"),
        ("event", "i8"),
        ("start_s", "f8"),
        ("ahead_s", "f8"),  # duration of the batch composed ahead
        ("ahead", "i8"),  # whether there is one
        ("composed", "i8"),  # batches composed so far: the number of the next step
        ("executed", "i8"),  # steps begun so far
        ("up", "i8"),  # neither failed nor retired: gets requests
        ("warm", "i8"),  # whether it has executed a step since it came up
        ("retired", "i8"),  # gets no more requests (rule X1)
        ("failed", "i8"),
        ("paid_since", "f8"),  # NaN while it is not paid for (rule X5)
        ("paid_s", "f8"),
        # balancer's view
        ("outstanding", "i8"),
        ("reported", "i8"),
        ("sent", "i8"),
        # queue and slots
        ("waiting", "i8"),
        ("running", "i8"),  # occupied slots
        ("first", "i4"),  # running order, retiring sequences left out
        ("last", "i4"),
        ("partial", "i4"),  # the sequence whose prefill is not finished, or NOBODY
        ("granted", "i8"),  # the step whose decodes all got their blocks at once
        ("zombies", "i8"),
        ("emitting_0", "i8"),
        ("emitting_1", "i8"),
        ("retiring_0", "i8"),
        ("retiring_1", "i8"),
        # decodes
        ("decodes", "i8"),
        ("offsets", "i8"),  # sum of their offsets
        ("below", "i8"),  # decodes whose context is below the window
        ("below_offsets", "i8"),
        # KV blocks
        ("free", "i8"),
        ("front", "i4"),
        ("back", "i4"),
        ("spare", "i4"),  # head of the list of dropped nodes
        ("fresh", "i4"),  # the first node that was never used
        # books
        ("energy_mark", "f8"),  # joules per token, summed over the batches so far
        ("energy_j", "f8"),
        ("busy_s", "f8"),
        ("off", "i8"),  # failed, or retired and empty: computes nothing
        ("down_since", "f8"),
        ("down_s", "f8"),
        ("blocked_kv_s", "f8"),
        ("blocked_seqs_s", "f8"),
        ("blocked_tokens_s", "f8"),
        ("kv_block_s", "f8"),
        ("kv_used", "i8"),
        ("ahead_kv_used", "i8"),
        ("prefill_tokens", "i8"),
        ("decode_tokens", "i8"),
        ("preemptions", "i8"),
        ("max_running", "i8"),
        ("max_waiting", "i8"),
    ],
    align=True,
)

# A place in the free queue: a run of private blocks (`name` == NO_NAME), or one named block, which keeps its node while
# it is in use (`users` > 0) though it is not in the queue then.
NODE = np.dtype(
    [("name", "i8"), ("before", "i4"), ("behind", "i4"), ("count", "i4"), ("owner", "i4"), ("users", "i4")],
    align=True,
)
NO_NAME = -1

# Arrays of one pool, and arrays of the world that all pools share.
POOL_ARRAYS = (
    "replica_records",
    "event_s",
    "event_id",
    "queue_head",
    "queue_tail",
    "emitting",
    "retiring",
    "finishing",
    "zombies",
    "phases",
    "crossings",
    "nodes",
    "table_names",
    "table_nodes",
    "batch_ids",
    "batch_tokens",
    "timeline",
    "costs",
    "token_s",
    "token_j",
    "emit_s",
    "emit_j",
    "smooth",
    "decode_s",
)
WORLD_ARRAYS = (
    "requests",
    "name_ids",
    "open_ids",
    "chained_s",
    "chained_id",
    "timer_s",
    "timer_id",
    "agenda_s",
    "agenda_id",
    "pools",
    "trips",
    "rows",
    "kinds",
    "networks",
    "tasks",
    "weather",
    "ability",
    "figures",
    "phi",
    "quantiles",
    "mixes",
    "kinds_used",
    "judges",
    "weights",
    "scenes",
)

BIN = np.dtype(
    [
        ("busy_s", "f8"),
        ("kv_block_s", "f8"),
        ("steps", "f8"),
    ],
    align=True,
)

# What every kernel of a pool gets, `s`: what is counted once, what never changes, and where the arrays are.
# R replicas, N requests, S = max_num_seqs; `sim.kernels.views` says what each array holds.
POOL = np.dtype(
    [
        ("world", "i8"),  # address of the WORLD
        ("requests", "i8"),  # the world's arrays that every step needs
        ("name_ids", "i8"),
        ("number", "i8"),  # of this pool
        ("events", "i8"),  # length of the heap of replica events
        ("ticks", "i8"),  # telemetry ticks so far
        ("cursor", "i8"),
        ("up", "i8"),  # replicas that are up and not retired
        ("bin_s", "f8"),
        # what a router sees of it
        ("outstanding", "i8"),
        ("reported", "i8"),
        ("sent", "i8"),
        ("reported_up", "i8"),
        ("reported_slowdown", "f8"),
        # what controls change
        ("slowdown", "f8"),
        ("price_usd_per_s", "f8"),
        ("billed_usd", "f8"),  # for what is not paid for any more
        ("asks_python", "i8"),  # whether its balancer is a user's function
        # the limits
        ("replicas", "i8"),
        ("max_num_seqs", "i8"),
        ("max_num_batched_tokens", "i8"),
        ("max_model_len", "i8"),
        ("block_size", "i8"),
        ("kv_blocks", "i8"),
        ("chunked_prefill", "i8"),
        ("prefix_caching", "i8"),
        ("async_scheduling", "i8"),
        ("by_priority", "i8"),
        ("max_queue", "i8"),
        ("max_outstanding", "i8"),
        ("balancer", "i8"),
        ("telemetry_lag_s", "f8"),
        ("window", "i8"),
        ("cold_start_s", "f8"),
        ("name_unit", "i8"),  # blocks that a name id covers
        ("table_size", "i8"),
        ("smooth_size", "i8"),
        ("bins", "i8"),
        # for a fleet
        ("is_edge", "i8"),
        ("model", "i8"),
        ("modalities", "i8"),
        ("prefill_token_s", "f8"),
        ("output_mean", "f8"),
    ]
    + [(name, "i8") for name in POOL_ARRAYS],
    align=True,
)

# What the whole run shares, `w`.
WORLD = np.dtype(
    [
        # the clock
        ("now_s", "f8"),
        ("next_open", "i8"),  # position in the list of open arrivals
        ("chained", "i8"),  # length of the heap of chained arrivals
        ("timers", "i8"),
        ("agenda_length", "i8"),
        ("terminal", "i8"),
        ("pending", "i8"),  # the request a Python policy must place
        ("pending_pool", "i8"),  # the pool whose Python balancer must, or NOBODY: a router must
        ("handled", "i8"),  # external events so far
        # the limits
        ("seed", "i8"),
        ("request_count", "i8"),
        ("open_count", "i8"),
        ("chain_room", "i8"),
        ("timer_room", "i8"),
        ("agenda_room", "i8"),
        ("pool_count", "i8"),
        ("feedback", "i8"),  # whether what leaves a pool may come back at once: catch up in order of time
        # the fleet; no devices: requests arrive at the door of the only pool
        ("devices", "i8"),
        ("network_count", "i8"),
        ("task_count", "i8"),
        ("start_s", "f8"),
        ("spread", "f8"),
        ("separation", "f8"),  # rule G5's delta
        ("threshold", "f8"),
        ("check_s", "f8"),
        ("rollout", "f8"),  # share of the devices that follow policy 1 (rule W7)
        ("foresight", "i8"),  # of a yardstick (rule W8); 0 of everybody else
        ("by_python", "i8"),  # whether a user's function routes
        ("stray", "i8"),  # legs that reached a place their privacy class forbids: 0
    ]
    + [(name, "i8") for name in WORLD_ARRAYS],
    align=True,
)
