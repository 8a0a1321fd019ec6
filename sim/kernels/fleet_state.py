"""What the data plane remembers of a fleet: one record a request, a row, a kind of rows, a network class, a task."""

from __future__ import annotations

import numpy as np

# Kinds of actions, as in policies.layout.KINDS.
NEAR, EDGE, CLOUD, CASCADE, HEDGE = range(5)

# Where a request's job on a row is.
NO_JOB, JOB_WAITS, JOB_RUNS, JOB_DONE = range(4)

# Where its leg beyond the device is.
NO_LEG, IN_AIR, ON_HUB, IN_POOL, ANSWERING = range(5)

# Events of the agenda, in the order of rule T3.
JOB, FIRST, DELIVER, CHECK, LEG, AGAIN = range(6)
EVENT_SHIFT = 40

# Places that a request may reach (rule G2), as bits.
REACHED_NEAR, REACHED_HUB, REACHED_EDGE_POOL, REACHED_CLOUD = 1, 2, 4, 8

NO_ACTION = -1

# What a request is to its device and to whoever else takes part.
TRIP = np.dtype(
    [
        ("rtt_s", "f8"),
        ("down_s", "f8"),  # the answer's bytes on the downlink
        ("work_s", "f8"),  # predicted, at full clock (rule W5)
        ("leg_start_s", "f8"),
        ("near_start_s", "f8"),  # its job on its own device
        ("far_first_s", "f8"),  # the first token of the leg beyond the device, at the device; NaN before
        ("device_j", "f8"),
        ("device", "i4"),
        ("row", "i4"),  # where its job is
        ("behind", "i4"),  # the next job in the row's queue
        ("up_bytes", "f4"),
        ("down_bytes", "f4"),
        ("difficulty", "f4"),
        ("tried", "i4"),  # pools, as bits
        ("task", "i2"),
        ("action", "i2"),
        ("model", "i2"),  # whose answer it got, -1: none
        ("kind", "i1"),
        ("pool", "i1"),  # of the action, or NOBODY
        ("network", "i1"),  # class of the leg
        ("reached", "i1"),
        ("job", "i1"),
        ("leg", "i1"),
        ("escalated", "i1"),
        ("throttled", "i1"),
        ("first_due", "i1"),  # its job has a JOB at the first token (rule E4)
        ("correct", "i1"),  # 1, 0; -1: not answered
    ],
    align=True,
)

ROW = np.dtype(
    [
        ("settled_s", "f8"),
        ("battery_j", "f8"),
        ("temp_c", "f8"),
        ("awake_until_s", "f8"),
        ("active_s", "f8"),
        ("last_use_s", "f8"),
        ("run_s", "f8"),
        ("hot_s", "f8"),
        ("first_s", "f8"),
        ("end_s", "f8"),
        ("event_s", "f8"),  # of its JOB in the agenda; inf: none
        ("expected_end_s", "f8"),
        ("queued_s", "f8"),
        ("compute_s", "f8"),
        ("throttled_s", "f8"),
        ("requests_j", "f8"),  # charged to requests
        ("running", "i4"),
        ("head", "i4"),
        ("tail", "i4"),
        ("waiting", "i4"),
        ("under_way", "i4"),
        ("hub", "i4"),
        ("kind", "i2"),
        ("region", "i1"),
        ("throttled", "i1"),
        ("resident", "i1"),
    ],
    align=True,
)

# As sim.fleet.RowKind.
KIND = np.dtype(
    [
        (name, "f8")
        for name in (
            "chunk_s",
            "token_s",
            "context_s",
            "load_s",
            "power_w",
            "background_w",
            "ambient_c",
            "limit_c",
            "resistance_c_per_w",
            "capacitance_j_per_c",
            "throttled_clock",
            "capacity_j",
            "floor_j",
            "charge_w",
            "charge_from_s",
            "charge_s",
            "pressure_per_s",
            "network_period_s",
        )
    ]
    + [(name, "i8") for name in ("model", "modalities", "max_tokens", "chunk_tokens")],
    align=True,
)

NETWORK = np.dtype(
    [
        (name, "f8")
        for name in (
            "promotion_idle_s",
            "promotion_s",
            "tail_s",
            "tail_w",
            "base_w",
            "up_j_per_byte",
            "down_j_per_byte",
            "mean_good_s",
            "mean_bad_s",
            "loss",
        )
    ]
    + [(name, "i8") for name in ("radio", "home", "metered", "setup_round_trips")],
    align=True,
)

TASK = np.dtype(
    [
        ("output_hint", "f8"),
        ("slo_ttft_s", "f8"),
        ("difficulty_mean", "f8"),
        ("trust", "f8"),  # in what is seen of a request, rather than in what is known of its task (rule W5's rho)
        ("doubt", "f8"),  # what the remaining doubt about the difficulty takes from a logit (rule W5's kappa)
        ("privacy", "i8"),
        ("modality", "i8"),
    ],
    align=True,
)

# Which table of quantiles of a network class.
RTT, RTT_EDGE, UPLINK, DOWNLINK = range(4)

WEATHER = np.dtype([("rtt_factor", "f8"), ("rate_factor", "f8"), ("up", "i8")], align=True)

# The figures of one action (rule W5), as policies.features wants them.
FIGURES = np.dtype(
    [
        ("score", "f8"),
        ("quality", "f8"),
        ("ttft_s", "f8"),
        ("e2e_s", "f8"),
        ("energy_j", "f8"),
        ("cost_usd", "f8"),
        ("egress_bytes", "f8"),
        ("load", "f8"),
        ("noise", "f8"),
        ("feasible", "i8"),
        ("kind", "i8"),
        ("pool", "i8"),
    ],
    align=True,
)
