"""The kinds of record, and how a mapping becomes one.

KINDS                     kind -> record class
parse(kind, data, where)  a validated record, or a UserError that names the file and the field
json_schema(kind)         JSON Schema of a kind, for editors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .accelerator import Accelerator, Energy, Link
from .architecture import (
    Attention,
    FeedForward,
    LatentAttention,
    MixtureOfExperts,
    MultiToken,
    RecurrentLayers,
    SlidingWindow,
    VisionEncoder,
)
from .complaints import told
from .device import Device
from .engine import EngineCoefficients
from .errors import UserError, did_you_mean
from .model import Model
from .near_runtime import FittedTimes, NearRuntime
from .network import Network
from .record import BYTES_PER_VALUE, CONFIDENCES, Confidence, Dtype, Provenance, Record, weakest
from .soc import Soc, SocEngine
from .task import Task
from .technique import Technique

__all__ = [
    "BYTES_PER_VALUE", "CONFIDENCES", "KINDS",
    "Accelerator", "Attention", "Confidence", "Device", "Dtype", "Energy", "EngineCoefficients", "FeedForward",
    "FittedTimes", "LatentAttention", "Link", "MixtureOfExperts", "Model", "MultiToken", "NearRuntime", "Network",
    "Provenance", "Record", "RecurrentLayers", "SlidingWindow", "Soc", "SocEngine", "Task", "Technique",
    "VisionEncoder",
    "json_schema", "kinds_of", "parse", "record_class", "weakest",
]  # fmt: skip

KINDS: Mapping[str, type[Record]] = {
    "accelerator": Accelerator,
    "model": Model,
    "engine": EngineCoefficients,
    "device": Device,
    "network": Network,
    "task": Task,
    "technique": Technique,
    "soc": Soc,
    "near-runtime": NearRuntime,
}


def record_class(kind: object, where: str = "") -> type[Record]:
    """The record class of a kind. Raises UserError, saying where, for a kind that does not exist."""
    found = KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        what = f"{where}: kind: unknown kind of profile" if where else "unknown kind of profile"
        raise UserError(what, got=kind if kind is not None else "nothing", next_step=did_you_mean(str(kind), KINDS))
    return found


def kinds_of(kind: str | None) -> list[str]:
    """One kind, checked, or all of them. Raises UserError for a kind that does not exist."""
    if kind is None:
        return list(KINDS)
    record_class(kind)
    return [kind]


def parse(data: Mapping[str, Any], where: str) -> Record:
    """Validate a mapping whose `kind` tells its class; `where` (a file) opens every message.

    Raises UserError for the first problem, and says how many more there are.
    """
    cls = record_class(data.get("kind"), where)
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise told(error, cls, where) from None


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind, units in its descriptions; a file with `extends` may leave fields out."""
    return record_class(kind).model_json_schema()
