"""How a scenario describes what a fleet is asked: frozen records, checked on reading.

    workload:
      requests: 1000000
      duration_s: 86400
      diurnal: {peak_to_trough: 6, peak_hour: 20}
      sessions: {turns_mean: 2.5, gap_s: 40}
      flash_crowds: [{at_s: 70000, duration_s: 1800, factor: 4}]

or a trace, whose requests are spread over the devices::

    trace: {path: conversation.csv, time_scale: 0.5}

Lengths, media, privacy and difficulty are those of the tasks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from profiles.record import NonNegative, Positive, Text
from sim.workloads.distributions import NO_LIMIT, Limit, Priority, Record
from sim.workloads.spec import TraceSpec

__all__ = ["DayShape", "FlashCrowd", "FleetWorkloadSpec", "NoFlag", "SessionShape", "Spec"]

MAX_FLEET_REQUESTS = 2**31 - 2
MAX_DURATION_S = 1e9


def _a_number(value: Any) -> Any:
    """YAML's yes and no are no numbers."""
    if isinstance(value, bool):
        raise ValueError("a whole number, not yes or no")
    return value


NoFlag = BeforeValidator(_a_number)


class Spec(Record):
    """Frozen, strict about names, every field described where it stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class DayShape(Spec):
    """A day: a cosine with one peak."""

    peak_to_trough: Annotated[float, Field(strict=True, ge=1, le=1e6, allow_inf_nan=False)]
    """How many times as many sessions begin at the peak as twelve hours away from it."""
    peak_hour: Annotated[float, Field(strict=True, ge=0, lt=24, allow_inf_nan=False)] = 20.0
    """Local hour of the peak."""


class SessionShape(Spec):
    """Requests come in bursts: the turns of a session follow each other on one device, for one task."""

    turns_mean: Annotated[float, Field(strict=True, ge=1, le=1e6, allow_inf_nan=False)]
    """Mean requests of a session, geometric."""
    gap_s: NonNegative
    """Mean seconds from one request to the next, exponential; drawn beforehand, whatever the answers take."""


class FlashCrowd(Spec):
    """For a while, more sessions begin."""

    at_s: NonNegative
    """Seconds from the start of the run."""
    duration_s: Positive
    """How long it lasts."""
    factor: Annotated[float, Field(strict=True, ge=1, le=1e4, allow_inf_nan=False)]
    """How many times as many."""
    task: Text | None = None
    """Only this task is asked for more often. Empty: everything."""


class FleetWorkloadSpec(Spec):
    """Either `requests` and `duration_s`: so many requests in that time, in the shape of the day; or a `trace`."""

    requests: Annotated[int, Field(ge=1, le=MAX_FLEET_REQUESTS), NoFlag] | None = None
    """How many requests."""
    duration_s: Annotated[float, Field(strict=True, gt=0, le=MAX_DURATION_S, allow_inf_nan=False)] | None = None
    """Seconds over which their sessions begin; the last turns may come later."""
    diurnal: DayShape | None = None
    """The shape of the day. Empty: all hours alike."""
    sessions: SessionShape | None = None
    """Bursts. Empty: every request stands alone."""
    flash_crowds: tuple[FlashCrowd, ...] = ()
    """Crowds, one after another."""
    trace: TraceSpec | None = None
    """Arrivals and lengths of a recorded workload; who asks and for what is drawn."""
    priority: Priority = 0
    """Class of all requests, or shares of the classes."""
    patience_s: Limit = NO_LIMIT
    """How long a user waits for the first token."""
    deadline_s: Limit = NO_LIMIT
    """How long a user waits for the last token."""

    @model_validator(mode="before")
    @classmethod
    def _no_pools(cls, data: Any) -> Any:
        """Keys of a workload without a fleet are told apart from misspelt ones."""
        for name in ("arrivals", "prompt_tokens", "output_tokens"):
            if isinstance(data, dict) and name in data:
                raise ValueError(
                    f"a fleet's tasks bring their own lengths, and its day the arrivals: remove {name} "
                    "(give requests and duration_s, or a trace)"
                )
        return data

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.trace is not None:
            for name in ("requests", "duration_s", "diurnal", "sessions", "flash_crowds"):
                if getattr(self, name):
                    hint = " (requests belongs inside trace)" if name == "requests" else ""
                    raise ValueError(f"a trace already has its {name}; remove one of the two{hint}")
            return self
        for name in ("requests", "duration_s"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"the workload of a fleet needs requests and duration_s, or a trace: {name} is missing"
                )
        return self

    @model_validator(mode="after")
    def _crowds_in_turn(self) -> Self:
        crowds = sorted(self.flash_crowds, key=lambda crowd: crowd.at_s)
        for before, after in pairwise(crowds):
            if before.at_s + before.duration_s > after.at_s:
                raise ValueError(f"flash_crowds must not overlap (those at {before.at_s:g} s and {after.at_s:g} s do)")
        for crowd in crowds:
            if self.duration_s is not None and crowd.at_s >= self.duration_s:
                raise ValueError(
                    f"a flash crowd at {crowd.at_s:g} s comes after the end of the workload ({self.duration_s:g} s)"
                )
        return self
