"""The agenda: what will happen to devices, in the order of rule T3."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from sim.kernels.fleet_state import EVENT_SHIFT
from sim.kernels.heap import push
from sim.kernels.views import agenda_heap


@kernel
def note(w: Any, event: int, whom: int, when: float) -> None:
    """Set an event for a row or a request."""
    times, values = agenda_heap(w)
    push(times, values, w.agenda_length, when, (event << EVENT_SHIFT) | whom)
    w.agenda_length += 1
