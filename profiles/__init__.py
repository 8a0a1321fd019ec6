"""Facts: accelerators, models, engines, devices, networks, tasks; each with its source and how far to trust it.

    from profiles import Catalogue
    Catalogue().model("llama-3.1-8b").derived_total_params

    Catalogue                 finds a record by name or alias; a user's folder goes before the built-in ones
    Accelerator, Model, EngineCoefficients    what serves far away; frozen and validated, as all records
    Device, Network, Task, Technique          what is near, how it is connected, what it is asked, what speeds it up
    Soc, NearRuntime          chips, and how near runtimes come to their peaks, for devices that are not described
    Record, Provenance        what they share: source, confidence, confidence_of(field), assumed_fields()
    json_schema(kind)         JSON Schema of a kind, for editors
    UserError                 what bad input raises

Importing this package is cheap: everything but the error is loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError, did_you_mean

if TYPE_CHECKING:
    from .accelerator import Accelerator
    from .catalogue import Catalogue, normalise
    from .device import Device
    from .engine import EngineCoefficients
    from .model import Model
    from .near_runtime import NearRuntime
    from .network import Network
    from .record import BYTES_PER_VALUE, CONFIDENCES, Confidence, Dtype, Provenance, Record, weakest
    from .schema import KINDS, json_schema, parse
    from .soc import Soc
    from .task import PRIVACY_CLASSES, PrivacyClass, Task
    from .technique import Technique

__all__ = [
    "BYTES_PER_VALUE", "CONFIDENCES", "KINDS", "PRIVACY_CLASSES",
    "Accelerator", "Catalogue", "Confidence", "Device", "Dtype", "EngineCoefficients", "Model", "NearRuntime",
    "Network", "PrivacyClass", "Provenance", "Record", "Soc", "Task", "Technique",
    "UserError", "did_you_mean", "json_schema", "normalise", "parse", "weakest",
]  # fmt: skip

_HOMES = {
    "accelerator": ("Accelerator",),
    "catalogue": ("Catalogue", "normalise"),
    "device": ("Device",),
    "engine": ("EngineCoefficients",),
    "model": ("Model",),
    "near_runtime": ("NearRuntime",),
    "network": ("Network",),
    "record": ("BYTES_PER_VALUE", "CONFIDENCES", "Confidence", "Dtype", "Provenance", "Record", "weakest"),
    "schema": ("KINDS", "json_schema", "parse"),
    "soc": ("Soc",),
    "task": ("PRIVACY_CLASSES", "PrivacyClass", "Task"),
    "technique": ("Technique",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
