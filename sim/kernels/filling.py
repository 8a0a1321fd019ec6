"""Records from the arrays of a workload, in one pass; `first` and `last` bound a part of it, for several threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.state import NOBODY


@kernel
def fill_requests(
    first: int,
    last: int,
    requests: Any,
    arrival_s: Any,
    prompt_tokens: Any,
    output_tokens: Any,
    patience_s: Any,
    deadline_s: Any,
    priority: Any,
    named_tokens: Any,
    name_start: Any,
) -> None:
    """REQUEST records, all zero before, as they are before their arrival."""
    for r in range(first, last):
        request = requests[r]
        request.arrival = arrival_s[r]
        request.prompt = prompt_tokens[r]
        request.output = output_tokens[r]
        request.patience = patience_s[r]
        request.deadline = deadline_s[r]
        request.priority = priority[r]
        request.named_tokens = named_tokens[r]
        request.name_start = name_start[r]
        request.successor = NOBODY
        request.replica = NOBODY
        request.run = NOBODY
        request.before = NOBODY
        request.behind = NOBODY
        request.granted = NOBODY
        request.scheduled = np.nan
        request.first_token = np.nan
        request.finish = np.nan


@kernel
def fill_trips(
    first: int,
    last: int,
    trips: Any,
    device: Any,
    task: Any,
    difficulty: Any,
    up_bytes: Any,
    down_bytes: Any,
) -> None:
    """TRIP records, all zero before."""
    for r in range(first, last):
        trip = trips[r]
        trip.device = device[r]
        trip.task = task[r]
        trip.difficulty = difficulty[r]
        trip.up_bytes = up_bytes[r]
        trip.down_bytes = down_bytes[r]
        trip.far_first_s = np.nan
        trip.near_start_s = np.nan
        trip.row = NOBODY
        trip.behind = NOBODY
        trip.action = NOBODY
        trip.model = NOBODY
        trip.pool = NOBODY
        trip.kind = NOBODY
        trip.network = NOBODY
        trip.correct = NOBODY
