"""A workload of recorded requests: arrivals and lengths, and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.numbers import Floats
from sim.workloads.workload import Provenance, Workload

__all__ = ["recorded_workload"]

Ints = NDArray[np.int64]


def recorded_workload(*, arrival_s: Floats, prompt_tokens: Ints, output_tokens: Ints, kind: str, path: str) -> Workload:
    """Arrays of length n, arrivals ascending from 0 or later. Nobody waits for another, gives up or shares a prefix."""
    n = len(arrival_s)
    nothing, never = np.zeros(n, np.int64), np.full(n, np.inf)
    return Workload(
        arrival_s=arrival_s,
        after=nothing - 1,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        priority=nothing,
        patience_s=never,
        deadline_s=never,
        session=nothing - 1,
        named_tokens=nothing,
        name_start=nothing,
        name_ids=np.zeros(0, np.int64),
        name_unit_tokens=1,
        provenance=Provenance(kind=kind, path=path, rows_read=n, rows_emitted=n),
    )
