"""What a pool's replica has for a request goes home: to the device, or just out (rules G3, S3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.agenda import note
from sim.kernels.air import arrives
from sim.kernels.fleet_state import ANSWERING, DELIVER, FIRST, HEDGE, JOB_DONE, NO_JOB
from sim.kernels.outcome import end_request
from sim.kernels.state import AWAY, COMPLETED, NO_REASON
from sim.kernels.views import request_of, trip_of


@kernel
def first_token_out(w: Any, r: int, now: float) -> None:
    """A pool emitted the first token of request r."""
    request = request_of(w, r)
    if w.devices == 0:
        if np.isnan(request.first_token):
            request.first_token = now
        return
    trip = trip_of(w, r)
    if not np.isnan(trip.far_first_s):
        return
    trip.far_first_s = arrives(w, r, now)
    if trip.kind == HEDGE and trip.job != NO_JOB and trip.job != JOB_DONE:
        note(w, FIRST, r, trip.far_first_s)
    else:
        request.first_token = trip.far_first_s


@kernel
def last_token_out(w: Any, r: int, now: float) -> None:
    """A pool emitted the last token of request r, which has given up its place there."""
    if w.devices == 0:
        end_request(w, r, COMPLETED, NO_REASON, now)
        return
    trip = trip_of(w, r)
    trip.leg = ANSWERING
    request_of(w, r).status = AWAY
    note(w, DELIVER, r, max(trip.far_first_s, arrives(w, r, now) + trip.down_s))


@kernel
def has_emitted(w: Any, r: int) -> bool:
    """Whether a pool emitted the first token of its present leg (rule F1)."""
    if w.devices == 0:
        return not np.isnan(request_of(w, r).first_token)
    return not np.isnan(trip_of(w, r).far_first_s)
