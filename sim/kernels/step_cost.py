"""The time and energy of one step, from tables. `sim.latency` fills them; plane and oracle read the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel

STEP_COSTS = np.dtype(
    [
        ("fixed_s", "f8"),  # host and kernel constants of a step
        ("prefill_s", "f8"),  # constants of a step that holds prefill, on top
        ("per_sequence_s", "f8"),
        ("attend_s", "f8"),  # per (query token, context token) pair of a prefill, full-attention layers
        ("attend_window_s", "f8"),
        ("decode_attend_s", "f8"),  # the same for a decode in a batch of decodes only
        ("decode_attend_window_s", "f8"),
        ("mixed_rows", "f8"),  # rows a decode's query tile is padded to when the batch holds a prefill
        ("read_s", "f8"),  # per context token read, full-attention layers
        ("read_window_s", "f8"),
        ("static_w", "f8"),
        ("max_w", "f8"),  # the accelerators' power limit; 0: none
        ("attend_j", "f8"),
        ("attend_window_j", "f8"),
        ("read_j", "f8"),
        ("read_window_j", "f8"),
    ],
    align=True,
)


@kernel
def smooth_maximum(a: float, b: float, table: Any) -> float:
    """(a^p + b^p)^(1/p) = max * g(min / max), with g read from a table by linear interpolation."""
    high = max(a, b)
    if high <= 0.0:
        return 0.0
    at = min(a, b) / high * (len(table) - 1)
    i = min(int(at), len(table) - 2)
    return high * (table[i] + (at - i) * (table[i + 1] - table[i]))


@kernel
def step_cost(
    prefill_tokens: int,
    prefill_attended: int,
    prefill_attended_window: int,
    prefill_end: int,
    prefill_end_window: int,
    decodes: int,
    decode_context: int,
    decode_context_window: int,
    emitting: int,
    sequences: int,
    costs: Any,
    token_s: Any,
    token_j: Any,
    emit_s: Any,
    emit_j: Any,
    smooth: Any,
) -> tuple[float, float]:
    """Seconds and joules of a batch; the first ten arguments are `sim.pool.StepShape`, in order (rule C7)."""
    tokens = prefill_tokens + decodes
    if prefill_tokens > 0:
        rows = costs.mixed_rows
        compute = costs.attend_s * (prefill_attended + rows * decode_context)
        compute += costs.attend_window_s * (prefill_attended_window + rows * decode_context_window)
    else:
        compute = costs.decode_attend_s * decode_context + costs.decode_attend_window_s * decode_context_window
    reads = prefill_end + decode_context
    reads_window = prefill_end_window + decode_context_window
    memory = costs.read_s * reads + costs.read_window_s * reads_window
    seconds = (
        costs.fixed_s
        + (costs.prefill_s if prefill_tokens > 0 else 0.0)
        + costs.per_sequence_s * sequences
        + token_s[tokens]
        + emit_s[emitting]
        + smooth_maximum(compute, memory, smooth)
    )
    joules = (
        token_j[tokens]
        + emit_j[emitting]
        + costs.attend_j * (prefill_attended + decode_context)
        + costs.attend_window_j * (prefill_attended_window + decode_context_window)
        + costs.read_j * reads
        + costs.read_window_j * reads_window
        + costs.static_w * seconds
    )
    if costs.max_w > 0.0:
        joules = min(joules, costs.max_w * seconds)
    return seconds, joules
