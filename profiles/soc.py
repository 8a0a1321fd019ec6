"""A system on a chip: what bounds a language model on it, engine by engine."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from .files import normalise
from .record import Count, Facts, Positive, Record, Text

__all__ = ["EngineKind", "Soc", "SocEngine", "soc_keys"]

_MAKERS = "qualcomm|nvidia|apple|intel|amd|mediatek|rockchip|google|samsung|xiaomi|broadcom"
EngineKind = Literal["npu", "gpu", "cpu"]


class SocEngine(Facts):
    """One kind of engine of a chip."""

    peak_tops: Positive
    """1e12 operations/s, dense, in the type that language models are usually computed in on it."""
    cores: Count | None = None
    """Cores (CPU) that a runtime with as many threads keeps busy."""


class Soc(Record):
    """A chip (or a card) that runs language models, with the memory that it is usually sold with."""

    kind: Literal["soc"]
    spellings: tuple[Text, ...] = ()
    """As tables of measurements write it. Compared like names, without what stands in parentheses; unlike aliases
    they may be names of devices, too."""
    bandwidth_gb_s: Positive
    """Peak GB/s (1e9) of its main memory: transfers a second times the width of the bus."""
    engines: Annotated[dict[EngineKind, SocEngine], Field(min_length=1)]
    """What can compute on it."""
    flash_read_gb_s: Positive
    """GB/s (1e9) at which weights that do not fit in memory come back from storage."""

    def keys(self) -> set[str]:
        """All forms in which its names are compared."""
        return {key for name in (self.name, *self.aliases, *self.spellings) for key in soc_keys(name)}


def soc_keys(name: str) -> tuple[str, ...]:
    """The forms of a chip's name, best first: without what stands in brackets, then what stands in them.

    The maker's name does not count: `NVIDIA Jetson AGX Thor` and `Jetson AGX Thor` are one chip.
    """
    bare = re.sub(r"[(\[].*?[)\]]", " ", name)
    inner = re.findall(r"[(\[](.*?)[)\]]", name)
    keys = (re.sub(rf"^(?:{_MAKERS})-", "", normalise(one)) for one in (bare, *inner))
    return tuple(key for key in keys if key)
