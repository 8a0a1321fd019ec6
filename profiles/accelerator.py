"""One compute engine with its memory path: what a step costs at best, in time, watts and dollars."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .errors import UserError
from .record import Count, Dtype, Facts, Flag, NonNegative, Positive, Record

__all__ = ["Accelerator", "Energy", "Link"]


class Link(Facts):
    """How the accelerators of one node reach each other."""

    kind: Literal["nvlink", "pcie", "none"]
    bandwidth_gb_s: NonNegative
    """GB/s of one accelerator in one direction, as the datasheet counts; 0 only for `none`."""
    latency_us: NonNegative
    """Microseconds of one hop on the wire; the software's share of a collective is the engine's."""
    peer_to_peer: Flag
    """Whether one accelerator reads another's memory; if not, collectives are staged through host memory."""

    @model_validator(mode="after")
    def _a_link_has_bandwidth(self) -> Link:
        if (self.kind == "none") != (self.bandwidth_gb_s == 0):
            raise UserError(
                "bandwidth_gb_s does not go with the kind of link",
                got=(self.kind, self.bandwidth_gb_s),
                allowed="0 for kind none, more than 0 for any other",
            )
        return self


class Energy(Facts):
    """Dynamic energy above `idle_w`: effective figures of the whole board, not of a single transistor.

    power = min(tdp_w, idle_w + pj_per_flop x FLOP/s + pj_per_byte x byte/s); the cap matters in prefill,
    where the arithmetic alone would ask for more than the board is allowed to draw.
    """

    pj_per_flop: Annotated[dict[Dtype, Positive], Field(min_length=1)]
    """Picojoules per operation, by the type of the multiplication (a multiply-add is two)."""
    pj_per_byte: Positive
    """Picojoules per byte read from or written to the accelerator's memory."""


class Accelerator(Record):
    """A GPU, NPU or CPU cluster: memory, peaks, link, power and price of one piece."""

    kind: Literal["accelerator"]
    memory_gib: Annotated[Positive, Field(le=1e5)]
    """GiB as the runtime sees it (torch's total memory), a little under the number on the box."""
    bandwidth_gb_s: Positive
    """GB/s (1e9) between the memory and the compute units, as the datasheet counts."""
    peak_tflops: Annotated[dict[Dtype, Positive], Field(min_length=1)]
    """Dense 1e12 operations/s by type, with fp32 or int32 accumulation; half of a sparse figure."""
    link: Link
    gpus_per_node: Count
    """How many share one node's link."""
    tdp_w: Positive
    """Board power limit."""
    idle_w: Positive
    """Board power with a model loaded and no work."""
    price_usd_per_hour: NonNegative
    """Typical on-demand rent of one piece."""
    energy: Energy

    @model_validator(mode="after")
    def _idle_below_limit(self) -> Accelerator:
        if self.idle_w >= self.tdp_w:
            raise UserError("idle_w must be below tdp_w", got=(self.idle_w, self.tdp_w))
        return self

    @property
    def memory_bytes(self) -> float:
        """Bytes that the runtime can see."""
        return self.memory_gib * 2**30
