"""How a scenario describes its workload: frozen records, checked on reading.

    arrivals: {kind: poisson, rate_rps: 5}
    prompt_tokens: {kind: lognormal, mean: 1000, cv: 1.2, max: 8000}
    output_tokens: 200
    patience_s: {kind: exponential, mean: 30}
    requests: 10000

or a trace instead of arrivals, lengths and a number::

    trace: {path: conversation.csv, time_scale: 0.5}
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.workloads.distributions import (
    MAX_TOKENS,
    NO_LIMIT,
    ConstantSeconds,
    Lengths,
    Limit,
    Positive,
    Priority,
    Record,
    Think,
    Tokens,
)

__all__ = [
    "Arrivals",
    "ClosedLoop",
    "Diurnal",
    "Gamma",
    "Poisson",
    "Sessions",
    "TraceSpec",
    "Weibull",
    "WorkloadSpec",
]

MAX_REQUESTS = 10**9

Rate = Annotated[float, Field(ge=1e-9, le=1e9)]  # per second
Count = Annotated[int, Field(ge=1, le=MAX_REQUESTS)]


class Poisson(Record):
    """Independent arrivals: exponential gaps."""

    kind: Literal["poisson"] = "poisson"
    rate_rps: Rate


class Gamma(Record):
    """Gamma gaps: `cv` > 1 is burstier than Poisson, < 1 smoother. `shape` = 1 / cv² may be given instead."""

    kind: Literal["gamma"] = "gamma"
    rate_rps: Rate
    cv: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None
    shape: Annotated[float, Field(ge=1e-6, le=1e6)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.cv is None) == (self.shape is None):
            raise ValueError("give cv or shape, one of them")
        return self


class Weibull(Record):
    """Weibull gaps: a `shape` < 1 is burstier than Poisson, > 1 smoother."""

    kind: Literal["weibull"] = "weibull"
    rate_rps: Rate
    shape: Annotated[float, Field(ge=0.1, le=100)]


class Diurnal(Record):
    """Poisson with a rate that swings: rate_rps * (1 + amplitude * sin(2π (t / period_s + phase))).

    `rate_rps` is the mean. `phase` is where in its period the day begins: 0 at the mean and rising, 0.25 at
    the peak, 0.75 in the trough. `peak_to_trough` = (1 + amplitude) / (1 - amplitude) may be given instead of
    the amplitude.
    """

    kind: Literal["diurnal"] = "diurnal"
    rate_rps: Rate
    amplitude: Annotated[float, Field(ge=0, le=1)] | None = None
    peak_to_trough: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    period_s: Positive = 86_400.0
    phase: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.amplitude is None) == (self.peak_to_trough is None):
            raise ValueError("give amplitude or peak_to_trough, one of them")
        return self


class ClosedLoop(Record):
    """So many clients, each of which thinks, asks, waits for the end of its request, and thinks again."""

    kind: Literal["closed-loop"] = "closed-loop"
    clients: Count
    think_s: Think = ConstantSeconds(value=0)


class Sessions(Record):
    """Conversations: they start as a Poisson process and take turns, each an answer and a think time after
    the last.

    The prompt of a turn is the whole conversation so far and the new words: `prompt_tokens` of the workload
    are the *new* tokens of a turn, `output_tokens` its answer. All conversations begin with the same
    `system_tokens`, rounded up to whole units of `name_unit_tokens` (a multiple of the engine's block size).
    A conversation ends early rather than outgrow `max_context_tokens` (its first turn always happens).
    """

    kind: Literal["sessions"] = "sessions"
    rate_rps: Rate  # sessions that start, per second
    turns: Lengths
    think_s: Think = ConstantSeconds(value=0)
    system_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] = 0
    name_unit_tokens: Annotated[int, Field(ge=1, le=1 << 20)] = 512
    max_context_tokens: Tokens | None = None


Arrivals = Annotated[Poisson | Gamma | Weibull | Diurnal | ClosedLoop | Sessions, Field(discriminator="kind")]


class TraceSpec(Record):
    """A recorded workload. `path` is relative to the scenario's folder; `time_scale` multiplies stamps."""

    path: Annotated[str, Field(min_length=1)]
    time_scale: Positive = 1.0
    requests: Count | None = None


class WorkloadSpec(Record):
    """Either `trace`, or `arrivals` with both lengths and one of `requests` and `duration_s`."""

    arrivals: Arrivals | None = None
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    requests: Count | None = None
    duration_s: Positive | None = None
    trace: TraceSpec | None = None
    priority: Priority = 0
    patience_s: Limit = NO_LIMIT
    deadline_s: Limit = NO_LIMIT

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.trace is not None:
            for name in ("arrivals", "prompt_tokens", "output_tokens", "requests", "duration_s"):
                if getattr(self, name) is not None:
                    hint = " (requests belongs inside trace)" if name == "requests" else ""
                    raise ValueError(f"a trace already has its {name}; remove one of the two{hint}")
            return self
        if self.arrivals is None:
            raise ValueError("give arrivals or a trace")
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name) is None:
                raise ValueError(f"arrivals need {name}")
        if (self.requests is None) == (self.duration_s is None):
            raise ValueError("give requests or duration_s, one of them")
        if isinstance(self.arrivals, (ClosedLoop, Sessions)) and self.requests is None:
            raise ValueError(
                f"{self.arrivals.kind} arrivals need requests, not duration_s: their end depends on the run"
            )
        return self
