"""How near a runtime comes to the peaks of a chip: coefficients fitted to published measurements.

One record per runtime and kind of engine, and one per kind of engine for any runtime (`family: "*"`), which holds the
general level. Those of a runtime are factors on the general ones: what is not listed is 1, so that an unknown chip,
precision or runtime falls back to the next more general level by itself.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .record import CountOrZero, Facts, NonNegative, Positive, Record, Text
from .soc import EngineKind

__all__ = ["ANY_FAMILY", "FittedTimes", "NearRuntime"]

ANY_FAMILY = "*"

Factors = Annotated[dict[str, Positive], Field(default_factory=dict)]


class FittedTimes(Facts):
    """Coefficients of one time (of a decoded token, or of a prompt), and how well they do."""

    points: CountOrZero
    """Measured cells that they were fitted to; 0: nothing of its own, the general level alone."""
    error: NonNegative | None = None
    """Median of |predicted / measured - 1| over all its cells, those left out of the fit included."""
    held_out_error: NonNegative | None = None
    """The same when every model is predicted from the others' rows only."""
    band: NonNegative | None = None
    """|predicted / measured - 1| that nine in ten cells stay under, every model predicted in that way."""
    coefficients: Factors
    """The terms of the time by name: values at the general level, factors on them for a runtime."""
    by_soc: Factors
    """Factors on the time, by chip."""
    by_precision: Factors
    """Factors on the time, by format of the weights, such as w4a16-g128."""
    by_architecture: Factors
    """Factors on the time, by what a model is beyond a plain decoder: experts, recurrent, latent."""
    by_series: Factors
    """Factors on the time, by the first word of a model's name."""


class NearRuntime(Record):
    """Coefficients of one runtime on one kind of engine, whatever the chip."""

    IDENTITY: ClassVar[frozenset[str]] = Record.IDENTITY | {"family", "engine"}

    kind: Literal["near-runtime"]
    family: Text
    """The runtime and its backend, or `*` for any: the level that others are factors on."""
    engine: EngineKind
    """What it computes on."""
    decode: FittedTimes
    """Seconds of one decoded token, one sequence at a time."""
    prefill: FittedTimes
    """Seconds of reading a prompt."""
