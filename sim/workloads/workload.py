"""A workload: who asks, when, and for how much. Plain arrays, one row a request.

Traces (`sim.workloads.traces`) and generators (`sim.workloads.generators`) both end here; the data plane starts here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Asked", "Provenance", "Workload"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a workload came from, and what became of every row that was read.

    `rows_read == rows_emitted + sum(dropped.values())` always holds for a trace; a generator emits what it makes.
    """

    kind: str  # "azure", "mooncake", "burstgpt", "vidur", "vllm", "plain", "poisson", "closed-loop", ...
    path: str = ""
    sha256: str = ""
    rows_read: int = 0
    rows_emitted: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> rows
    notes: tuple[str, ...] = ()  # what was assumed: stamps spread, rows sorted, rows repeated ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which device of a fleet asks, and for what: arrays of length n beside those of the workload."""

    device: NDArray[np.int32]
    task: NDArray[np.int16]  # position among the fleet's tasks
    difficulty: NDArray[np.float32]  # logits
    up_bytes: NDArray[np.float32]  # prompt and media, as sent
    down_bytes: NDArray[np.float32]  # answer and media, as received


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests as parallel arrays of length n, in order of request id.

    `arrival_s` (float64, seconds from 0) is the arrival of a request with `after == -1`; these are in ascending
    order among themselves. A request with `after == j >= 0` (j < its own id) arrives `arrival_s` seconds (its think
    time) after request j reached a terminal state; every j is named by at most one successor.

    Prefix identity: tokens [0, named_tokens[r]) of request r carry the names
    `name_ids[name_start[r] : name_start[r] + ceil(named_tokens[r] / name_unit_tokens)]`, one name per
    `name_unit_tokens` tokens. Names identify a prefix, not just a chunk: equal names imply that everything before is
    equal too. Requests without names have `named_tokens == 0` and share nothing.
    """

    arrival_s: Floats
    after: Ints
    prompt_tokens: Ints  # >= 1
    output_tokens: Ints  # >= 1
    priority: Ints  # 0 is the most urgent; at most 7
    patience_s: Floats  # from arrival to the first token; inf: waits for ever
    deadline_s: Floats  # from arrival to the last token; inf: none
    session: Ints  # -1: no session
    named_tokens: Ints
    name_start: Ints
    name_ids: Ints
    name_unit_tokens: int
    provenance: Provenance
    asked: Asked | None = None  # with a fleet

    def __len__(self) -> int:
        return len(self.prompt_tokens)
